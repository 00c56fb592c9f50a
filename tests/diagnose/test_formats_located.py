"""The arithmetic of one dot product, told by what its operands were rounded to: each format, and none where none is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from calibration.measure import LastingCrew
from diagnose.small import diagnosed, network
from onnx import TensorProto, helper, numpy_helper

from sysnoise_conform.diagnose import grids
from sysnoise_conform.diagnose.arithmetic import FORMATS

TEXT = """
small (float[1,3,16,16] x) => (float[1,6,1,1] y) {
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w, b)
  r = Relu (c)
  d = Conv <kernel_shape = [3, 3]> (r, v)
  s = Relu (d)
  y = GlobalAveragePool (s)
}
"""
DRAW = np.random.default_rng(7)
WEIGHTS = {
    "w": DRAW.standard_normal((6, 3, 3, 3)) / 4, "b": DRAW.standard_normal(6),
    "v": DRAW.standard_normal((6, 6, 3, 3)) * np.exp(DRAW.standard_normal((6, 1, 1, 1))) / 8,
}  # fmt: skip
MODEL = network(TEXT, WEIGHTS)


@pytest.fixture(scope="module")
def crew() -> Iterator[LastingCrew]:
    with LastingCrew() as found:
        yield found


def with_operands(
    before: Callable[[str, str], list[onnx.NodeProto]], weights: Callable[[np.ndarray], np.ndarray]
) -> onnx.ModelProto:
    """The model whose second Conv reads what `before` makes of its input, and other weights."""
    made = onnx.ModelProto.FromString(MODEL.SerializeToString())
    at = next(place for place, node in enumerate(made.graph.node) if "d" in node.output)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in made.graph.node]
    nodes[at].input[0] = "narrow"
    del made.graph.node[:]
    made.graph.node.extend([*nodes[:at], *before("r", "narrow"), *nodes[at:]])
    (stored,) = (each for each in made.graph.initializer if each.name == "v")
    stored.CopyFrom(numpy_helper.from_array(weights(numpy_helper.to_array(stored)).astype(np.float32), "v"))
    return made


def through_float16(x: str, y: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [x], ["half"], to=TensorProto.FLOAT16, name="to_half"),
        helper.make_node("Cast", ["half"], [y], to=TensorProto.FLOAT, name="from_half"),
    ]


def through_int8(x: str, y: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("DynamicQuantizeLinear", [x], ["codes", "step", "zero"], name="to_codes"),
        helper.make_node("DequantizeLinear", ["codes", "step", "zero"], [y], name="from_codes"),
    ]


def by_channel(x: np.ndarray) -> np.ndarray:
    return grids.by_channel(x, 0)


@pytest.mark.parametrize(
    ("before", "weights", "kinds", "value"),
    [
        (through_float16, lambda x: x.astype(np.float16), ("tf32", "float16"), "of its operands"),
        (through_int8, grids.symmetric, ("int8",), "of its operands, one scale to each tensor, and a zero point"),
        (
            through_int8, by_channel, ("int8",),
            "of its operands, one scale to each output channel of the weights, and a zero point",
        ),
    ],
)  # fmt: skip
def test_operands_of_fewer_bits_are_named_by_their_format(
    before: Callable[[str, str], list[onnx.NodeProto]], weights: Callable[[np.ndarray], np.ndarray],
    kinds: tuple[str, ...], value: str, crew: LastingCrew, tmp_path: Path,
) -> None:  # fmt: skip
    found = diagnosed(MODEL, "ort", tmp_path, crew, with_operands(before, weights))

    (culprit,) = found.culprits
    assert culprit.layer.output == "d"
    assert culprit.kind in kinds, culprit.readings
    assert culprit.readings[0].value == value
    assert culprit.readings[0].residual < 0.05


def test_weights_off_by_chance_are_in_no_format(crew: LastingCrew, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    faulty = with_operands(
        lambda x, y: [helper.make_node("Identity", [x], [y], name="same")],
        lambda x: x * (1 + 0.005 * draw.standard_normal(x.shape)),
    )

    found = diagnosed(MODEL, "ort", tmp_path, crew, faulty)

    (culprit,) = found.culprits
    assert culprit.layer.output == "d"
    assert {each.kind for each in culprit.readings}.isdisjoint(FORMATS)


def test_weights_scaled_beside_a_bias_are_read_as_a_scale(crew: LastingCrew, tmp_path: Path) -> None:
    faulty = onnx.ModelProto.FromString(MODEL.SerializeToString())
    stored = faulty.graph.initializer[0]
    stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored) * np.float32(1.002), stored.name))

    found = diagnosed(MODEL, "ort", tmp_path, crew, faulty)

    (culprit,) = found.culprits
    assert (culprit.layer.output, culprit.kind) == ("c", "scale")
    assert culprit.readings[0].value == "1.002 before a bias is added"
