"""A graph brought to a newer opset computes what it computed."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph
from onnx import numpy_helper
from precision_models import golden

from sysnoise_conform.precision.opset import raised, version_of

_X = np.random.default_rng(1).normal(0, 1, (1, 2, 4, 6)).astype(np.float32)
_CASES = {  # operators whose inputs, attributes or meaning changed on the way
    "Clip": (7, "y = Clip<min=-0.5, max=0.5>(x)"),
    "ReduceSum": (11, "y = ReduceSum<axes=[1], keepdims=0>(x)"),
    "Softmax": (11, "y = Softmax<axis=2>(x)"),
    "Squeeze": (11, "y = Squeeze<axes=[0]>(x)"),
    "Pad": (10, "y = Pad<pads=[0,0,1,2,0,0,0,3], value=0.5>(x)"),
    "Resize": (10, "y = Resize<mode=\"nearest\">(x, s)"),
    "Resize linear": (10, "y = Resize<mode=\"linear\">(x, s)"),
    "Upsample nearest": (9, "y = Upsample<mode=\"nearest\">(x, s)"),
    "Upsample": (9, "y = Upsample<mode=\"linear\">(x, s)"),
    "Split": (11, "a, y = Split<axis=3, split=[2,4]>(x)"),
    "ReduceMean": (13, "y = ReduceMean<axes=[2,3]>(x)"),
    "AveragePool": (10, "y = AveragePool<kernel_shape=[2,2], pads=[1,0,0,1], ceil_mode=1, strides=[2,2]>(x)"),
}


@pytest.mark.parametrize("name", _CASES)
def test_an_operator_that_changed_computes_the_same(name: str) -> None:
    opset, body = _CASES[name]
    proto = graph(
        f"g (float[1,2,4,6] x) => (float y) <float[4] s = {{1.0, 1.0, 2.0, 2.0}}> {{ {body} }}", opset=opset
    )
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    found = raised(proto, 22, "a test")
    assert version_of(found) == 22
    assert np.array_equal(golden(found, {"x": _X})["y"], golden(proto, {"x": _X})["y"])


def test_weights_pass_by_the_converter_and_names_stay() -> None:
    proto = graph("g (float[1,2,4,6] x) => (float[1,3,4,6] y) { c = Conv(x, w) y = Relu(c) }", opset=11)
    weight = np.random.default_rng().normal(0, 1, (3, 2, 21, 21)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    proto.graph.node[0].attribute.extend(graph(
        "g (float[1] x) => (float[1] y) { y = Conv<pads=[10,10,10,10]>(x, x) }"
    ).graph.node[0].attribute)  # fmt: skip
    found = raised(proto, 22, "a test")
    assert [each.name for each in found.graph.input] == ["x"]
    assert [each.output[0] for each in found.graph.node] == ["c", "y"]
    assert np.array_equal(numpy_helper.to_array(found.graph.initializer[0]), weight)


def test_a_newer_graph_stays_the_one_it_is() -> None:
    proto = graph("g (float[n] x) => (float[n] y) { y = Relu(x) }", opset=17)
    assert raised(proto, 13, "a test") is proto
