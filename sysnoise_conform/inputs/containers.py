"""Strict readers for .npy, .npz and .safetensors: sizes are checked before memory is taken, nothing is unpickled."""

from __future__ import annotations

import json
import re
import struct
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
from sysnoise_conform.inputs.suffixes import ARRAYS
from sysnoise_conform.printable import one_line

MAX_FILE_BYTES = 1 << 34
MAX_ARRAY_BYTES = 1 << 32
MAX_RANK = 32
# An archive member of more bytes than this that is packed tighter than this is taken for a bomb.
BOMB_BYTES = 1 << 26
BOMB_RATIO = 100
MAX_MEMBERS = 10_000
MAX_DIRECTORY_BYTES = 1 << 22
MAX_NPY_HEADER = 10_000  # numpy's own limit
MAX_SAFETENSORS_HEADER = 1 << 24  # the format allows 100 MB, for models; inputs are few
# What numpy.save writes, and what others write in its place: any order of the keys is legal, this one is usual.
_NPY_HEADER = re.compile(
    r"(?=.*'descr': *'(?P<descr>[<>=|]?[?A-Za-z][0-9]{0,5})')"
    r"(?=.*'fortran_order': *(?P<fortran>True|False))"
    r"(?=.*'shape': *\((?P<shape>(?:-?[0-9]{1,18}L?, *)*(?:-?[0-9]{1,18}L?,? *)?)\))"
    r"\{(?:'(?:descr|fortran_order|shape)': *(?:'[^'\\]*'|True|False|\([-0-9L, ]*\)),? *){3}\} *\n?"
)
_END_OF_ZIP, _ZIP64_LOCATOR, _END_OF_ZIP64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"


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
                    return {"": _npy(stream, "", gate)}
                case ".npz":
                    return _npz(stream, gate)
                case ".safetensors":
                    return _safetensors(stream, gate)
                case suffix:
                    raise _BrokenError(f"{suffix!r} is none of {', '.join(ARRAYS)}")
        except _BrokenError as err:
            raise BadInput(f"the input file {shown!r} can't be used: {err}", hint=err.cure) from err
        except (
            zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError,
            OverflowError, struct.error,
        ) as err:  # fmt: skip
            raise BadInput(f"the input file {shown!r} is broken: {one_line(err, 120)}", hint="write it again") from err


class _BrokenError(Exception):
    """What is wrong with a file, in words."""

    def __init__(self, what: str, *, cure: str = "write it again") -> None:
        super().__init__(what)
        self.cure = cure


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
    """One array, to the very end of the stream: only there are an archive's checksums compared."""
    shape, fortran, dtype = _npy_header(stream)
    header = Header(dtype=dtype.newbyteorder("="), shape=shape)
    _check(name, header, gate)
    data = _exactly(stream, header.nbytes)
    if stream.read(1):
        raise _BrokenError("it has bytes after its array")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return np.array(array, header.dtype, order="C")


def _npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype, by numpy's format 1.0 and 2.0 (numpy/lib/format.py).

    Read here and not by numpy, whose parser warns on stderr in the file's own words.
    """
    broken = "its .npy header is broken"
    magic = _exactly(stream, 8, broken)
    widths = {b"\x93NUMPY\x01\x00": "<H", b"\x93NUMPY\x02\x00": "<I"}
    if magic not in widths:
        raise _BrokenError("it does not start as a .npy of version 1.0 or 2.0 does")
    length = struct.unpack(widths[magic], _exactly(stream, struct.calcsize(widths[magic]), broken))[0]
    if length > MAX_NPY_HEADER:
        raise _BrokenError(f"its .npy header has {length:,} bytes; the limit is {MAX_NPY_HEADER:,}")
    match = _NPY_HEADER.fullmatch(_exactly(stream, length, broken).decode("latin-1"))
    if match is None:
        raise _BrokenError(f"{broken}, or describes records")
    try:
        dtype = np.dtype(match["descr"])
    except TypeError as err:
        raise _BrokenError(f"its dtype {one_line(match['descr'], 40)!r} is unknown") from err
    return tuple(int(each) for each in re.findall("[-0-9]+", match["shape"])), match["fortran"] == "True", dtype


def _exactly(stream: BinaryIO, count: int, what: str = "it is cut short") -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise _BrokenError(f"{what}: {len(data):,} bytes where {count:,} are announced")
    return data


def _check_directory(stream: BinaryIO) -> None:
    """A ZIP's table of members, which zipfile reads as a whole, by what its end records say (APPNOTE.TXT 4.3)."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - (1 << 16) - 100))
    tail = stream.read()
    sizes = [struct.unpack_from("<I", tail, at + 12)[0] for at in _places(tail, _END_OF_ZIP, 22)]
    for at in _places(tail, _ZIP64_LOCATOR, 20):
        stream.seek(min(struct.unpack_from("<Q", tail, at + 8)[0], size))
        sizes += [struct.unpack_from("<Q", each, 40)[0] for each in [stream.read(56)] if len(each) == 56]
    sizes += [struct.unpack_from("<Q", tail, at + 40)[0] for at in _places(tail, _END_OF_ZIP64, 56)]
    stream.seek(0)
    if max(sizes, default=0) > MAX_DIRECTORY_BYTES:
        raise _BrokenError(f"its table of members has {max(sizes):,} bytes; the limit is {MAX_DIRECTORY_BYTES:,}")


def _places(data: bytes, mark: bytes, room: int) -> list[int]:
    """Where `mark` stands in `data` with `room` bytes from there on."""
    return [found.start() for found in re.finditer(re.escape(mark), data) if found.start() + room <= len(data)]


def _npz(stream: BinaryIO, gate: Gate) -> dict[str, np.ndarray]:
    _check_directory(stream)
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise _BrokenError(f"it holds {len(members):,} arrays; the limit is {MAX_MEMBERS:,}")
        found: dict[str, np.ndarray] = {}
        for member in members:
            if not member.filename.endswith(".npy"):
                raise _BrokenError(f"it holds {one_line(member.filename, 80)!r}, which is no array")
            name = member.filename.removesuffix(".npy")
            if not name:
                raise _BrokenError("it holds an array without a name")
            if name in found:
                raise _BrokenError(f"it holds two arrays called {one_line(name, 80)!r}")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _BrokenError(f"array {one_line(name, 80)!r} is packed in a way that numpy does not know")
            if member.file_size > max(BOMB_BYTES, BOMB_RATIO * member.compress_size):
                raise _BrokenError(
                    f"array {one_line(name, 80)!r} unpacks from {member.compress_size:,} to {member.file_size:,} bytes",
                    cure="write it unpacked, with numpy.savez",
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
    if len(shape) > MAX_RANK:  # before anything is multiplied: a product of so many numbers has no end
        raise _BrokenError(f"tensor {one_line(name, 80)!r} has {len(shape):,} dimensions; the limit is {MAX_RANK}")
    return Header(dtype=dtype, shape=tuple(shape)), first, last


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table
