"""Several culprits in a row: each one's share of the error, whatever the order in which they are taken away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from calibration.measure import LastingCrew
from diagnose.small import diagnosed, network

CHAIN = """
chain (float[2,16] x) => (float[2,16] y) {
  a = MatMul (x, w)
  b = Relu (a)
  c = Neg (b)
  d = MatMul (c, v)
  y = Tanh (d)
}
"""
RNG = np.random.default_rng(11)
WEIGHTS = {"w": RNG.standard_normal((16, 16)) / 4, "v": RNG.standard_normal((16, 16)) / 4}


@pytest.fixture(scope="module")
def crew() -> Iterator[LastingCrew]:
    with LastingCrew() as children:
        yield children


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE", str(tmp_path / "cache"))


def times(model: onnx.ModelProto, factors: Mapping[str, Any]) -> onnx.ModelProto:
    """The model with tensors times a factor, which the node that makes them seems to have done."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    nodes = []
    for node in made.graph.node:
        nodes.append(node)
        name = node.output[0]
        if name in factors:
            made.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factors[name]), f"{name}_factor"))
            node.output[0] = f"{name}_right"
            nodes.append(onnx.helper.make_node("Mul", [f"{name}_right", f"{name}_factor"], [name]))
    copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    del made.graph.node[:]
    made.graph.node.extend(copies)
    return made


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_two_that_hide_each_other_share_alike(backend: str, crew: LastingCrew, tmp_path: Path) -> None:
    model = network(CHAIN, WEIGHTS)

    # Each of them alone saturates the Tanh at the end, so that nothing is gained until both are gone.
    found = diagnosed(model, backend, tmp_path, crew, times(model, {"a": 1e4, "c": 1e4}), prove=True)

    first, second = found.culprits
    assert [first.layer.output, second.layer.output] == ["a", "c"]
    assert first.share == pytest.approx(0.5, abs=0.01)
    assert second.share == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_one_that_makes_up_for_another_has_a_share_below_zero(
    backend: str, crew: LastingCrew, tmp_path: Path
) -> None:
    model = network(CHAIN, WEIGHTS)

    found = diagnosed(model, backend, tmp_path, crew, times(model, {"a": 1.5, "c": 0.8}), prove=True)

    first, second = found.culprits
    assert [first.layer.output, second.layer.output] == ["a", "c"]
    assert first.share is not None
    assert second.share is not None
    assert second.share < 0 < 1 < first.share
    assert first.share + second.share == pytest.approx(1, abs=1e-5)
    assert first.proof is not None
    assert first.proof.method == "shapley"
    assert first.proof.after_rel_l2 < 1e-6 < first.proof.before_rel_l2
