"""A graph in another precision as a noise, alone and behind other noises of the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import graph
from noise.asking import asking, graphs_of

from sysnoise_conform.graph.rewrite import NoOp, NotApplicable, Rewritten
from sysnoise_conform.matrix.cells import asked
from sysnoise_conform.noise import precision
from sysnoise_conform.precision import presets

X = np.random.default_rng(0).standard_normal((1, 2, 9, 9)).astype(np.float32)
AVERAGE = """g (float[1,2,9,9] x) => (float[1,2,10,10] y) <float[4] twice = {1, 1, 2, 2}> {
    [avg] p = AveragePool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]> (x) [up] y = Resize (p, , twice) }"""


def outputs(proto: onnx.ModelProto, folder: Path) -> np.ndarray:
    """By the golden: ONNX Runtime computes half precision in float32 on a processor, and leaves roundings out."""
    return np.array(asking(folder)(proto, {proto.graph.input[0].name: X})["y"])


def types(path: Path) -> set[int]:
    return {each.i for node in onnx.load(path).graph.node if node.op_type == "Cast" for each in node.attribute}


@pytest.mark.parametrize(
    ("level", "elem_type", "roundoff"),
    [("fp16", onnx.TensorProto.FLOAT16, 2.0**-11), ("bf16", onnx.TensorProto.BFLOAT16, 2.0**-8)],
)
def test_a_converted_graph_rounds_as_its_type_does(
    tmp_path: Path, level: str, elem_type: int, roundoff: float
) -> None:
    graphs = graphs_of(graph(AVERAGE), tmp_path)
    found = graphs.resolve((("precision", level),), X)
    assert isinstance(found, Rewritten)
    assert found.precision == level
    written = graphs.write((("precision", level),), tmp_path, X)
    assert elem_type in types(written)
    wanted, made = outputs(graph(AVERAGE), tmp_path), outputs(onnx.load(written), tmp_path)
    error = np.abs(made - wanted).max() / np.abs(wanted).max()
    assert roundoff / 8 < error < 8 * roundoff


def test_it_comes_behind_the_other_noises_of_the_graph(tmp_path: Path) -> None:
    graphs = graphs_of(graph(AVERAGE), tmp_path)
    alone = (("count_include_pad", "include"), ("upsample", "linear"))
    both = graphs.resolve((*alone, ("precision", "fp16")), X)
    assert isinstance(both, Rewritten)
    assert len(both.edits) == 2
    (tmp_path / "half").mkdir()
    (tmp_path / "whole").mkdir()
    half = outputs(onnx.load(graphs.write((*alone, ("precision", "fp16")), tmp_path / "half", X)), tmp_path)
    whole = outputs(onnx.load(graphs.write(alone, tmp_path / "whole", X)), tmp_path)
    np.testing.assert_allclose(half, whole, atol=2e-3)
    assert (half != whole).any()
    assert np.abs(whole - outputs(graph(AVERAGE), tmp_path)).max() > 0.01


def test_what_many_runtimes_refuse_is_measured_where_it_is_named() -> None:
    def levels(words: str) -> tuple[str, ...]:
        return next(each.levels for each in asked(words, task="classify") if each.axis == "precision")

    assert levels("default") == levels("paper") == ("fp16", "int8")
    assert levels("all") == levels("precision") == ("fp16", "bf16", *precision.PRESETS)
    assert levels("precision=bf16") == ("bf16",)


def test_a_graph_without_floats_has_no_precision(tmp_path: Path) -> None:
    proto = graph("g (int64[4] x) => (int64[4] y) { y = Neg (x) }")
    found = graphs_of(proto, tmp_path).resolve((("precision", "fp16"),), np.zeros(4, np.int64))
    assert isinstance(found, NoOp | NotApplicable)


def test_every_preset_is_a_level_and_the_default_one_is_int8() -> None:
    assert sorted(precision.PRESETS.values()) == sorted(presets.PRESETS)
    assert precision.PRESETS["int8"] == presets.DEFAULT


def test_without_pictures_to_calibrate_on_there_is_no_int8(tmp_path: Path) -> None:
    found = graphs_of(graph(AVERAGE), tmp_path).resolve((("precision", "int8"),), X)
    assert isinstance(found, NotApplicable)
    assert "--calibration" in found.why
