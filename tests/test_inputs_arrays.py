from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto
from onnx_files import model, node, port, relu, save
from safetensors.numpy import save_file

from sysnoise_conform.errors import BadInput
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.inputs import Samples, load_samples


@pytest.fixture
def one(tmp_path: Path) -> Model:
    (tmp_path / "model").mkdir(exist_ok=True)
    return open_model(save(tmp_path / "model", relu(shape=(2, 3))))


@pytest.fixture
def two(tmp_path: Path) -> Model:
    (tmp_path / "model").mkdir(exist_ok=True)
    nodes = [node("Add", ["a", "b"], ["y"])]
    return open_model(save(tmp_path / "model", model(nodes, [port("a", (2,)), port("b", (2,))], [port("y", (2,))])))


def load(opened: Model, path: Path, samples: int | None = None) -> Samples:
    return load_samples(opened, inputs=path, card=None, samples=samples, seed=0, shapes={})


def refusal(opened: Model, path: Path, samples: int | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        load(opened, path, samples)
    assert "\n" not in str(caught.value)
    return str(caught.value)


VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_an_array_goes_to_the_only_input(one: Model, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VALUES)

    samples = load(one, tmp_path / "x.npy")

    assert (samples.kind, len(samples), samples.names) == ("arrays", 1, ("x.npy",))
    assert np.array_equal(samples.feed(0)["x"], VALUES)


def test_big_endian_and_fortran_order_are_read_as_the_same_numbers(one: Model, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(VALUES.astype(">f4")))

    array = load(one, tmp_path / "x.npy").feed(0)["x"]

    assert array.dtype == np.dtype("float32")
    assert array.dtype.isnative
    assert np.array_equal(array, VALUES)


def test_a_feed_is_read_only_and_made_once_for_all_who_want_it_now(one: Model, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VALUES)
    samples = load(one, tmp_path / "x.npy")
    first = samples.feed(0)

    assert samples.feed(0)["x"] is first["x"]
    with pytest.raises(ValueError, match="read-only"):
        first["x"][:] = 9
    first.clear()  # the mapping is the caller's own
    assert np.array_equal(samples.feed(0)["x"], VALUES)


def test_archives_hold_one_array_per_input(two: Model, tmp_path: Path) -> None:
    feed = {"a": np.array([1, 2], np.float32), "b": np.array([3, 4], np.float32)}
    np.savez(tmp_path / "1.npz", **feed)
    np.savez_compressed(tmp_path / "2.npz", **feed)
    save_file(feed, tmp_path / "3.safetensors")

    for path in sorted(tmp_path.glob("[123].*")):
        got = load(two, path).feed(0)
        assert set(got) == {"a", "b"}
        assert np.array_equal(got["b"], [3, 4])


def test_a_folder_is_one_sample_per_file_in_the_order_of_their_names(one: Model, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    for name, value in (("b.npy", 2), ("a.npy", 1), ("c.npy", 3)):
        np.save(folder / name, np.full((2, 3), value, np.float32))
    (folder / "notes.txt").write_text("not an array")

    samples = load(one, folder, samples=2)

    assert samples.names == ("a.npy", "b.npy")
    assert [samples.feed(number)["x"][0, 0] for number in range(len(samples))] == [1, 2]
    assert "holds 3" in refusal(one, folder, samples=4)


def test_the_sum_covers_names_and_content(one: Model, tmp_path: Path) -> None:
    sums = set()
    for name, value in (("a.npy", 0), ("a.npy", 1), ("b.npy", 1)):
        np.save(tmp_path / name, np.full((2, 3), value, np.float32))
        sums.add(load(one, tmp_path / name).sha256)

    assert len(sums) == 3


def test_nan_is_a_value_like_others(one: Model, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((2, 3), np.nan, np.float32))

    assert np.isnan(load(one, tmp_path / "x.npy").feed(0)["x"]).all()


class Bomb:
    def __reduce__(self):
        return (open, ("CANARY", "w"))


def test_python_objects_are_never_unpickled(one: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "x.npy", np.array([Bomb()], object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([Bomb()], object))

    assert "unpickled" in refusal(one, tmp_path / "x.npy")
    assert "unpickled" in refusal(one, tmp_path / "x.npz")
    assert not (tmp_path / "CANARY").exists()


def npy_header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "header is broken"),
        (b"\x93NUMPY\x01\x00", "header is broken"),
        (npy_header((2, 3)) + bytes(20), "cut short"),
        (npy_header((2, 3)) + bytes(30), "after its array"),
        (npy_header((1 << 40,)), "the limit is"),
        (npy_header((1 << 40, 1 << 40)), "the limit is"),
        (npy_header((-2, -3)) + bytes(24), "impossible shape"),
        (npy_header((2, 3), "<f8") + bytes(48), "float64; the model takes float32"),
        (npy_header((3, 2)) + bytes(24), "shape [3, 2]"),
        (npy_header((2, 3), "<U4") + bytes(96), "which no tensor has"),
    ],
)
def test_a_broken_npy_is_refused_in_one_line(one: Model, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.npy").write_bytes(content)

    assert words in refusal(one, tmp_path / "x.npy")


def test_an_archive_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir(exist_ok=True)
    opened = open_model(save(tmp_path / "model", relu(shape=("n",))))
    count = 1 << 25
    with (
        zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as member,
    ):
        member.write(npy_header((count,)))
        for _ in range(count * 4 >> 20):
            member.write(bytes(1 << 20))

    assert "unpacks from" in refusal(opened, tmp_path / "x.npz")


def test_archives_with_strange_members_are_refused(one: Model, tmp_path: Path) -> None:
    array = npy_header((2, 3)) + bytes(24)
    for name, members in (("a", ["../x.npy"]), ("b", ["x.txt"]), ("c", ["x.npy", "y.npy"]), ("d", [])):
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as archive:
            for member in members:
                archive.writestr(member, array)
        refusal(one, tmp_path / f"{name}.npz")
    (tmp_path / "e.npz").write_bytes(b"PK\x03\x04 no archive")
    assert "broken" in refusal(one, tmp_path / "e.npz")


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (struct.pack("<Q", 1 << 62) + b"{}", "header claims"),
        (b"\x01", "cut short"),
        (safetensors(b"[[["), "not JSON"),
        (safetensors(b"[" * 100_000), "not JSON"),
        (safetensors([1, 2]), "no table"),
        (safetensors(b'{"x": {}, "x": {}}'), "not JSON"),
        (safetensors({"x": {**ENTRY, "dtype": "F99"}}, bytes(24)), "entry of tensor 'x' is broken"),
        (safetensors({"x": {**ENTRY, "shape": [2, -3]}}, bytes(24)), "impossible numbers"),
        (safetensors({"x": {**ENTRY, "data_offsets": [0, 20]}}, bytes(20)), "does not lie where"),
        (safetensors({"x": {**ENTRY, "data_offsets": [4, 28]}}, bytes(28)), "does not lie where"),
        (safetensors({"x": ENTRY}, bytes(30)), "follow the header"),
        (safetensors({"x": ENTRY}, bytes(10)), "follow the header"),
    ],
)
def test_broken_safetensors_are_refused_in_one_line(one: Model, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)

    assert words in refusal(one, tmp_path / "x.safetensors")


def test_bfloat16_comes_in_through_safetensors(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir(exist_ok=True)
    opened = open_model(save(tmp_path / "model", relu(shape=(2,), elem_type=TensorProto.BFLOAT16)))
    entry = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}
    (tmp_path / "x.safetensors").write_bytes(
        safetensors({"x": entry}, np.array([1.5, -2], ml_dtypes.bfloat16).tobytes())
    )

    assert load(opened, tmp_path / "x.safetensors").feed(0)["x"].astype(float).tolist() == [1.5, -2]


def test_what_is_missing_or_of_the_wrong_kind_is_told(one: Model, two: Model, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VALUES)
    np.savez(tmp_path / "a.npz", a=np.zeros(2, np.float32))
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").write_text("1 2 3")

    assert "no such file or folder" in refusal(one, tmp_path / "absent")
    assert "no arrays and no pictures" in refusal(one, tmp_path / "empty")
    assert "neither an array nor a picture" in refusal(one, tmp_path / "x.txt")
    assert "a FLOAT [2], b FLOAT [2]" in refusal(two, tmp_path / "x.npy")
    assert "lacks input 'b'" in refusal(two, tmp_path / "a.npz")
