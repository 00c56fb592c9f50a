"""Arrays that are broken or hostile are refused in one line, before memory is taken for them."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import model, node, port, relu, save
from refusing import refused

from sysnoise_conform.errors import BadInput
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.inputs import load_samples
from sysnoise_conform.inputs.containers import read_arrays

GOOD = np.arange(4, dtype=np.float32).reshape(1, 4)
DICT = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }"


def npy(array: np.ndarray = GOOD, **keywords: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **keywords)
    return stream.getvalue()


def header(text: str, data: bytes = GOOD.tobytes(), version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode("latin-1") + data


class Payload:
    """What a pickle would call when it is read."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return (open, ("CANARY", "w"))


NPY: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "header is broken"),
    "magic-alone": (b"\x93NUMPY", "header is broken"),
    "no-numpy": (b"GIF89a" + bytes(100), "does not start"),
    "version-9": (header(DICT, version=1).replace(b"NUMPY\x01", b"NUMPY\x09"), "does not start"),
    "header-beyond-the-file": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 0xFFFFFFFF) + b"{", "the limit is"),
    "header-of-60-kB": (header("{" + " " * 60_000 + DICT[1:]), "the limit is"),
    "header-cut": (npy()[:40], "header is broken"),
    "expression": (header(DICT.replace("(1, 4)", "__import__('os').system('touch CANARY')")), "header is broken"),
    "sum-of-sizes": (header(DICT.replace("4", "2 + 2")), "header is broken"),
    "escape-in-header": (header(DICT.replace("<f4", "\\x1b[2J")), "header is broken"),
    "key-twice": (header(DICT.replace("'fortran_order'", "'shape'")), "header is broken"),
    "key-too-many": (header(DICT.replace("}", "'more': 1}")), "header is broken"),
    "bracket-tower": (header("(" * 9_000 + ")" * 900), "header is broken"),
    "size-that-is-true": (header(DICT.replace("4)", "True)")), "header is broken"),
    "size-of-300-digits": (header(DICT.replace("4)", "4" * 300 + ")")), "header is broken"),
    "records": (npy(np.zeros(4, [("a", "<f4"), ("b", "<i8")])), "describes records"),
    "records-by-comma": (header(DICT.replace("<f4", "f4,f4")), "header is broken"),
    "array-of-arrays": (header(DICT.replace("<f4", "(9,9)f4")), "header is broken"),
    "unknown-dtype": (header(DICT.replace("<f4", "<q9")), "unknown"),
    "objects": (npy(np.array([Payload()], object), allow_pickle=True), "unpickled"),
    "text": (npy(np.array([["a", "b", "c", "d"]])), "which no tensor has"),
    "dates": (npy(np.zeros((1, 4), "M8[s]")), "header is broken"),
    "raw": (npy(np.zeros((1, 4), "V4")), "the model takes float32"),
    "complex": (npy(np.zeros((1, 4), np.complex128)), "the model takes float32"),
    "double": (npy(GOOD.astype(float)), ".astype('float32')"),
    "integers": (npy(GOOD.astype(np.int8)), ".astype('float32')"),
    "negative-size": (header(DICT.replace("4)", "-4)")), "impossible shape"),
    "two-negative-sizes": (header(DICT.replace("1, 4", "-1, -4")), "impossible shape"),
    "sizes-that-wrap": (header(DICT.replace("1, 4", "4294967296, 4294967296")), "the limit is"),
    "a-terabyte": (header(DICT.replace("1, 4", "1, 274877906944")), "the limit is"),
    "rank-of-900": (header(DICT.replace("1, 4", "1, " * 900)), "impossible shape"),
    "data-cut": (npy()[:-1], "cut short"),
    "data-behind": (npy() + b"\0", "after its array"),
    "other-shape": (npy(GOOD.reshape(4, 1)), "shape [4, 1]"),
    "other-rank": (npy(GOOD.reshape(4)), "shape [4]"),
    "scalar": (npy(np.float32(1)), "shape []"),
    "no-elements": (npy(np.zeros((0, 4), np.float32)), "shape [0, 4]"),
}


