"""Picture libraries in environments of their own: absent, dying, silent, wrong; and the real one where it is there."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Conform, Done
from noise_samples import place
from PIL import Image

from sysnoise_conform.case import Limits
from sysnoise_conform.errors import BadInput
from sysnoise_conform.matrix.cells import asked
from sysnoise_conform.noise import AXES
from sysnoise_conform.pictures import elsewhere
from sysnoise_conform.pictures.decode import decode
from sysnoise_conform.pictures.elsewhere import LibraryFailed
from sysnoise_conform.pictures.resize import resize
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.libraries import Libraries

FAKE = Path(__file__).with_name("fake_dali.py")


@dataclass(frozen=True)
class Fake:
    """An environment whose `nvidia.dali` is ours."""

    package: Path
    config: Path

    def becomes(self, character: str, *, version: str = "9.1") -> None:
        (self.package / "character").write_text(character)
        (self.package / "version").write_text(version)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    package = tmp_path / "packages" / "nvidia" / "dali"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE.read_text())
    python, config = tmp_path / "python", tmp_path / "conform.toml"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path / "packages"}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    config.write_text(f"[env]\npython.dali = {json.dumps(str(python))}\n")
    monkeypatch.setenv("CONFORM_CONFIG", str(config))
    found = Fake(package, config)
    found.becomes("healthy")
    return found


@pytest.fixture
def limits() -> Limits:
    return Limits(timeout_s=3.0)


@pytest.fixture
def libraries(tmp_path: Path, limits: Limits) -> Iterator[Libraries]:
    with Crew(limits) as crew, Libraries(crew, tmp_path / "logs", 1) as found, elsewhere.serving(found):
        yield found


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "p.jpg"
    Image.fromarray(np.arange(144, dtype=np.uint8).reshape(6, 8, 3)).save(path)
    return path


def truncated(folder: Path) -> Path:
    """A JPEG whose header is whole and whose pixels are not."""
    path = folder / "cut.jpg"
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


# The library itself.


@pytest.mark.usefixtures("libraries")
def test_a_picture_that_a_library_refuses_costs_that_picture_and_no_other(
    fake: Fake, picture: Path, tmp_path: Path
) -> None:
    """A pipeline of DALI's that has raised an error once raises one for every picture after."""
    cut = truncated(tmp_path)

    with pytest.raises(BadInput, match=r"'cut.jpg' is not decoded by dali: .*Failed to decode sample #0;") as told:
        decode(cut, exif=False, decoder="dali")

    assert not isinstance(told.value, LibraryFailed)
    assert np.array_equal(decode(picture, exif=False, decoder="dali"), decode(picture, exif=False))


@pytest.mark.parametrize(
    ("character", "said"),
    [
        ("dies", "dali died of SIGABRT (stage run); it last said: assertion failed: 1 is 2"),
        ("hangs", "dali gave no answer within 3 s (stage run); --timeout allows more"),
        ("eats memory", "dali: out of memory: "),
        ("does not start", "dali can't be loaded: OSError: libcuda is missing; conform env create dali"),
    ],
)
@pytest.mark.usefixtures("libraries")
def test_a_library_that_falls_is_told_with_its_last_words_and_asked_no_more(
    fake: Fake, picture: Path, character: str, said: str
) -> None:
    fake.becomes(character)
    with pytest.raises(LibraryFailed) as told:
        decode(picture, exif=False, decoder="dali")
    assert str(told.value).startswith(said)
    assert not told.value.again

    fake.becomes("healthy")
    began = time.monotonic()
    with pytest.raises(LibraryFailed) as told:
        resize(np.zeros((9, 9, 3), np.uint8), (5, 5), "dali-linear")
    assert told.value.again
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("limits", [Limits(memory_bytes=3 << 30)])
@pytest.mark.usefixtures("libraries")
def test_a_library_has_the_memory_that_a_session_has(fake: Fake, picture: Path) -> None:
    fake.becomes("eats memory")

    with pytest.raises(LibraryFailed, match="--memory allows it 3072 MiB, allow more"):
        decode(picture, exif=False, decoder="dali")


@pytest.mark.usefixtures("libraries")
def test_pixels_of_another_size_are_told(fake: Fake, picture: Path) -> None:
    fake.becomes("lies")

    with pytest.raises(BadInput, match=r"comes out of dali as \(2, 2, 3\), not 6 x 8 pixels"):
        decode(picture, exif=False, decoder="dali")
    with pytest.raises(BadInput, match="dali resized"):
        resize(np.zeros((9, 9, 3), np.uint8), (5, 5), "dali-linear")


@pytest.mark.usefixtures("fake")
def test_nobody_asks_a_library_where_no_run_has_started_it(picture: Path) -> None:
    with pytest.raises(BadInput, match="none is running"):
        decode(picture, exif=False, decoder="dali")


