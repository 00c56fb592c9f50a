"""The file form of one sample's golden: named float64 tensors that can be mapped without a copy.

    header   64 bytes   b"CONFORM GOLDEN 1\\n", then zeros
    tensors             each at a multiple of 64, little-endian, C order, zeros up to the next multiple
    index               JSON: {"tensors": [{name, elem_type, shape, offset, nbytes, crc32, floor}, ...],
                        "left_out": {name: why}, "about": {...}}
    footer   64 bytes   b"GOLDENIX", offset and length of the index (u64), its SHA-256, zeros

A tensor's CRC-32 covers its zeros too, the index's SHA-256 covers the tensors' CRCs, and header and footer
are compared byte by byte: no bit of the file is unwatched. CRC-32 notices every single flipped bit and every
burst of up to 32; it was the fastest of the standard library where measured (2.7 GiB/s, SHA-256 with SHA-NI
1.4, BLAKE2b 0.7). It guards against faults, not against forgery: who can write the cache is trusted.

A writer streams: tensors first, as they appear, the index last. Nothing is ever stored through a mapping,
because on a full disk that ends in SIGBUS where write() says ENOSPC.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import mmap
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import onnx

from sysnoise_conform.errors import ConformError, StorageError
from sysnoise_conform.outcome import Floor
from sysnoise_conform.printable import one_line

FORMAT_VERSION = 1
ALIGNMENT = 64
_PART_BYTES = 1 << 20
_HEADER = f"CONFORM GOLDEN {FORMAT_VERSION}\n".encode().ljust(ALIGNMENT, b"\0")
_FOOTER = struct.Struct("<8sQQ32s8s")
_FOOTER_MAGIC = b"GOLDENIX"

_T = onnx.TensorProto
_FLOATS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
_INTEGERS = {
    "BOOL": "?", "INT8": "i1", "UINT8": "u1", "INT16": "<i2", "UINT16": "<u2", "INT32": "<i4", "UINT32": "<u4",
    "INT64": "<i8", "UINT64": "<u8", "INT4": "i1", "UINT4": "u1", "INT2": "i1", "UINT2": "u1",
}  # fmt: skip
# ONNX element type -> how it is stored. Every floating-point type as float64, which holds each value of the
# narrower ones; 2- and 4-bit integers one to a byte. Strings and complex numbers are left out.
STORED: dict[int, np.dtype[Any]] = {
    number: np.dtype("<f8") if name in _FLOATS or name.startswith("FLOAT") else np.dtype(_INTEGERS[name])
    for name, number in _T.DataType.items()
    if name in _FLOATS or name in _INTEGERS or name.startswith("FLOAT")
}


_NO_FLOOR = Floor()


class DamagedEntry(ConformError):
    """A golden's file that is not what was written."""

    exit_code = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenTensor:
    """One tensor of the golden: float64 for floating-point types, else the declared integer type or bool.

    `data` is read-only and lives in the mapped file. `elem_type` is the ONNX type that the graph declares.
    """

    name: str
    elem_type: int
    shape: tuple[int, ...]
    data: np.ndarray[Any, Any]
    floor: Floor


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where a tensor lies in the file."""

    name: str
    elem_type: int
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    crc32: int

    @property
    def end(self) -> int:
        """Offset of the first byte behind the tensor and its zeros."""
        return _aligned(self.offset + self.nbytes)


def _plain(floor: Floor) -> dict[str, Any]:
    """The floor's fields as they are: asdict's deep copies took half the time of an index of 20,000 tensors."""
    return {field: getattr(floor, field) for field in Floor.__slots__}


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    """The bytes of a contiguous array, without a copy; an empty one has no address to view."""
    return memoryview(array.data).cast("B") if array.size else memoryview(b"")


def storage_error(error: OSError, path: Path) -> StorageError:
    """An OSError of our own reading or writing, in words."""
    what = {
        errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up",
        errno.EFBIG: "the file is larger than the limit allows", errno.EROFS: "the disk is read-only",
        errno.EACCES: "permission denied", errno.EPERM: "permission denied",
    }.get(error.errno or 0, error.strerror or str(error))  # fmt: skip
    return StorageError(
        f"can't write the golden to {one_line(path.parent)}: {what}",
        hint="make room, or name another folder in CONFORM_CACHE",
    )


class EntryWriter:
    """Writes one entry, tensor by tensor; blocks already written can be read back.

    Raises `StorageError` for whatever the file system refuses. Without `finish` the file is no entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._placed: dict[str, _Placed] = {}
        self._end = 0
        try:
            self._file: BinaryIO = path.open("w+b", buffering=0)
        except OSError as error:
            raise storage_error(error, path) from error
        self._write(_HEADER)

    def __enter__(self) -> EntryWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def __contains__(self, name: object) -> bool:
        return name in self._placed

    def elem_type(self, name: str) -> int:
        """The declared element type of a tensor written before."""
        return self._placed[name].elem_type

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor written before."""
        return self._placed[name].shape

    def add(self, name: str, elem_type: int, array: np.ndarray[Any, Any]) -> None:
        """Append a tensor; `array` is converted to the stored form of `elem_type`."""
        stored = np.asarray(array, dtype=STORED[elem_type], order="C")
        data = _bytes_of(stored)
        padding = bytes(_aligned(data.nbytes) - data.nbytes)
        checksum = zlib.crc32(padding, zlib.crc32(data))
        self._placed[name] = _Placed(name, elem_type, stored.shape, self._end, data.nbytes, checksum)
        self._write(data)
        self._write(padding)

    def block(self, name: str, start: int, count: int) -> np.ndarray[Any, Any]:
        """Elements `start` to `start + count` of a tensor written before, flat, as a new array."""
        placed = self._placed[name]
        dtype = STORED[placed.elem_type]
        out = np.empty(min(count, placed.nbytes // dtype.itemsize - start), dtype=dtype)
        view = _bytes_of(out)
        done = 0
        while done < len(view):
            got = os.preadv(self._file.fileno(), [view[done:]], placed.offset + start * dtype.itemsize + done)
            if got == 0:
                raise StorageError(f"the golden's file {one_line(self._path)} became shorter while it was written")
            done += got
        return out

    def finish(
        self,
        floors: Mapping[str, Floor],
        *,
        left_out: Mapping[str, str] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the index and the footer; the file is an entry from here on."""
        tensors = [
            {
                "name": each.name, "elem_type": each.elem_type, "shape": each.shape, "offset": each.offset,
                "nbytes": each.nbytes, "crc32": each.crc32, "floor": _plain(floors.get(each.name, _NO_FLOOR)),
            }
            for each in self._placed.values()
        ]  # fmt: skip
        document = {"tensors": tensors, "left_out": dict(left_out or {}), "about": dict(about or {})}
        index = json.dumps(document, separators=(",", ":")).encode()
        digest = hashlib.sha256(index).digest()
        footer = _FOOTER.pack(_FOOTER_MAGIC, self._end, len(index), digest, b"")
        self._write(index)
        self._write(footer)

    def _write(self, data: memoryview | bytes) -> None:
        view = memoryview(data)
        try:
            while len(view):  # an unbuffered file may take less than it is given
                view = view[self._file.write(view) or 0 :]
        except OSError as error:
            raise storage_error(error, self._path) from error
        self._end += memoryview(data).nbytes