@pytest.mark.parametrize("case", NPY, ids=str)
def test_a_broken_npy_is_refused(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, words = NPY[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npy").write_bytes(data)

    assert words in refused(capsys, tmp_path, "--model", save(tmp_path, relu()), "--inputs", tmp_path / "x.npy")
    assert not (tmp_path / "CANARY").exists()


@pytest.mark.parametrize(
    "array",
    [
        GOOD.astype(">f4"), np.asfortranarray(np.tile(GOOD, (3, 1)))[:1].astype(">f4"),
        np.array([[np.nan, np.inf, -np.inf, -0.0]], np.float32), np.array([[1e-45, 3e38, 0, 1]], np.float32),
    ],
    ids=["big-endian", "fortran", "not-finite", "denormal"],
)  # fmt: skip
def test_any_numbers_in_any_order_are_read(array: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy(array))
    opened = open_model(save(tmp_path, relu()))

    found = load_samples(opened, inputs=tmp_path / "x.npy", card=None, samples=None, seed=0, shapes={}).feed(0)["x"]

    assert np.array_equal(found, array, equal_nan=True)
    assert found.dtype.isnative


def test_headers_of_other_writers_are_read(tmp_path: Path) -> None:
    texts = (DICT, DICT + " " * 20 + "\n", DICT.replace(", }", "}"), DICT.replace("(1, 4)", "(1L, 4L)"),
             "{'shape': (1, 4), 'fortran_order': False, 'descr': '=f4'}")  # fmt: skip
    for text in texts:
        for version in (1, 2):
            (tmp_path / "x.npy").write_bytes(header(text, version=version))
            assert np.array_equal(read_arrays(tmp_path / "x.npy", lambda name, head: None)[""], GOOD)


def archive(members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return stream.getvalue()


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


def bomb(count: int = 1 << 26) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made, made.open("x.npy", "w") as member:
        member.write(header(DICT.replace("4)", f"{count})"), b""))
        for _ in range(count * 4 >> 20):
            member.write(bytes(1 << 20))
    return stream.getvalue()


def encrypted() -> bytes:
    data = bytearray(archive({"x.npy": npy()}))
    data[6] |= 1  # the flag in the local header and in the table of members
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def lying_about_its_size() -> bytes:
    data = bytearray(archive({"x.npy": npy() + bytes(1 << 20)}, zipfile.ZIP_DEFLATED))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, len(npy()))
    return bytes(data)


def long_table(size: int) -> bytes:
    data = bytearray(archive({"x.npy": npy()}))
    struct.pack_into("<I", data, data.index(b"PK\x05\x06") + 12, size)
    return bytes(data)


def zip64_table(size: int) -> bytes:
    data = archive({"x.npy": npy()})
    at = data.index(b"PK\x05\x06")
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, size, data.index(b"PK\x01\x02"))
    return data[:at] + record + b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1) + data[at:]


def damaged() -> bytes:
    data = bytearray(archive({"x.npy": npy()}, zipfile.ZIP_DEFLATED))
    data[50] ^= 0xFF
    return bytes(data)


def twice() -> bytes:
    data = archive({"x.npy": npy(), "z.npy": npy()})
    return patched(data, b"z.npy", b"x.npy")