# A matrix.


def measured(conform: Conform, tmp_path: Path, *more: str | Path, count: int = 4) -> tuple[Done, dict[str, Any]]:
    there = place(tmp_path / "c", "classify", count=count) if not (tmp_path / "c").exists() else None
    folder = tmp_path / "c"
    model, data = (there.model, there.data) if there else (next(folder.glob("*.onnx")), folder / "data")
    done = conform(
        "noise", "--model", model, "--data", data, "--backends", "ort", "--baseline", "ort",
        "--noise", "decoder=dali,resize=dali-nearest,resize=pillow-box", "--margin", "60", "--out", "out", *more,
        env={"CONFORM_CONFIG": str(tmp_path / "conform.toml"), "CONFORM_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    return done, json.loads((done.out / "noise.json").read_text()) if (done.out / "noise.json").exists() else {}


def cell(found: dict[str, Any], axis: str, level: str) -> dict[str, Any]:
    (only,) = (each for each in found["cells"] if (each["axis"], each["level"]) == (axis, level))
    return only


def test_a_matrix_names_the_version_of_the_library_and_resumes_with_no_other(
    fake: Fake, conform: Conform, tmp_path: Path
) -> None:
    done, found = measured(conform, tmp_path, "--gallery", "1")

    assert found["runtimes"]["dali"] == "NVIDIA DALI 9.1, cpu"
    assert cell(found, "decoder", "dali")["status"] == "noop"  # the stand-in decodes as Pillow does
    assert cell(found, "resize", "dali-nearest")["status"] == "measured"
    assert (done.out / "logs" / "dali.txt").exists()

    fake.becomes("healthy", version="9.2")
    (done.out / "noise.json").unlink()
    other, found = measured(conform, tmp_path, "--resume")
    assert (other.code, found) == (2, {})
    assert "the journal has results of NVIDIA DALI 9.1, cpu, and dali is NVIDIA DALI 9.2, cpu now" in other.stderr

    fake.becomes("healthy")
    _, found = measured(conform, tmp_path, "--resume")
    assert cell(found, "resize", "dali-nearest")["status"] == "measured"
    assert found["resumed"] == 4


@pytest.mark.parametrize(
    ("character", "status", "code", "said"),
    [
        ("dies", "crashed", 3, "dali died of SIGABRT (stage run) at 0"),
        ("hangs", "crashed", 3, "dali gave no answer within 2 s (stage run) at 0"),
        ("does not start", "unavailable", 6, "dali can't be loaded: OSError: libcuda is missing"),
    ],
)
def test_a_library_that_falls_costs_its_own_cells_and_no_picture(
    fake: Fake, conform: Conform, tmp_path: Path, character: str, status: str, code: int, said: str
) -> None:
    fake.becomes(character)

    done, found = measured(conform, tmp_path, "--timeout", "2")

    assert done.code == code
    for axis, level in (("decoder", "dali"), ("resize", "dali-nearest")):
        own = cell(found, axis, level)
        assert (own["status"], own["delta"]) == (status, None)
        assert own["reason"].startswith(said)
        assert own["reason"].endswith("; see logs/dali.txt")
    assert cell(found, "resize", "pillow-box")["samples"] == 4
    assert found["problems"] == []
    if character == "dies":
        assert "it last said: assertion failed: 1 is 2" in cell(found, "decoder", "dali")["reason"]
        assert "Fatal Python error: Aborted" in (done.out / "logs" / "dali.txt").read_text()

    _, again = measured(conform, tmp_path, "--timeout", "2", "--resume")
    assert again["cells"] == found["cells"]


def test_without_its_environment_a_level_names_the_command_that_makes_it(conform: Conform, tmp_path: Path) -> None:
    (tmp_path / "conform.toml").touch()

    done, found = measured(conform, tmp_path)

    for axis, level in (("decoder", "dali"), ("resize", "dali-nearest")):
        own = cell(found, axis, level)
        assert own["status"] == "unavailable"
        assert "conform env create dali" in own["reason"]
    assert done.code == 6


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


# The real one.


@pytest.fixture
def dali() -> None:
    if why := elsewhere.missing("dali"):
        pytest.skip(why)


@pytest.mark.usefixtures("dali", "libraries")
def test_dali_on_a_processor_decodes_as_libjpeg_turbo_does(picture: Path, tmp_path: Path) -> None:
    cut = truncated(tmp_path)

    with pytest.raises(BadInput, match="Failed to decode"):
        decode(cut, exif=False, decoder="dali")
    assert np.array_equal(decode(picture, exif=False, decoder="dali"), decode(picture, exif=False))


@pytest.mark.usefixtures("dali", "libraries")
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
