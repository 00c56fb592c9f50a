from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import graph

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.cut import between, prefix, swap

NET = """g (float[2] x, float[2] other) => (float[2] z, float[2] b) <float[2] w = {1.0, 2.0}, float[2] v = {3.0, 4.0}> {
    a = Add(x, w)
    b = Exp(a)
    c = Mul(b, other)
    z = Add(c, v)
}"""


def run(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def test_a_prefix_holds_what_its_tensors_need_and_no_more() -> None:
    part = prefix(graph(NET), ["a"])

    assert [each.op_type for each in part.graph.node] == ["Add"]
    assert [each.name for each in part.graph.input] == ["x"]
    assert [each.name for each in part.graph.initializer] == ["w"]
    np.testing.assert_array_equal(run(part, {"x": np.float32([1, 1])})["a"], [2, 3])


def test_swapped_tensors_are_fed_and_nobody_computes_them() -> None:
    given = np.float32([10, 20])
    swapped = swap(graph(NET), {"b": given})
    (ours,) = swapped.inputs

    found = run(swapped.model, {ours: given, "x": np.float32([0, 0]), "other": np.float32([1, 2])})

    assert swapped.inputs == {ours: "b"}
    assert "Exp" not in [each.op_type for each in swapped.model.graph.node]
    np.testing.assert_array_equal(found["z"], [13, 44])
    np.testing.assert_array_equal(found["b"], given)


def test_one_output_of_a_node_is_swapped_and_the_other_stays() -> None:
    proto = graph("""g (float[4] x) => (float[2] z) {
        a, b = Split <axis=0> (x)
        z = Sub(a, b)
    }""")
    swapped = swap(proto, {"a": np.float32([0, 0])})
    (ours,) = swapped.inputs

    found = run(swapped.model, {ours: np.float32([0, 0]), "x": np.float32([1, 2, 3, 4])})

    np.testing.assert_array_equal(found["z"], [-3, -4])


@pytest.mark.parametrize("cut", [lambda m: prefix(m, ["bb"]), lambda m: swap(m, {"bb": np.zeros(1, np.float32)})])
def test_a_tensor_that_is_not_there_is_told(cut) -> None:
    with pytest.raises(BadModel, match="'bb'"):
        cut(graph(NET))


def test_between_starts_at_the_nearest_known_tensors() -> None:
    known = {"a": np.float32([100, 200]), "b": np.float32([10, 20]), "z": np.float32([0, 0])}
    part = between(graph(NET), known, ["z"])
    (ours,) = part.inputs  # nobody reads what lies before b, and z itself is computed

    found = run(part.model, {ours: known["b"], "other": np.float32([1, 2])})

    assert part.inputs == {ours: "b"}
    assert [each.op_type for each in part.model.graph.node] == ["Mul", "Add"]
    assert [each.name for each in part.model.graph.output] == ["z"]
    np.testing.assert_array_equal(found["z"], [13, 44])


def test_between_without_known_tensors_is_a_prefix() -> None:
    part = between(graph(NET), {}, ["b"])

    assert part.inputs == {}
    assert part.model.graph.node == prefix(graph(NET), ["b"]).graph.node