NPZ: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "broken"),
    "no-zip": (lambda: b"PK\x03\x04" + bytes(40), "broken"),
    "cut": (lambda: archive({"x.npy": npy()})[:-30], "broken"),
    "no-members": (lambda: archive({}), "lacks input 'x'"),
    "bomb": (bomb, "unpacks from"),
    "bomb-under-another-name": (
        lambda: patched(bomb(1 << 20), b"x.npy", b"q.npy"), "holds 'q', which is no input"
    ),
    "many-others": (
        lambda: archive({f"{n}.npy": npy(np.zeros(1 << 12, np.float32)) for n in range(2_000)}), "which is no input"
    ),
    "too-many": (lambda: archive({f"{n}.npy": b"" for n in range(10_001)}), "the limit is"),
    "name-twice": (twice, "two arrays called 'x'"),
    "no-name": (lambda: archive({".npy": npy()}), "without a name"),
    "outside": (lambda: archive({"../x.npy": npy()}), "which is no input"),
    "absolute": (lambda: archive({"/x.npy": npy()}), "which is no input"),
    "terminal-escapes": (lambda: archive({"\x1b]0;owned\x07\u202e.npy": npy()}), "which is no input"),
    "no-array": (lambda: archive({"x.npy": npy(), "run.py": b"1"}), "which is no array"),
    "nested": (lambda: archive({"x.npy": archive({"x.npy": npy()})}), "does not start"),
    "folder": (lambda: archive({"x.npy/": b""}), "which is no array"),
    "objects": (lambda: archive({"x.npy": npy(np.array([Payload()], object), allow_pickle=True)}), "unpickled"),
    "encrypted": (encrypted, "encrypted"),
    "unknown-method": (
        lambda: archive({"x.npy": npy()}).replace(b"\x14\0\0\0\0\0", b"\x14\0\0\0\x63\0"), "numpy does not know",
    ),
    "wrong-checksum": (lambda: patched(archive({"x.npy": npy()}), GOOD.tobytes(), GOOD[:, ::-1].tobytes()), "CRC"),
    "size-that-lies": (lying_about_its_size, "broken"),
    "data-behind-the-array": (lambda: archive({"x.npy": npy() + b"more"}), "after its array"),
    "table-beyond-the-file": (lambda: long_table(0xFFFFFFF0), "the limit is"),
    "zip64-table": (lambda: zip64_table(1 << 60), "the limit is"),
    "zip64-nowhere": (lambda: patched(zip64_table(1 << 10), b"PK\x06\x06", b"PK\x06\x05"), "broken"),
    "damaged-stream": (damaged, "broken"),
}  # fmt: skip


