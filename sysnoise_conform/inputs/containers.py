"""Strict readers for .npy, .npz and .safetensors: sizes are checked before memory is taken, nothing is unpickled."""

from __future__ import annotations

import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from onnx import TensorProto, helper

from sysnoise_conform.errors import BadInput
from sysnoise_conform.files import open_regular
from sysnoise_conform.printable import one_line

SUFFIXES = (".npy", ".npz", ".safetensors")
MAX_FILE_BYTES = 1 << 34
MAX_ARRAY_BYTES = 1 << 32
MAX_RANK = 32
# An archive member of more bytes than this that is packed tighter than this is taken for a bomb.
BOMB_BYTES = 1 << 26
BOMB_RATIO = 100
MAX_MEMBERS = 10_000
MAX_SAFETENSORS_HEADER = 100_000_000  # the format's own limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """Dtype and shape of an array that has not been read yet."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the array's data."""
        return prod(self.shape) * self.dtype.itemsize


# Called with an array's name ("" in a .npy) and header before its data is read; raises to refuse it.
Gate = Callable[[str, Header], None]


def read_arrays(path: Path, gate: Gate) -> dict[str, np.ndarray]:
    """The arrays of one file in native byte order; a .npy's only array is called "". Raises BadInput."""
    shown = one_line(path.name, 120)
    with open_regular(path, what="the input", error=BadInput, limit=MAX_FILE_BYTES) as stream:
        try:
            match path.suffix.lower():
                case ".npy":
                    array = _npy(stream, "", gate)
                    if stream.read(1):
                        raise _BrokenError("it has bytes after its array")
                    return {"": array}
                case ".npz":
                    return _npz(stream, gate)
                case ".safetensors":
                    return _safetensors(stream, gate)
                case suffix:
                    raise _BrokenError(f"{suffix!r} is none of {', '.join(SUFFIXES)}")
        except _BrokenError as err:
            raise BadInput(f"the input file {shown!r} can't be used: {err}", hint="write it again") from err
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as err:
            raise BadInput(f"the input file {shown!r} is broken: {one_line(err, 120)}", hint="write it again") from err


class _BrokenError(Exception):
    """What is wrong with a file, in words."""


def _check(name: str, header: Header, gate: Gate) -> None:
    what = f"array {one_line(name, 80)!r}" if name else "its array"
    if header.dtype.hasobject:
        raise _BrokenError(f"{what} holds Python objects, which would have to be unpickled")
    if header.dtype.fields is not None or header.dtype.kind not in "biufcV":
        raise _BrokenError(f"{what} has the dtype {one_line(header.dtype, 60)}, which no tensor has")
    if len(header.shape) > MAX_RANK or any(each < 0 for each in header.shape):
        raise _BrokenError(f"{what} has the impossible shape {list(header.shape)[:8]}")
    if header.nbytes > MAX_ARRAY_BYTES:
        raise _BrokenError(f"{what} would take {header.nbytes:,} bytes; the limit is {MAX_ARRAY_BYTES:,}")
    gate(name, header)


def _npy(stream: BinaryIO, name: str, gate: Gate) -> np.ndarray:
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        if version not in ((1, 0), (2, 0)):
            raise _BrokenError(f".npy version {version[0]}.{version[1]} is not used for plain arrays")
        shape, fortran, dtype = read(stream)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError, RecursionError, MemoryError) as err:
        raise _BrokenError(f"its .npy header is broken ({one_line(err, 80)})") from err
    header = Header(dtype=dtype.newbyteorder("="), shape=shape)
    _check(name, header, gate)
    data = _exactly(stream, header.nbytes)
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return np.array(array, header.dtype, order="C")


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise _BrokenError(f"it is cut short: {len(data):,} bytes of data, its header says {count:,}")
    return data


def _npz(stream: BinaryIO, gate: Gate) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise _BrokenError(f"it holds {len(members):,} arrays; the limit is {MAX_MEMBERS:,}")
        found: dict[str, np.ndarray] = {}
        for member in members:
            if not member.filename.endswith(".npy"):
                raise _BrokenError(f"it holds {one_line(member.filename, 80)!r}, which is no array")
            name = member.filename.removesuffix(".npy")
            if name in found:
                raise _BrokenError(f"it holds two arrays called {one_line(name, 80)!r}")
            if member.file_size > max(BOMB_BYTES, BOMB_RATIO * member.compress_size):
                raise _BrokenError(
                    f"array {one_line(name, 80)!r} unpacks from {member.compress_size:,} to {member.file_size:,} bytes;"
                    " write it with numpy.savez if that is meant"
                )
            # The gate sees the header first, so what does not fit the model is never unpacked.
            with archive.open(member) as data:
                found[name] = _npy(data, name, gate)  # type: ignore[arg-type]  # ZipExtFile reads like a BinaryIO
        return found


_SAFETENSORS: dict[str, int] = {
    "F64": TensorProto.DOUBLE, "F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16,
    "I64": TensorProto.INT64, "I32": TensorProto.INT32, "I16": TensorProto.INT16, "I8": TensorProto.INT8,
    "U64": TensorProto.UINT64, "U32": TensorProto.UINT32, "U16": TensorProto.UINT16, "U8": TensorProto.UINT8,
    "BOOL": TensorProto.BOOL, "F8_E4M3": TensorProto.FLOAT8E4M3FN, "F8_E5M2": TensorProto.FLOAT8E5M2,
    "C64": TensorProto.COMPLEX64,
}  # fmt: skip


def _safetensors(stream: BinaryIO, gate: Gate) -> dict[str, np.ndarray]:
    length = struct.unpack("<Q", _exactly(stream, 8))[0]
    start = stream.tell()
    size = stream.seek(0, 2) - start
    stream.seek(start)
    if length > min(size, MAX_SAFETENSORS_HEADER):
        raise _BrokenError(f"its header claims {length:,} bytes; there are {size:,}")
    try:
        table = json.loads(_exactly(stream, length), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as err:
        raise _BrokenError("its header is not JSON") from err
    if not isinstance(table, dict):
        raise _BrokenError("its header is no table")
    table.pop("__metadata__", None)
    entries = {name: _entry(name, each) for name, each in table.items()}
    end = 0
    for name, (header, first, last) in sorted(entries.items(), key=lambda item: item[1][1:]):
        if first != end or last - first != header.nbytes:
            raise _BrokenError(f"tensor {one_line(name, 80)!r} does not lie where its header says")
        end = last
    if end != size - length:
        raise _BrokenError(f"its tensors take {end:,} bytes, but {size - length:,} follow the header")
    found = {}
    for name, (header, first, _) in entries.items():
        _check(name, header, gate)
        stream.seek(start + length + first)
        data = np.frombuffer(_exactly(stream, header.nbytes), header.dtype.newbyteorder("<"))
        found[name] = data.astype(header.dtype).reshape(header.shape)
    return found


def _entry(name: str, fields: Any) -> tuple[Header, int, int]:
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(_SAFETENSORS[fields["dtype"]]))
        shape = fields["shape"]
        first, last = fields["data_offsets"]
    except (KeyError, TypeError, ValueError) as err:
        raise _BrokenError(f"the header entry of tensor {one_line(name, 80)!r} is broken") from err
    numbers = [first, last, *shape] if isinstance(shape, list) else [-1]
    if not all(type(each) is int and 0 <= each < 1 << 62 for each in numbers):
        raise _BrokenError(f"the header entry of tensor {one_line(name, 80)!r} has impossible numbers")
    return Header(dtype=dtype, shape=tuple(shape)), first, last


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table
