"""What a converted graph's cells watch, by which names, and the command that brings them back."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from sysnoise_conform.case import Case, Deployed
from sysnoise_conform.golden.service import handle
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.outcome import NotApplicable
from sysnoise_conform.precision.recipe import Recipe
from sysnoise_conform.runner.command import reproducing
from sysnoise_conform.runner.header import graph_of
from sysnoise_conform.runner.plan import between_integers, converted_plan, make_plan
from sysnoise_conform.variant import parse_variant, parse_variants

# c, r are inside of one quantised operator; s is read by an operator that is not quantised, too.
QUANTISED = """
<ir_version: 9, opset_import: ["": 18]>
quantised (float[1,4] x) => (float[1,4] y)
<float scale = {0.1}, int8 zero = {0}> {
  xq = QuantizeLinear (x, scale, zero)
  xd = DequantizeLinear (xq, scale, zero)
  c = MatMul (xd, w)
  r = Relu (c)
  rq = QuantizeLinear (r, scale, zero)
  rd = DequantizeLinear (rq, scale, zero)
  s = MatMul (rd, w)
  sq = QuantizeLinear (s, scale, zero)
  sd = DequantizeLinear (sq, scale, zero)
  t = Add (sd, s)
  yq = QuantizeLinear (t, scale, zero)
  y = DequantizeLinear (yq, scale, zero)
}
"""
CODES = {"x": "xq", "r": "rq", "s": "sq", "y": "yq"}
FEED = {"x": np.zeros((1, 4), np.float32)}


@pytest.fixture
def model(tmp_path: Path) -> Model:
    proto = onnx.parser.parse_model(QUANTISED)
    weights = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(proto, tmp_path / "quantised.onnx")
    return open_model(tmp_path / "quantised.onnx")


def test_what_stands_between_integers_is_not_watched(model: Model) -> None:
    assert between_integers(model) == {"xd", "c", "r", "rd", "sd", "t"}

    plan = make_plan(Case(model=model.path, variants=parse_variants("ort")), model, FEED)
    assert converted_plan(plan, model, CODES, FEED).taps == (("xq", "rq", "s", "sq", "yq", "y"),)
    assert "c" in converted_plan(plan, model, {}, FEED).taps[0]  # a graph in float16 has no integers


def test_a_layer_reads_through_what_is_not_watched(model: Model) -> None:
    layers = {each["tensor"]: each["reads"] for each in graph_of(model, between_integers(model))["layers"]}

    assert layers == {"xq": [], "rq": ["xq"], "s": ["rq"], "sq": ["s"], "yq": ["s", "sq"], "y": ["yq"]}


def test_outputs_alone_stay_outputs_alone(model: Model) -> None:
    case = Case(model=model.path, variants=parse_variants("ort"), layers=False)
    plan = converted_plan(make_plan(case, model, FEED), model, CODES, FEED)

    assert plan.taps == ()
    assert [each.tensor for each in plan.unobservable] == ["xq", "rq", "s", "sq", "yq", "y"]
    assert all("--no-layers" in each.why for each in plan.unobservable)


def test_a_deployed_file_is_not_converted(model: Model) -> None:
    case = Case(model=model.path, variants=parse_variants("ort:fp16"), deployed=Deployed(path=model.path))
    (cell,) = make_plan(case, model, FEED).cells

    assert isinstance(cell.known, NotApplicable)
    assert "leave :fp16 out" in cell.known.why


def test_float64_alone_answers_what_the_golden_keeps(model: Model, tmp_path: Path) -> None:
    feed = {"x": np.linspace(-1, 1, 4, dtype=np.float32).reshape(1, 4)}
    answer = handle({"do": "exact", "model": str(model.path), "threads": 1}, feed)["tensors"]["y"]

    def rounded(values: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(values / np.float32(0.1)), -128, 127) * np.float64(np.float32(0.1))

    weights = onnx.numpy_helper.to_array(next(each for each in model.proto.graph.initializer if each.name == "w"))
    s = rounded(np.maximum(rounded(feed["x"].astype(float)) @ weights.astype(float), 0)) @ weights.astype(float)
    np.testing.assert_allclose(answer, rounded(rounded(s) + s), rtol=1e-12)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "--samples 4 --seed 0"),
        ({"inputs": Path("my photos")}, "--inputs 'my photos'"),
        ({"inputs": Path("photos"), "samples": 4}, "--inputs photos --samples 4"),
        ({"calibration": Path("cal")}, "--samples 4 --seed 0 --calibration cal"),
        ({"shapes": {"x": (1, 3)}, "bind": {"sr": "16000"}}, "--samples 4 --seed 0 --shape x=1,3 --input sr=16000"),
    ],
)
def test_the_command_says_what_was_left_to_defaults(given: dict[str, object], said: str) -> None:
    variant = parse_variant("ort:int8+opt=basic")
    recipe = Recipe(precision="int8", preset="ort", observer="minmax")
    case = Case(model=Path("m.onnx"), variants=(variant,), **given)  # type: ignore[arg-type]

    command = reproducing(case, variant, recipe, judged=4)

    assert command == (
        f"conform run --model m.onnx --backends ort:int8+opt=basic+preset=ort+observer=minmax {said}"
    )
    assert parse_variant(shlex.split(command)[5]).option("observer") == "minmax"


def test_kept_nodes_stand_in_the_command() -> None:
    variant, recipe = parse_variant("ort:fp16"), Recipe(precision="fp16", keep_fp32=("/head/Conv",))
    case = Case(model=Path("m.onnx"), variants=(variant,), samples=2, inputs=Path("in.npz"))

    assert reproducing(case, variant, recipe, judged=2).endswith("--samples 2 --keep-fp32 /head/Conv")
