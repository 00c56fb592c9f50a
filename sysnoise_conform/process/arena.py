"""Tensors in shared memory: a sealed memfd that is kept, reused, and replaced by a larger one when it must grow.

The writer owns the memory and sends its descriptor once; after that only the layout travels (name, dtype, shape,
offset). The file is sealed against shrinking, so a writer gone wild can't kill its reader by SIGBUS, and it is
really allocated before it is touched, so a full memory is a clean MemoryError. Strings travel in the layout.
Runs in children: Python 3.10, numpy alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import mmap
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sysnoise_conform.printable import one_line

ALIGNMENT = 64  # bytes: a cache line, and the widest vector load
_GRAIN = 1 << 16  # sizes are rounded up to this many bytes
_UNASKED = 64 << 20  # bytes that are taken without asking how many are left
_MAX_RANK = 32  # numpy 1.26's
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW

_NATIVE = frozenset({"bool", "float16", "float32", "float64", "complex64", "complex128"}) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
# ONNX's element types that numpy itself lacks, by the names that ml_dtypes gives them.
_FLOAT8 = frozenset({"float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"})
_ML_DTYPES = _FLOAT8 | {"bfloat16", "float4_e2m1fn", "int4", "uint4", "int2", "uint2"}
_STRING = "string"


class ArenaError(ValueError):
    """A tensor that can't travel, or a layout that does not fit its memory."""


def dtype_named(name: str) -> np.dtype[Any]:
    """The numpy dtype of that name, those of ml_dtypes among them. Raises ArenaError."""
    kind: Any = None
    if name in _NATIVE:
        kind = name
    elif name in _ML_DTYPES:
        try:
            import ml_dtypes
        except ImportError as err:
            raise ArenaError(f"dtype {name} needs the package ml_dtypes in this environment") from err
        kind = getattr(ml_dtypes, name, None)
    if kind is not None:
        found: np.dtype[Any] = np.dtype(kind)
        return found
    raise ArenaError(f"dtype {one_line(name, 40)!r} can't travel between processes")


class NoSharedMemory(MemoryError):
    """The system's bound on shared memory, or on the size of a file, is reached."""


