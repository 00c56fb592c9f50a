"""A culprit that is right of another attribute is read as that; what none makes stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from calibration.measure import LastingCrew
from diagnose.small import diagnosed, network
from onnx import helper, numpy_helper

DRAW = np.random.default_rng(5)
MODEL = network(
    """
small (float[1,3,17,17] x) => (float[1,6,9,9] y, float[1,9,9,6] z) {
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
  p = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 1> (c)
  s = Softmax <axis = 1> (p)
  t = Transpose <perm = [0, 2, 3, 1]> (s)
  z = MatMul (t, v)
  y = Round (p)
}
""",
    {"w": DRAW.standard_normal((6, 3, 3, 3)), "v": DRAW.standard_normal((6, 6))},
)


@pytest.fixture(scope="module")
def crew() -> Iterator[LastingCrew]:
    with LastingCrew() as found:
        yield found


def otherwise(output: str, **attributes: Any) -> onnx.ModelProto:
    made = onnx.ModelProto.FromString(MODEL.SerializeToString())
    node = next(each for each in made.graph.node if output in each.output)
    kept = [each for each in node.attribute if each.name not in attributes]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(*each) for each in attributes.items())])
    return made


def turned() -> onnx.ModelProto:
    made = onnx.ModelProto.FromString(MODEL.SerializeToString())
    (stored,) = (each for each in made.graph.initializer if each.name == "v")
    stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(stored).T), "v"))
    return made


def floored() -> onnx.ModelProto:
    made = onnx.ModelProto.FromString(MODEL.SerializeToString())
    next(each for each in made.graph.node if each.op_type == "Round").op_type = "Floor"
    return made


@pytest.mark.parametrize(
    ("faulty", "output", "kind", "value"),
    [
        (otherwise("p", count_include_pad=0), "p", "attribute", "count_include_pad=0"),
        (otherwise("s", axis=3), "s", "attribute", "axis=3"),
        (turned(), "z", "attribute", "its weights transposed"),
        (floored(), "y", "rounding_mode", "down"),
    ],
)
def test_what_the_runtime_computed_in_its_place_is_named(
    faulty: onnx.ModelProto, output: str, kind: str, value: str, crew: LastingCrew, tmp_path: Path
) -> None:
    found = diagnosed(MODEL, "ort", tmp_path, crew, faulty)

    (culprit,) = found.culprits
    assert culprit.layer.output == output
    assert (culprit.kind, culprit.readings[0].kind, culprit.readings[0].value) == (kind, kind, value)
    assert culprit.readings[0].residual < 0.001
