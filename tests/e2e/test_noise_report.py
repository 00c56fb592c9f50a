"""`conform noise` on a real runtime: its files agree with each other, and one that goes on writes the same ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import polars as pl
import pytest
from PIL import Image
from test_reports_summary import validator

from sysnoise_conform.cli import invoke

NETWORK = """
<ir_version: 9, opset_import: ["": 18]>
colours (float[1,3,16,16] image) => (float[1,3] scores) {
  mean = GlobalAveragePool (image)
  scores = Flatten (mean)
}
"""
CARD = 'task = "classify"\n[image]\nresize = "squash"\nsize = 16\n'
SCHEMA = validator("noise.json")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells which colour is strongest, and grey-green pictures that a colour conversion can sway."""
    folder = tmp_path_factory.mktemp("noise")
    onnx.save(onnx.parser.parse_model(NETWORK), folder / "net.onnx")
    (folder / "net.toml").write_text(CARD)
    rng = np.random.default_rng(7)
    for label in range(3):
        (folder / "data" / str(label)).mkdir(parents=True)
        for at in range(6):
            pixels = rng.normal(120, 40, (21, 33, 3))
            pixels[:, :, label] += 2 + at / 2
            picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            picture.save(folder / "data" / str(label) / f"{at}.jpg", quality=75)
    return folder


def noise(place: Path, out: Path, *more: str) -> int:
    return invoke([
        "noise", "-m", str(place / "net.onnx"), "-d", str(place / "data"), "-b", "ort", "--baseline", "ort", "-o",
        str(out), "-x", "decoder=turbo-fast-upsample,colour=matrix-709-as-601,colour=bt601-narrow-nv12,exif", *more,
    ])  # fmt: skip


def steady(out: Path) -> str:
    """noise.json without what its schema calls volatile."""
    told = json.loads((out / "noise.json").read_text())
    SCHEMA.validate(told)
    properties = SCHEMA.schema["properties"]  # type: ignore[index, call-overload]
    return json.dumps({name: each for name, each in told.items() if not properties[name].get("volatile")}, indent=1)


@pytest.fixture(scope="module")
def first(place: Path) -> Path:
    out = place / "out"
    assert noise(place, out, "--gallery", "2") in (1, 5)
    return out


def test_every_file_tells_of_the_same_cells(first: Path) -> None:
    told = json.loads((first / "noise.json").read_text())
    names = [(each["axis"], each["level"]) for each in told["cells"]]
    assert names == [
        ("control", "again"), ("decoder", "turbo-fast-upsample"), ("exif", "ignore"), ("exif", "apply"),
        ("colour", "matrix-709-as-601"), ("colour", "bt601-narrow-nv12"),
    ]  # fmt: skip
    assert pl.read_parquet(first / "noise.parquet").select("axis", "level").rows() == names
    assert pl.read_csv(first / "noise.csv").select("axis", "level").rows() == names
    for name in ("noise.html", "noise.md"):
        text = (first / name).read_text()
        assert all(level in text for _, level in names[1:]), name
    assert told["runtimes"]["ort"].startswith("ONNX Runtime")


def test_the_gallery_shows_pictures_that_changed_and_what_the_noises_do(first: Path) -> None:
    told, page = json.loads((first / "noise.json").read_text()), (first / "noise.html").read_text()
    changed = {each["picture"] for each in told["flips"]}
    assert changed
    assert "Pictures whose answer changed" in page
    assert 'alt="difference of colour=matrix-709-as-601"' in page
    assert page.count("data:image/jpeg") == min(2, len(changed)) + 1 + 2 * 3  # and the card's way, and pairs


def test_a_run_that_goes_on_behind_a_whole_one_writes_the_same_but_for_what_is_volatile(
    place: Path, first: Path
) -> None:
    before = steady(first)
    assert noise(place, first, "--resume") in (1, 5)
    assert steady(first) == before
    assert json.loads((first / "noise.json").read_text())["resumed"] == 18
    assert "data:image" not in (first / "noise.html").read_text()  # not asked for this time
