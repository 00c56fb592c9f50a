"""Picture libraries in environments of their own: absent, dying, silent, wrong; and the real one where it is there."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Conform
from noise_samples import place
from PIL import Image

from sysnoise_conform.errors import BadInput
from sysnoise_conform.matrix.cells import asked
from sysnoise_conform.noise import AXES
from sysnoise_conform.pictures import elsewhere
from sysnoise_conform.pictures.decode import decode
from sysnoise_conform.pictures.resize import resize

# Stands for the Python of an environment: speaks the frames, and does what its character is.
LIBRARY = """#!{python}
import os, sys, time
import numpy
from sysnoise_conform.frames import receive, send
character = open({character!r}).read()
incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
if character == "broken":
    send(outgoing, {{"error": "ImportError: no such library"}})
    sys.exit()
send(outgoing, {{}})
while True:
    asked, arrays = receive(incoming)
    if character == "crashes":
        os.abort()
    if character == "hangs":
        time.sleep(600)
    if character == "refuses":
        send(outgoing, {{"error": "RuntimeError: not this one"}})
        continue
    send(outgoing, {{}}, {{"y": numpy.zeros((6, 8, 3) if character == "answers" else (2, 2, 3), "uint8")}})
"""


@pytest.fixture
def character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    told, python, config = (tmp_path / name for name in ("character", "python", "conform.toml"))
    python.write_text(LIBRARY.format(python=sys.executable, character=str(told)))
    python.chmod(0o755)
    config.write_text(f"[env]\npython.dali = {json.dumps(str(python))}\n")
    monkeypatch.setenv("CONFORM_CONFIG", str(config))
    monkeypatch.setattr(elsewhere, "LIMIT_S", 3.0)
    elsewhere._lanes.cache_clear()  # children of another test
    monkeypatch.setattr(elsewhere, "_in_vain", {})
    yield told
    elsewhere._lanes("dali").shutdown()
    elsewhere._lanes.cache_clear()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "p.jpg"
    Image.fromarray(np.arange(144, dtype=np.uint8).reshape(6, 8, 3)).save(path)
    return path


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("crashes", "dali ended its process (-6)"),
        ("hangs", "dali gave no answer within 3 s"),
        ("refuses", "dali: RuntimeError: not this one"),
        ("broken", "dali: ImportError: no such library"),
        ("lies", r"comes out of dali as \(2, 2, 3\), not 6 x 8 pixels"),
    ],
)
def test_what_a_library_does_wrong_is_told_of_its_picture_and_the_next_one_is_tried_anew(
    character: Path, picture: Path, how: str, said: str
) -> None:
    character.write_text(how)
    with pytest.raises(BadInput, match=said.replace("(-6)", r"\(-6\)")) as told:
        decode(picture, exif=False, decoder="dali")
    assert "p.jpg" in str(told.value)
    if how in ("refuses", "lies"):  # these children are alive
        return

    character.write_text("answers")
    assert decode(picture, exif=False, decoder="dali").tolist() == np.zeros((6, 8, 3)).tolist()


def test_a_library_that_never_answers_is_not_waited_for_at_every_picture(
    character: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    character.write_text("hangs")
    monkeypatch.setattr(elsewhere, "LIMIT_S", 1.0)
    for _ in range(2):
        with pytest.raises(BadInput, match="gave no answer within 1 s"):
            decode(picture, exif=False, decoder="dali")

    began = time.monotonic()
    with pytest.raises(BadInput, match="2 times, and is asked no more"):
        decode(picture, exif=False, decoder="dali")
    assert time.monotonic() - began < 0.5


def test_levels_that_few_machines_have_are_asked_for_by_their_own_names() -> None:
    def levels(words: str) -> set[str]:
        return {level for each in asked(words, task="classify") for level in each.levels}

    few = {each.name for axis in AXES.values() for each in axis.levels if each.elsewhere}
    assert {"dali", "dali-linear"} <= few
    for words in ("default", "paper", "decoder,resize"):
        assert not few & levels(words), words
    assert few <= levels("all")
    for words in ("resize,resize=dali-linear", "resize=dali-linear,resize", "resize=dali-linear,default"):
        assert {"dali-linear", "pillow-box"} <= levels(words), words


def test_a_resize_of_another_size_is_told(character: Path) -> None:
    character.write_text("lies")

    with pytest.raises(BadInput, match="dali resized"):
        resize(np.zeros((9, 9, 3), np.uint8), (5, 5), "dali-linear")


def test_without_its_environment_a_level_names_the_command_that_makes_it(conform: Conform, tmp_path: Path) -> None:
    there, empty = place(tmp_path / "c", "classify"), tmp_path / "empty.toml"
    empty.touch()

    done = conform(
        "noise", "--model", there.model, "--data", there.data, "--backends", "ort", "--baseline", "ort",
        "--noise", "decoder=dali,resize=dali-linear", "--out", "out",
        env={"CONFORM_CACHE": str(tmp_path / "cache"), "CONFORM_CONFIG": str(empty)},
    )  # fmt: skip

    cells = json.loads((done.out / "noise.json").read_text())["cells"]
    absent = {each["level"]: each for each in cells if each["axis"] in ("decoder", "resize")}
    assert {each["status"] for each in absent.values()} == {"unavailable"}
    assert all("conform env create dali" in each["reason"] for each in absent.values())
    assert done.code != 0


@pytest.fixture
def dali() -> None:
    if why := elsewhere.missing("dali"):
        pytest.skip(why)


@pytest.mark.usefixtures("dali")
def test_dali_on_a_processor_decodes_as_libjpeg_turbo_does(picture: Path) -> None:
    assert np.array_equal(decode(picture, exif=False, decoder="dali"), decode(picture, exif=False))


@pytest.mark.usefixtures("dali")
@pytest.mark.parametrize(
    ("level", "like", "most"),
    [
        ("dali-nearest", "torch-nearest-exact", 0),
        ("dali-linear", "torch-bilinear-antialias", 3),
        ("dali-linear-sharp", "torch-bilinear", 1),
        ("dali-cubic", "torch-bicubic-antialias", 3),
    ],
)
def test_dali_resizes_as_pytorch_does_but_for_its_rounding(level: str, like: str, most: int) -> None:
    # Smooth as photographs are: on noise the two round their weights up to 12 grey levels apart.
    pixels = resize(np.random.default_rng(7).integers(0, 256, (9, 11, 3), np.uint8), (61, 83), "pillow-bicubic")

    off = np.abs(resize(pixels, (32, 40), level).astype(int) - resize(pixels, (32, 40), like))

    assert off.max() <= most
    assert resize(pixels.astype(np.float32), (32, 40), level).dtype == np.float32
