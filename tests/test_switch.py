"""A graph with switches: any choice of tensors computed or given, and nothing of what is not chosen."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.switch import switch

GRAPH = """
<ir_version: 9, opset_import: ["": 18]>
g (float[2,3] x, bool deep) => (float[2,3] y, float[2,3] b, float s) {
  a = Relu (x)
  b = Neg (a)
  y = If (deep) <then_branch = t () => (float[2,3] p) { p = Add (a, b) },
                 else_branch = e () => (float[2,3] q) { q = Sub (a, b) }>
  s = ReduceSum <keepdims = 0> (b)
}
"""


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    onnx.checker.check_model(model)
    evaluator = ReferenceEvaluator(model)
    return dict(zip(evaluator.output_names, evaluator.run(None, feed), strict=True))


@pytest.mark.parametrize(("on_a", "on_b", "on_s", "deep"), list(product([False, True], repeat=4)))
def test_each_tensor_is_computed_or_given(on_a: bool, on_b: bool, on_s: bool, deep: bool) -> None:
    proto = onnx.parser.parse_model(GRAPH)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    given = {"a": np.full((2, 3), np.nan), "b": np.full((2, 3), 5.0), "s": np.full((), 7.0)}
    given = {name: array.astype(np.float32) for name, array in given.items()}
    on = {"a": on_a, "b": on_b, "s": on_s}

    found = switch(proto, given)
    feed = {"x": x, "deep": np.array(deep)}
    feed |= {found.given[name]: array for name, array in given.items()}
    feed |= {found.flags[name]: np.full((1,) * given[name].ndim, flag) for name, flag in on.items()}
    got = run(found.model, feed)

    a = given["a"] if on_a else np.maximum(x, 0)
    b = given["b"] if on_b else -a
    np.testing.assert_array_equal(got["b"], b)
    np.testing.assert_array_equal(got["y"], a + b if deep else a - b)
    np.testing.assert_array_equal(got["s"], given["s"] if on_s else b.sum())


def test_names_that_are_taken_stay_what_they_are() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]>'
        "g (float[2] given0, float[2] flag0) => (float[2] computed) { computed = Add (given0, flag0) }"
    )

    found = switch(proto, {"computed": np.zeros(2, np.float32)})

    assert len({each.name for each in found.model.graph.input}) == 4
    assert [each.name for each in found.model.graph.output] == ["computed"]


def test_a_tensor_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(BadModel, match="no node makes a tensor 'bb'"):
        switch(onnx.parser.parse_model(GRAPH), {"bb": np.zeros((2, 3), np.float32)})


def test_an_opset_without_where_is_refused() -> None:
    proto = onnx.parser.parse_model(GRAPH)
    proto.opset_import[0].version = 8

    with pytest.raises(BadModel, match="opset 8 has no Where"):
        switch(proto, {"a": np.zeros((2, 3), np.float32)})