class GoldenSample(Mapping[str, GoldenTensor]):
    """One sample's golden, by tensor name, in the order of the graph. Close it to give the mapping back."""

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        """Map and verify; without `verify` the tensors' own checksums are believed.

        Raises `DamagedEntry` when a bit is wrong, OSError when the file can't be read.
        """
        with _opened(path) as file:
            self.size = os.fstat(file.fileno()).st_size
            if self.size < 2 * ALIGNMENT:
                raise DamagedEntry(f"it ends after {self.size} bytes")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with memoryview(self._map) as view:
            index, placed = _read_index(view)
            if verify:
                _verify(view, placed)
        self._tensors = {
            each.name: GoldenTensor(
                name=each.name,
                elem_type=each.elem_type,
                shape=each.shape,
                data=_mapped(self._map, each),
                floor=Floor(**document["floor"]),
            )
            for each, document in zip(placed, index["tensors"], strict=True)
        }
        self.left_out: Mapping[str, str] = index["left_out"]
        self.about: Mapping[str, Any] = index["about"]

    def __getitem__(self, name: str) -> GoldenTensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __enter__(self) -> GoldenSample:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Forget the tensors. The mapping itself ends with the last array that somebody still holds."""
        self._tensors = {}
        try:
            self._map.close()
        except BufferError:
            return  # an array is still in use: its reference keeps the pages


def _opened(path: Path) -> BinaryIO:
    """The file for reading. What somebody put in its place is not followed, nor waited for as a pipe would have it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise DamagedEntry("it is no regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DamagedEntry("it is no regular file")
    return os.fdopen(descriptor, "rb")


def _read_index(view: memoryview) -> tuple[dict[str, Any], list[_Placed]]:
    """The index and where its tensors lie, everything but the tensors' own checksums verified."""
    if bytes(view[:ALIGNMENT]) != _HEADER:
        raise DamagedEntry("its header is wrong")
    magic, start, length, digest, zeros = _FOOTER.unpack(view[-_FOOTER.size :])
    if magic != _FOOTER_MAGIC or any(zeros) or start + length + _FOOTER.size != len(view):
        raise DamagedEntry("its footer is wrong, or it was cut off")
    index = bytes(view[start : start + length])
    if hashlib.sha256(index).digest() != digest:
        raise DamagedEntry("the checksum of its index differs")
    try:
        document = json.loads(index)
        placed = [
            _Placed(**{field: each[field] for field in _Placed.__slots__} | {"shape": tuple(each["shape"])})
            for each in document["tensors"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedEntry(f"its index makes no sense ({one_line(error, 80)})") from error
    at = ALIGNMENT
    for each in placed:
        dtype = STORED.get(each.elem_type)
        if each.offset != at or dtype is None or each.nbytes != math.prod(each.shape) * dtype.itemsize:
            raise DamagedEntry(f"its index misplaces tensor {one_line(each.name, 80)!r}")
        at = each.end
    if at != start:
        raise DamagedEntry("its index does not cover the file")
    return document, placed


def _verify(view: memoryview, placed: list[_Placed]) -> None:
    """Compare every tensor's checksum, on all cores: crc32 runs without the interpreter's lock."""

    def damaged(part: list[_Placed]) -> _Placed | None:
        return next((each for each in part if zlib.crc32(view[each.offset : each.end]) != each.crc32), None)

    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for wrong in pool.map(damaged, _parts(placed)):
            if wrong is not None:
                raise DamagedEntry(f"the checksum of tensor {one_line(wrong.name, 80)!r} differs")


def _parts(placed: list[_Placed]) -> Iterator[list[_Placed]]:
    """Runs of tensors of about `_PART_BYTES` together: a thread's errand costs more than a small tensor's checksum."""
    part: list[_Placed] = []
    size = 0
    for each in placed:
        part.append(each)
        size += each.end - each.offset
        if size >= _PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _mapped(mapping: mmap.mmap, placed: _Placed) -> np.ndarray[Any, Any]:
    dtype = STORED[placed.elem_type]
    if not placed.nbytes:
        return np.empty(placed.shape, dtype=dtype)
    flat = np.frombuffer(mapping, dtype=dtype, count=placed.nbytes // dtype.itemsize, offset=placed.offset)
    return flat.reshape(placed.shape)
