"""`conform noise` on the graph itself: cells that are measured, that are nothing, that can't be; real runtimes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from PIL import Image
from test_reports_summary import validator

from sysnoise_conform.cli import invoke

NETWORK = """
<ir_version: 8, opset_import: ["": 13]>
colours (float[1,3,16,16] image) => (float[1,3] scores) <float[4] twice = {1, 1, 2, 2}, int64[3] rows = {1, 3, TAIL}> {
  [stem] c = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (image, w)
  [pool] p = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (c)
  [up] u = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (p, , twice)
  [sharp] s = Mul (u, u)
  [flat] r = Reshape (s, rows)
  [mean] scores = ReduceMean <axes = [2], keepdims = 0> (r)
}
"""
SCHEMA = validator("noise.json")
CARD = 'task = "classify"\n[image]\nresize = "squash"\nsize = 16\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks that tell which colour is strongest; the Reshape of one was made for maps of 8 x 8."""
    folder = tmp_path_factory.mktemp("graphs")
    rng = np.random.default_rng(3)
    for name, tail in (("free", "-1"), ("baked", "64")):
        proto = onnx.parser.parse_model(NETWORK.replace("TAIL", tail))
        weights = np.zeros((3, 3, 3, 3), np.float32)
        weights[range(3), range(3)] = rng.random((3, 3, 3))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
        onnx.save(proto, folder / f"{name}.onnx")
        (folder / f"{name}.toml").write_text(CARD)
    for label in range(3):
        (folder / "data" / str(label)).mkdir(parents=True)
        for at in range(5):
            pixels = rng.normal(120, 40, (21, 33, 3))
            pixels[:, :, label] += at * 2
            picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            picture.save(folder / "data" / str(label) / f"{at}.png")
    return folder


def cells(place: Path, model: str, noise: str, *more: str) -> dict[tuple[str, str], dict[str, Any]]:
    out = place / f"out-{model}"
    code = invoke([
        "noise", "-m", str(place / f"{model}.onnx"), "-d", str(place / "data"), "-b", "ort", "--baseline", "ort",
        "-o", str(out), "-x", noise, *more,
    ])  # fmt: skip
    assert code in (0, 1, 5)
    found = json.loads((out / "noise.json").read_text())
    SCHEMA.validate(found)
    return {(each["axis"], each["level"]): each for each in found["cells"]}


def test_a_graph_that_stays_whole_is_measured_and_equal_levels_are_one(place: Path) -> None:
    found = cells(place, "free", "ceil_mode,auto_pad=same_upper,roialign,upsample")
    status = {name: each["status"] for name, each in found.items()}
    assert status[("ceil_mode", "ceil")] == status[("auto_pad", "same_upper")] == "measured"
    assert status[("ceil_mode", "floor")] == status[("roialign", "half_pixel")] == "noop"
    assert found[("ceil_mode", "ceil")]["changed"] is not None
    own = found[("upsample", "nearest")]
    assert own["status"] == "noop"
    assert "the same holds for nearest-asymmetric-floor, nearest-asymmetric-round_prefer_floor" in own["reason"]
    linear = found[("upsample", "linear")]
    assert (linear["status"], linear["reason"]) == ("measured", "on these sizes the same as linear-asymmetric")
    assert ("upsample", "linear-asymmetric") not in found
    newer = next(each for each in found.values() if "opset 13 has no half_pixel_symmetric" in each["reason"])
    assert (newer["status"], newer["reason"].split(":")[0]) == ("not_applicable", "up")


def test_a_graph_that_falls_apart_names_the_node_and_other_cells_go_on(place: Path) -> None:
    found = cells(place, "baked", "ceil_mode=ceil,upsample=linear")
    ceil, linear = found[("ceil_mode", "ceil")], found[("upsample", "linear")]
    assert ceil["status"] == "not_applicable"
    assert ceil["reason"].startswith("flat: the graph no longer runs: Reshape node 'flat': ")
    assert ceil["delta"] is None
    assert linear["status"] == "measured"
    again = cells(place, "baked", "ceil_mode=ceil,upsample=linear", "--resume")
    assert again[("ceil_mode", "ceil")] == ceil


def test_a_noise_of_sounds_does_not_fit_pictures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["noise", "-m", str(place / "free.onnx"), "-d", str(place / "data"), "-o", str(place / "none")]
    assert invoke([*arguments, "-x", "stft_window"]) == 2
    assert "the noise 'stft_window' does not fit the task classify" in capsys.readouterr().err


def test_int8_is_calibrated_on_pictures_that_are_not_judged(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = "precision=fp16,precision=int8,precision=int8-tensorrt,ceil_mode=ceil"
    found = cells(place, "free", noise, "--samples", "9", "--combine", "pipeline")
    held = "calibrated on 6 pictures that are not judged"
    told = {level: found[("precision", level)] for level in ("fp16", "int8", "int8-tensorrt")}
    assert {(each["status"], each["samples"]) for each in told.values()} == {("measured", 9)}
    assert told["int8"]["reason"] == held
    # ONNX Runtime on a processor computes the others in float32: the figures are of the rounding, and say so.
    assert told["fp16"]["reason"].startswith("ONNX Runtime keeps more precision than fp16: it ran in fp32")
    floats = "rounded to 8 bits and computed in floats: asked for int8 and got fp32"
    assert told["int8-tensorrt"]["reason"].startswith(floats)
    assert told["int8-tensorrt"]["reason"].endswith(held)
    again = cells(place, "free", noise, "--samples", "9", "--combine", "pipeline", "--resume")
    assert {level: again[("precision", level)] for level in told} == told
    # Without any left there is none; a folder of the judged ones under other names is none either.
    left = cells(place, "free", "precision")[("precision", "int8")]
    assert (left["status"], "--calibration" in left["reason"]) == ("not_applicable", True)
    same, arguments = place / "same", ["noise", "-m", str(place / "free.onnx"), "-d", str(place / "data"), "-b", "ort"]
    same.mkdir()
    for at, each in enumerate(sorted((place / "data").rglob("*.png"))):
        (same / f"other{at}.png").write_bytes(each.read_bytes())
    assert invoke([*arguments, "-x", "precision=int8", "--calibration", str(same), "-o", str(place / "none")]) == 2
    assert "are all judged as well" in capsys.readouterr().err
