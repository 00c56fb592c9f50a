"""The golden's file form: what is written is what is read, or it is damaged."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysnoise_conform.errors import StorageError
from sysnoise_conform.outcome import Floor
from sysnoise_conform.store.entry import ALIGNMENT, STORED, DamagedEntry, EntryWriter, GoldenSample

T = onnx.TensorProto


def write_entry(path: Path) -> Path:
    rng = np.random.default_rng(0)
    floor = Floor(n=60, sum_sq=1e-12, max_abs=3e-7, rounding_sum_sq=2e-13, rounding_max=1e-7, sigma_sq=5e-13)
    with EntryWriter(path) as writer:
        writer.add("conv", T.FLOAT, rng.standard_normal((3, 4, 5)))
        writer.add("ids", T.INT64, np.array([2**62, -1]))
        writer.add("mask", T.BOOL, np.array([[True], [False]]))
        writer.add("empty", T.FLOAT, np.zeros((0, 7)))
        writer.add("scalar", T.DOUBLE, np.array(np.nan))
        writer.finish({"conv": floor}, left_out={"text": "a string"}, about={"torch": "2"})
    return path


def test_an_entry_gives_back_what_was_written(tmp_path: Path) -> None:
    with GoldenSample(write_entry(tmp_path / "a.golden")) as sample:
        conv = sample["conv"]
        assert list(sample) == ["conv", "ids", "mask", "empty", "scalar"]
        np.testing.assert_array_equal(conv.data, np.random.default_rng(0).standard_normal((3, 4, 5)))
        assert (conv.shape, conv.elem_type, conv.floor.sum_sq) == ((3, 4, 5), T.FLOAT, 1e-12)
        assert sample["ids"].data.tolist() == [2**62, -1]
        assert sample["mask"].data.dtype == bool
        assert sample["empty"].data.shape == (0, 7)
        assert np.isnan(sample["scalar"].data)
        assert sample["scalar"].shape == ()
        assert sample.left_out == {"text": "a string"}
        assert sample.about == {"torch": "2"}
        del conv


def test_tensors_are_mapped_aligned_and_read_only(tmp_path: Path) -> None:
    with GoldenSample(write_entry(tmp_path / "a.golden")) as sample:
        data = sample["conv"].data
        assert not data.flags.owndata
        assert data.__array_interface__["data"][0] % ALIGNMENT == 0
        with pytest.raises(ValueError, match="read-only"):
            data[0, 0, 0] = 1.0


def test_an_array_outlives_its_sample_and_its_file(tmp_path: Path) -> None:
    path = write_entry(tmp_path / "a.golden")
    sample = GoldenSample(path)
    data = sample["conv"].data
    path.unlink()
    sample.close()
    assert np.isfinite(data).all()


def test_each_of_200_flipped_bits_is_noticed(tmp_path: Path) -> None:
    path = write_entry(tmp_path / "a.golden")
    whole = path.read_bytes()
    draw = random.Random(7)
    places = draw.sample(range(len(whole) * 8), 200)
    noticed = 0
    for place in places:
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            GoldenSample(path).close()
        except DamagedEntry:
            noticed += 1
    assert noticed == 200


def test_every_bit_of_header_index_and_footer_is_watched(tmp_path: Path) -> None:
    path = tmp_path / "small.golden"
    with EntryWriter(path) as writer:
        writer.add("x", T.UINT8, np.arange(3))
        writer.finish({})
    whole = path.read_bytes()
    for place in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedEntry):
            GoldenSample(path)


@pytest.mark.parametrize("keep", [0, 1, 63, 64, 127, 200, 0.5, 0.99])
def test_a_cut_off_file_is_damaged(tmp_path: Path, keep: float) -> None:
    path = write_entry(tmp_path / "a.golden")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(DamagedEntry):
        GoldenSample(path)


def test_a_file_without_its_index_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.golden"
    with EntryWriter(path) as writer:
        writer.add("x", T.FLOAT, np.zeros(100))
    with pytest.raises(DamagedEntry):
        GoldenSample(path)


def test_blocks_can_be_read_back_while_writing(tmp_path: Path) -> None:
    values = np.arange(1000.0).reshape(10, 100)
    with EntryWriter(tmp_path / "a.golden") as writer:
        writer.add("first", T.INT32, np.arange(5))
        writer.add("x", T.FLOAT, values)
        np.testing.assert_array_equal(writer.block("x", 990, 64), np.arange(990.0, 1000.0))
        np.testing.assert_array_equal(writer.block("first", 1, 3), [1, 2, 3])
        assert writer.shape("x") == (10, 100)


def test_a_full_disk_is_a_storage_error_in_words(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for the disk: write() fails in the middle of a tensor."""
    script = (
        "import numpy as np, pathlib, sys\n"
        "from sysnoise_conform.store.entry import EntryWriter\n"
        "from sysnoise_conform.errors import StorageError\n"
        "try:\n"
        "    with EntryWriter(pathlib.Path(sys.argv[1])) as writer:\n"
        "        writer.add('x', 1, np.zeros(1 << 20))\n"
        "except StorageError as error:\n"
        "    print(error.exit_code, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.tmp")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("4 can't write the golden")
    assert "CONFORM_CACHE" in done.stdout


def test_writing_to_a_device_without_room_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="the disk is full"):
        EntryWriter(Path("/dev/full"))


def test_every_numeric_onnx_type_has_a_stored_form() -> None:
    left_out = {"UNDEFINED", "STRING", "COMPLEX64", "COMPLEX128"}
    assert {T.DataType.Name(each) for each in T.DataType.values() if each not in STORED} == left_out


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(0, 5), max_size=4).map(tuple),
    name=st.text(min_size=1).filter(lambda text: text.isprintable()),
    seed=st.integers(0, 99),
)
def test_any_name_and_shape_survives(shape: tuple[int, ...], name: str, seed: int) -> None:
    import tempfile

    values = np.random.default_rng(seed).standard_normal(shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.golden"
        with EntryWriter(path) as writer:
            writer.add(name, T.FLOAT, values)
            writer.finish({})
        sample = GoldenSample(path)
        np.testing.assert_array_equal(sample[name].data, values)
        assert sample[name].shape == shape
