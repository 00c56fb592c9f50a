"""Tensors in shared memory: they arrive as they were, the memory is reused, and a lie is refused before it is read."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sysnoise_conform.process.arena import ALIGNMENT, ArenaError, Reader, Writer, dtype_named


def passed(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    layout, fds = Writer().write(tensors)
    return Reader().read(layout, [os.dup(each) for each in fds])


def arena(size: int = 4096, seals: int = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW, sparse: bool = False) -> int:
    fd = os.memfd_create("forged", os.MFD_ALLOW_SEALING)
    if sparse:
        os.ftruncate(fd, size)
    else:
        os.posix_fallocate(fd, 0, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def entry(**changed: Any) -> dict[str, Any]:
    return {"name": "x", "dtype": "float32", "shape": [2, 3], "offset": 0, **changed}


@given(
    hnp.arrays(
        dtype=hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.floating_dtypes(sizes=(16, 32, 64)),
        shape=hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
    )
)
def test_any_numeric_tensor_arrives_bit_for_bit(tensor: np.ndarray) -> None:
    arrived = passed({"before": np.ones(3, np.int8), "x": tensor})["x"]

    native = tensor.astype(tensor.dtype.newbyteorder("="))
    assert arrived.shape == tensor.shape
    assert arrived.dtype == native.dtype
    assert arrived.tobytes() == native.tobytes()


@given(hnp.arrays(object, hnp.array_shapes(min_dims=0, max_side=4), elements=st.text(st.characters(codec="utf-8"))))
def test_strings_arrive_with_their_shape(tensor: np.ndarray) -> None:
    arrived = passed({"s": tensor})["s"]

    assert arrived.shape == tensor.shape
    assert arrived.tolist() == tensor.tolist()


def test_bytes_that_are_no_utf8_keep_what_they_were() -> None:
    arrived = passed({"s": np.array([b"\xff\x00a"], dtype=object)})["s"]

    assert arrived[0].encode("utf-8", "surrogateescape") == b"\xff\x00a"


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"])
def test_the_types_that_numpy_lacks_arrive_by_name(name: str) -> None:
    tensor = np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, name))

    arrived = passed({"x": tensor})["x"]

    assert arrived.dtype == tensor.dtype
    assert arrived.tobytes() == tensor.tobytes()


def test_strides_need_no_copy_of_the_callers() -> None:
    tensor = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)[::2]

    assert np.array_equal(passed({"x": tensor})["x"], tensor)


def test_nan_keeps_its_payload() -> None:
    tensor = np.array([0x7FC0BEEF, 0xFF800001], np.uint32).view(np.float32)

    assert passed({"x": tensor})["x"].tobytes() == tensor.tobytes()


def test_the_arena_is_sent_once_reused_and_replaced_when_it_must_grow() -> None:
    writer, reader = Writer(), Reader()
    first, fds = writer.write({"x": np.zeros(100, np.float32)})
    view = reader.read(first, [os.dup(each) for each in fds])["x"]

    second, none = writer.write({"x": np.ones(100, np.float32)})
    assert none == []
    assert reader.read(second, none)["x"].sum() == 100
    assert view.sum() == 100  # the same memory: a view is valid until the next message

    large, fresh = writer.write({"x": np.full(1_000_000, 2, np.float32)})
    assert len(fresh) == 1
    assert reader.read(large, [os.dup(each) for each in fresh])["x"].sum() == 2_000_000
    assert view.sum() == 100  # the old memory lives as long as a view of it


def test_tensors_are_aligned_and_can_not_be_written_by_their_reader() -> None:
    arrived = passed({"a": np.ones(3, np.int8), "b": np.ones(5)})

    assert arrived["b"].__array_interface__["data"][0] % ALIGNMENT == 0
    with pytest.raises(ValueError, match="read-only"):
        arrived["b"][0] = 1


def test_the_writer_can_not_shrink_what_its_reader_has_mapped() -> None:
    _, fds = Writer().write({"x": np.ones(100_000)})

    with pytest.raises(PermissionError):
        os.ftruncate(fds[0], 0)


@pytest.mark.parametrize(
    "tensor",
    [np.array([None, 1]), np.zeros(2, "M8[s]"), np.zeros(2, np.longdouble), np.zeros(2, "f4,i4")],
    ids=["objects", "dates", "long double", "records"],
)
def test_what_can_not_travel_is_named(tensor: np.ndarray) -> None:
    with pytest.raises(ArenaError, match="'odd'"):
        Writer().write({"odd": tensor})


@pytest.mark.parametrize(
    "layout",
    [
        "no list",
        [None],
        [entry(name=7)],
        [entry(), entry()],
        [entry(shape=[2, -3])],
        [entry(shape=[2, 3.0])],
        [entry(shape=[True, 3])],
        [entry(shape="ab")],
        [entry(shape=[1] * 33)],
        [entry(shape=[1 << 32, 1 << 32])],
        [entry(shape=[0, 1 << 70])],
        [entry(shape=[1024, 2])],
        [entry(offset=-64)],
        [entry(offset=8)],
        [entry(offset=4096)],
        [entry(offset=4096 - 16)],
        [entry(offset="0")],
        [entry(offset=None)],
        [entry(dtype="object")],
        [entry(dtype="float128")],
        [entry(dtype="finfo")],
        [entry(dtype=["float32"])],
        [entry(dtype="string")],
        [entry(dtype="string", values=["a"])],
        [entry(dtype="string", values=[1] * 6)],
    ],
    ids=str,
)
def test_a_layout_that_lies_is_refused(layout: object) -> None:
    with pytest.raises(ArenaError):
        Reader().read(layout, [arena()])


@pytest.mark.parametrize(
    "forged",
    [
        lambda: arena(seals=fcntl.F_SEAL_GROW),
        lambda: arena(seals=fcntl.F_SEAL_SHRINK),
        lambda: arena(size=1 << 40, sparse=True),
        lambda: os.open("/etc/hostname", os.O_RDONLY),
        lambda: os.pipe()[0],
    ],
    ids=["can shrink", "can grow", "sparse", "a file", "a pipe"],
)
def test_memory_that_could_kill_its_reader_is_refused_and_closed(forged: Any) -> None:
    fd = forged()

    with pytest.raises(ArenaError):
        Reader().read([entry()], [fd])

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_dtype_without_its_package_is_named() -> None:
    with pytest.raises(ArenaError, match="'quad'"):
        dtype_named("quad")


def test_a_full_memory_is_a_memory_error_and_no_signal() -> None:
    script = (
        "import numpy as np, sys\nfrom sysnoise_conform.process.arena import Writer\n"
        "try: Writer().write({'x': np.zeros(4_000_000)})\n"
        "except MemoryError as err: sys.exit(str(err))"
    )

    def bound() -> None:
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)
        )  # what shmem says when it is full, without filling

    done = subprocess.run([sys.executable, "-c", script], preexec_fn=bound, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "no shared memory for 31 MiB" in done.stderr