def available_memory() -> int:
    """Bytes that can be taken without swapping, by the kernel's own estimate; without one, any number."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 1 << 62


class Writer:
    """The side that owns an arena and writes into it."""

    def __init__(self) -> None:
        self._fd = -1
        self._size = 0
        self._map: mmap.mmap | None = None

    def write(self, tensors: Mapping[str, np.ndarray]) -> tuple[list[dict[str, Any]], list[int]]:
        """Copy the tensors in, over those of the last call: their layout, and the descriptor to send when it is new.

        Any strides and byte order will do. Raises ArenaError for a dtype that can't travel, MemoryError.
        """
        layout: list[dict[str, Any]] = []
        copies: list[tuple[np.ndarray, int]] = []
        end = 0
        for name, value in tensors.items():
            tensor = np.asarray(value)
            entry: dict[str, Any] = {"name": name, "shape": list(tensor.shape)}
            if tensor.dtype.kind in "OSUT":
                entry.update(dtype=_STRING, values=_strings(name, tensor))
            else:
                try:
                    dtype_named(tensor.dtype.name)
                except ArenaError as err:
                    raise ArenaError(f"tensor {one_line(name)!r}: {err}") from err
                entry.update(dtype=tensor.dtype.name, offset=end)
                copies.append((tensor, end))
                end += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
            layout.append(entry)
        fresh = end > self._size
        if fresh:
            self._grow(end)
        for tensor, offset in copies:
            if tensor.size:
                assert self._map is not None
                dtype = tensor.dtype.newbyteorder("=")
                np.ndarray(tensor.shape, dtype, self._map, offset)[...] = tensor
        return layout, [self._fd] if fresh else []

    def close(self) -> None:
        """Give the memory back; calling it twice is harmless. Readers keep what they have mapped."""
        self._map = None
        self._size = 0
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _grow(self, needed: int) -> None:
        self.close()
        size = -(-needed // _GRAIN) * _GRAIN
        wanted = f"{size / 2**20:.0f} MiB of tensors"
        if size > _UNASKED and size > available_memory():
            raise MemoryError(f"no memory for {wanted}")  # the kernel would give page after page, then kill somebody
        try:
            self._fd = os.memfd_create("conform", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(self._fd, size)
            self._map = mmap.mmap(self._fd, size)  # within a limit on addresses, before any memory is taken
            # ftruncate succeeds on a full memory, and the first store would then be a SIGBUS.
            os.posix_fallocate(self._fd, 0, size)
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SEALS | fcntl.F_SEAL_SEAL)
        except OSError as err:
            self.close()
            if err.errno == errno.ENOMEM:
                raise MemoryError(f"no memory for {wanted}") from err
            if err.errno in (errno.ENOSPC, errno.EFBIG):
                raise NoSharedMemory(f"no shared memory for {wanted}") from err
            raise
        self._size = size


class Reader:
    """The side that looks at the other side's arena."""

    def __init__(self) -> None:
        self._map: mmap.mmap | None = None

    def read(self, layout: object, fds: Sequence[int]) -> dict[str, np.ndarray]:
        """The tensors of one message, as read-only views: valid until the next message, copy what must stay.

        `fds` holds the arena's descriptor when it is new; it is closed here. Using a view later is harmless to
        memory, only its numbers are no longer its own. Raises ArenaError for a layout or an arena that lies.
        """
        for each in fds:
            try:
                self._map = _map(each)
            finally:
                os.close(each)
        if not isinstance(layout, list):
            raise ArenaError("a layout that is no list")
        tensors: dict[str, np.ndarray] = {}
        for entry in layout:
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str) or name in tensors:
                raise ArenaError("a tensor without a name, or two of one name")
            tensors[name] = self._tensor(name, entry)
        return tensors

    def close(self) -> None:
        """Forget the mapping; it goes when the last view of it does."""
        self._map = None

    def _tensor(self, name: str, entry: dict[str, Any]) -> np.ndarray:
        shape, kind = entry.get("shape"), entry.get("dtype")
        if (
            not isinstance(kind, str)
            or not isinstance(shape, list)
            or len(shape) > _MAX_RANK
            or not all(type(each) is int and 0 <= each < 1 << 62 for each in shape)
        ):
            raise ArenaError(f"tensor {one_line(name)!r} has no proper shape or dtype")
        count = math.prod(shape)
        try:
            if kind == _STRING:
                values = entry.get("values")
                if not isinstance(values, list) or len(values) != count or not all(type(v) is str for v in values):
                    raise ArenaError(f"tensor {one_line(name)!r} has {count} strings by its shape, and holds others")
                strings = np.empty(count, dtype=object)
                strings[:] = values
                return strings.reshape(shape)
            dtype = dtype_named(kind)
            if count == 0:
                return np.empty(shape, dtype)
            offset = entry.get("offset")
            size = 0 if self._map is None else len(self._map)
            if type(offset) is not int or offset < 0 or offset % ALIGNMENT or offset + count * dtype.itemsize > size:
                raise ArenaError(f"tensor {one_line(name)!r} does not lie within its arena of {size} bytes")
            return np.ndarray(shape, dtype, self._map, offset)
        except ArenaError:
            raise
        except ValueError as err:
            raise ArenaError(f"tensor {one_line(name)!r} has a shape that numpy refuses: {err}") from err


def _map(fd: int) -> mmap.mmap:
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as err:
        raise ArenaError("an arena that is no memfd") from err
    if seals & _SEALS != _SEALS:
        raise ArenaError("an arena that its writer could still shrink")
    facts = os.fstat(fd)
    if facts.st_size <= 0 or facts.st_blocks * 512 < facts.st_size:
        raise ArenaError("an arena without memory behind it")
    try:
        return mmap.mmap(fd, facts.st_size, mmap.MAP_SHARED, mmap.PROT_READ)
    except OSError as err:
        raise MemoryError(f"no address space for {facts.st_size / 2**20:.0f} MiB of tensors") from err


def _strings(name: str, tensor: np.ndarray) -> list[str]:
    values: list[str] = []
    for each in tensor.reshape(-1).tolist():
        if isinstance(each, bytes):  # ONNX's strings are UTF-8 by the standard, and any bytes in practice
            values.append(each.decode("utf-8", "surrogateescape"))
        elif isinstance(each, str):
            values.append(each)
        else:
            raise ArenaError(f"tensor {one_line(name)!r} holds a {type(each).__name__}, which can't travel")
    return values