@pytest.mark.parametrize("case", NPZ, ids=str)
def test_a_hostile_archive_is_refused(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, words = NPZ[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npz").write_bytes(make())
    path = save(tmp_path, relu())
    tracemalloc.start()
    try:
        told = refused(capsys, tmp_path, "--model", path, "--inputs", tmp_path / "x.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert words in told
    assert peak < 64 << 20
    assert not (tmp_path / "CANARY").exists()


def safetensors(head: object, data: bytes = GOOD.tobytes()) -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data


ENTRY: dict[str, Any] = {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]}
SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cut short"),
    "header-of-2^62": (struct.pack("<Q", 1 << 62) + b"{}", "header claims"),
    "header-that-wraps": (struct.pack("<Q", (1 << 64) - 8) + b"{}", "header claims"),
    "header-of-no-bytes": (struct.pack("<Q", 0), "not JSON"),
    "header-of-20-MB": (safetensors(b" " * 20_000_000), "header claims"),
    "no-utf-8": (safetensors(b'{"\xff\xfe": 1}'), "not JSON"),
    "tower": (safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000), "not JSON"),
    "number-of-10,000-digits": (safetensors(b'{"x": {"dtype": "F32", "shape": [' + b"1" * 10_000 + b"]}}"), "not JSON"),
    "list": (safetensors([ENTRY]), "no table"),
    "entry-is-text": (safetensors({"x": "F32"}), "is broken"),
    "entry-without-dtype": (safetensors({"x": {"shape": [1, 4], "data_offsets": [0, 16]}}), "is broken"),
    "dtype-is-a-list": (safetensors({"x": {**ENTRY, "dtype": []}}), "is broken"),
    "size-is-nan": (safetensors({"x": {**ENTRY, "shape": [float("nan"), 4]}}), "impossible numbers"),
    "size-is-true": (safetensors({"x": {**ENTRY, "shape": [True, 4]}}), "impossible numbers"),
    "size-is-text": (safetensors({"x": {**ENTRY, "shape": "14"}}), "impossible numbers"),
    "sizes-that-wrap": (safetensors({"x": {**ENTRY, "shape": [1 << 61, 1 << 61]}}), "does not lie"),
    "700,000-dimensions": (
        safetensors({"x": {**ENTRY, "shape": [(1 << 62) - 1] * 700_000}}), "700,000 dimensions; the limit is 32"
    ),
    "negative-offset": (safetensors({"x": {**ENTRY, "data_offsets": [-16, 0]}}), "impossible numbers"),
    "three-offsets": (safetensors({"x": {**ENTRY, "data_offsets": [0, 8, 16]}}), "is broken"),
    "backwards": (safetensors({"x": {**ENTRY, "data_offsets": [16, 0]}}), "does not lie"),
    "overlap": (safetensors({"x": ENTRY, "z": {**ENTRY, "data_offsets": [8, 24]}}, bytes(24)), "does not lie"),
    "same-bytes": (safetensors({"x": ENTRY, "z": ENTRY}), "does not lie"),
    "hole": (safetensors({"x": {**ENTRY, "data_offsets": [4, 20]}}, bytes(20)), "does not lie"),
    "data-cut": (safetensors({"x": ENTRY}, bytes(15)), "follow the header"),
    "data-behind": (safetensors({"x": ENTRY}, bytes(17)), "follow the header"),
    "another-name": (safetensors({"\x1b[2J": ENTRY}), "which is no input"),
    "another-dtype": (safetensors({"x": {**ENTRY, "dtype": "I32"}}), ".astype('float32')"),
    "complex": (safetensors({"x": {**ENTRY, "dtype": "C64", "shape": [1, 2]}}), "the model takes float32"),
    "another-shape": (safetensors({"x": {**ENTRY, "shape": [4]}}), "shape [4]"),
    "nothing": (safetensors({}, b""), "lacks input 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAFETENSORS, ids=str)
def test_hostile_safetensors_are_refused(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, words = SAFETENSORS[case]
    (tmp_path / "x.safetensors").write_bytes(data)

    assert words in refused(
        capsys, tmp_path, "--model", save(tmp_path, relu()), "--inputs", tmp_path / "x.safetensors"
    )


def test_one_file_among_many_that_is_no_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path, relu())
    makers: dict[str, Callable[[Path], object]] = {
        "a named pipe": os.mkfifo, "a folder": Path.mkdir, "a character device": lambda p: p.symlink_to("/dev/zero"),
        "no such file": lambda p: p.symlink_to("/absent"), "links lead in a circle": lambda p: p.symlink_to(p.name),
    }  # fmt: skip
    for words, make in makers.items():
        folder = tmp_path / words.replace(" ", "-")
        folder.mkdir()
        (folder / "a.npy").write_bytes(npy())
        make(folder / "b\n\x1b[2J.npy")
        told = refused(capsys, tmp_path, "--model", path, "--inputs", folder)
        assert words in told


def test_links_to_arrays_elsewhere_are_what_the_user_put_there(tmp_path: Path) -> None:
    (tmp_path / "real.npy").write_bytes(npy())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.npy").symlink_to(tmp_path / "real.npy")
    opened = open_model(save(tmp_path, relu()))

    samples = load_samples(opened, inputs=tmp_path / "folder", card=None, samples=None, seed=0, shapes={})

    assert np.array_equal(samples.feed(0)["x"], GOOD)


def test_a_folder_of_very_many_files_is_listed_and_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    (tmp_path / "a.npy").write_bytes(npy())
    for number in range(20_000):
        os.link(tmp_path / "a.npy", folder / f"{number:06}.npy")
    opened = open_model(save(tmp_path, relu()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime

    samples = load_samples(opened, inputs=folder, card=None, samples=3, seed=0, shapes={})

    assert samples.names == ("000000.npy", "000001.npy", "000002.npy")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 5


def test_no_name_at_all_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path, relu())
    assert "--inputs" in refused(capsys, tmp_path, "--model", path, "--inputs", "")
    assert "after --card" in refused(capsys, tmp_path, "--model", path, "--card=")
    assert "null byte" in refused(capsys, tmp_path, "--model", path, "--inputs", "a\0b.npy")
    assert "too long" in refused(capsys, tmp_path, "--model", path, "--inputs", "x" * 5000 + ".npy")


def test_a_feed_for_several_inputs_names_each(tmp_path: Path) -> None:
    nodes = [node("Add", ["a", "b"], ["y"])]
    opened = open_model(save(tmp_path, model(nodes, [port("a"), port("b")], [port("y")])))
    np.savez(tmp_path / "x.npz", a=GOOD, b=GOOD, c=GOOD)

    with pytest.raises(BadInput, match="holds 'c', which is no input"):
        load_samples(opened, inputs=tmp_path / "x.npz", card=None, samples=None, seed=0, shapes={})
