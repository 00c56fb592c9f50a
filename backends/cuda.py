"""Memory on an NVIDIA GPU through the driver alone (libcuda.so.1, by ctypes): no CUDA package is needed."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from sysnoise_conform.errors import BackendUnavailable, Unsupported

_DRIVER = "libcuda.so.1"


def driver() -> Any:
    """The driver's library, initialised. Raises `BackendUnavailable` without a driver or a GPU."""
    try:
        cuda = ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise BackendUnavailable(
            f"no NVIDIA driver is here ({_DRIVER} can't be loaded)",
            hint="run on a machine with an NVIDIA GPU and its driver",
        ) from error
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        raise BackendUnavailable("the NVIDIA driver finds no GPU", hint="see what nvidia-smi says")
    return cuda


class Gpu:
    """One GPU's primary context, a stream, and buffers that live until `close`."""

    def __init__(self, index: int) -> None:
        self._cuda = driver()
        self._device, context = ctypes.c_int(), ctypes.c_void_p()
        if self._cuda.cuDeviceGet(ctypes.byref(self._device), index):
            raise BackendUnavailable(f"there is no GPU number {index}", hint="nvidia-smi -L lists them")
        self._check(self._cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), self._device))
        self._check(self._cuda.cuCtxSetCurrent(context))
        stream = ctypes.c_void_p()
        self._check(self._cuda.cuStreamCreate(ctypes.byref(stream), 0))
        self.stream: int = stream.value or 0
        self._buffers: list[int] = []

    def allocate(self, size: int) -> int:
        """The address of `size` bytes (of one at least)."""
        pointer = ctypes.c_uint64()
        self._check(self._cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(max(1, size))))
        self._buffers.append(pointer.value)
        return pointer.value

    def upload(self, array: np.ndarray) -> int:
        """The address of a copy of `array` on the GPU."""
        dense = np.ascontiguousarray(array)
        address = self.allocate(dense.nbytes)
        source = ctypes.c_void_p(dense.ctypes.data)
        self._check(self._cuda.cuMemcpyHtoD_v2(ctypes.c_uint64(address), source, ctypes.c_size_t(dense.nbytes)))
        return address

    def download(
        self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any], *, stream: int | None = None
    ) -> np.ndarray:
        """A new array with what lies at `address`, after `stream` (our own by default) has finished."""
        handle = self.stream if stream is None else stream
        self._check(self._cuda.cuStreamSynchronize(ctypes.c_void_p(handle)))
        array = np.empty(shape, dtype)
        target = ctypes.c_void_p(array.ctypes.data)
        self._check(self._cuda.cuMemcpyDtoH_v2(target, ctypes.c_uint64(address), ctypes.c_size_t(array.nbytes)))
        return array

    def free(self) -> None:
        """Give all buffers back."""
        while self._buffers:
            self._check(self._cuda.cuMemFree_v2(ctypes.c_uint64(self._buffers.pop())))

    def close(self) -> None:
        """Give buffers and stream back."""
        self.free()
        if self.stream:
            self._cuda.cuStreamDestroy_v2(ctypes.c_void_p(self.stream))
            self._cuda.cuDevicePrimaryCtxRelease_v2(self._device)
            self.stream = 0

    def _check(self, status: int) -> None:
        if status:
            words = ctypes.c_char_p()
            self._cuda.cuGetErrorString(status, ctypes.byref(words))
            raise Unsupported(f"CUDA error {status}: {(words.value or b'unknown').decode()}", stage="run")
