"""Whatever is done to a deployed file, an array or a picture, it is read or refused in one line, in bounded time."""

from __future__ import annotations

import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bounded import bounded, fuzz
from hypothesis import given
from hypothesis import strategies as st
from onnx_files import relu, save

from sysnoise_conform.deployed import READERS
from sysnoise_conform.errors import BadInput, BadModel
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.inputs import load_samples
from sysnoise_conform.pictures.decode import decode

pytest.importorskip("ai_edge_litert")

from deployed_files import IR, WEIGHTS, add_model, packed

EDGES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0", b"\0\1", b"\x40\0")
WORDS = (
    "-1", "", "0", "1", "7", "9" * 20, "1,4", "?", "..", "...", "u1", "string", "Const", "Parameter", "Result", "Loop",
)  # fmt: skip
GOOD = np.arange(4, dtype=np.float32).reshape(1, 4)


def mutated(data: bytes, seed: int) -> bytes:
    """`data` with a few bytes changed, cut out, put in, or copied from elsewhere in it."""
    draw = random.Random(seed)
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        at = draw.randrange(len(found) + 1)
        match draw.randrange(7):
            case 0:
                found[at : at + 1] = bytes([draw.randrange(256)])
            case 1 if at < len(found):
                found[at] ^= 1 << draw.randrange(8)
            case 2:
                edge = draw.choice(EDGES)
                found[at & ~1 : (at & ~1) + len(edge)] = edge
            case 3:
                del found[at : at + draw.randrange(1, 40)]
            case 4:
                found[at:at] = draw.randbytes(draw.randrange(1, 20))
            case 5:
                start, length = draw.randrange(len(found) + 1), draw.randrange(1, 64)
                found[at : at + length] = found[start : start + length]
            case _:
                found = found[:at] if draw.random() < 0.2 else found + found[at:]
    return bytes(found)


def tampered_ir(seed: int) -> str:
    """The IR with numbers, names and whole elements exchanged: what survives the XML parser."""
    draw = random.Random(seed)
    words = IR.split('"')
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(1, len(words), 2)
        words[at] = draw.choice((*WORDS, words[draw.randrange(1, len(words), 2)]))
    text = '"'.join(words)
    if draw.random() < 0.3:
        lines = text.splitlines()
        lines[draw.randrange(2, len(lines))] = draw.choice(lines)
        text = "\n".join(lines)
    return text


def npz(kind: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        archive.writestr("x.npy", npy())
    return stream.getvalue()


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, GOOD)
    return stream.getvalue()


def safetensors() -> bytes:
    text = json.dumps({"x": {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(text)) + text + GOOD.tobytes()


def picture(form: str) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(stream, form)
    return stream.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzz")
    (made / "model.bin").write_bytes(WEIGHTS.tobytes())
    return made


def refused(read: Callable[[], object], kind: type[Exception]) -> None:
    """Read, or be refused in one line; no warning is for the terminal."""
    with bounded(), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module=r"PIL\b")  # as pictures.guard has it; pytest forgets what imports set
        try:
            read()
        except kind as err:
            assert str(err).isprintable(), ascii(str(err))


SEEDS = st.integers(0, 1 << 60)


@fuzz(1500)
@given(SEEDS)
def test_a_tampered_tflite_is_read_or_refused(folder: Path, seed: int) -> None:
    path = folder / "model.tflite"
    path.write_bytes(mutated(TFLITE, seed))

    refused(lambda: READERS["tflite"](path, False), BadModel)


@fuzz(1000)
@given(SEEDS, st.booleans())
def test_a_tampered_ir_is_read_or_refused(folder: Path, seed: int, bytewise: bool) -> None:
    path = folder / "model.xml"
    path.write_bytes(mutated(IR.encode(), seed) if bytewise else tampered_ir(seed).encode())

    refused(lambda: READERS["ir"](path, False), BadModel)


ARRAYS = {
    ".npy": [npy()],
    ".npz": [npz(zipfile.ZIP_STORED), npz(zipfile.ZIP_DEFLATED)],
    ".safetensors": [safetensors()],
}
TFLITE = packed(add_model())


@pytest.mark.parametrize("suffix", ARRAYS)
@fuzz(600)
@given(SEEDS)
def test_a_tampered_array_is_read_or_refused(folder: Path, suffix: str, seed: int) -> None:
    path = folder / f"x{suffix}"
    path.write_bytes(mutated(ARRAYS[suffix][seed % len(ARRAYS[suffix])], seed))
    model = open_model(save(folder, relu()))

    refused(lambda: load_samples(model, inputs=path, card=None, samples=None, seed=0, shapes={}), BadInput)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF"])
@fuzz(200)
@given(SEEDS)
def test_a_tampered_picture_is_read_or_refused(folder: Path, form: str, seed: int) -> None:
    path = folder / "x.png"
    path.write_bytes(mutated(picture(form), seed))

    refused(lambda: decode(path, exif=True), BadInput)
