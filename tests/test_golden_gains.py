"""The gain of an error, against the same network computed by numpy with that error in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from sysnoise_conform.golden import gains
from sysnoise_conform.golden.gains import Injector
from sysnoise_conform.golden.replay import Replayer

NETWORK = """
<ir_version: 9, opset_import: ["": 18]>
two (float[5,8] x) => (float[5,4] y) {
  a = MatMul (x, w)
  b = Relu (a)
  i = ArgMax <axis = 1> (b)
  c = Mul (b, b)
  y = MatMul (c, v)
}
"""
RNG = np.random.default_rng(2)
X, W, V = (RNG.standard_normal(shape).astype(np.float32) for shape in ((5, 8), (8, 8), (8, 4)))
BEHIND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a": lambda a: np.maximum(a, 0) ** 2 @ V, "b": lambda b: b**2 @ V, "c": lambda c: c @ V, "y": lambda y: y,
}  # fmt: skip


def exact() -> dict[str, np.ndarray]:
    a = X.astype(np.float64) @ W
    b = np.maximum(a, 0)
    return {"a": a, "b": b, "c": b**2, "y": b**2 @ V}


def injector() -> Injector:
    model = onnx.parser.parse_model(NETWORK)
    model.graph.initializer.extend([onnx.numpy_helper.from_array(W, "w"), onnx.numpy_helper.from_array(V, "v")])
    return Injector(model, Path(), Replayer(model, Path()))


def recorded(size: float) -> dict[str, np.ndarray]:
    """What a backend showed whose operators are off by errors of this size, each on the inputs that it was given."""
    a = (X @ W + size * RNG.standard_normal((5, 8))).astype(np.float32)
    b = (np.maximum(a, 0) + size * RNG.standard_normal((5, 8))).astype(np.float32)
    c = (b**2 + size * RNG.standard_normal((5, 8))).astype(np.float32)
    y = (c @ V + size * RNG.standard_normal((5, 4))).astype(np.float32)
    return {"a": a, "b": b, "c": c, "y": y}


@pytest.mark.parametrize("size", [1e-6, 1e-2, 1.0])
@pytest.mark.parametrize("kept", [0, gains.KEPT_BYTES])
def test_the_error_that_was_made_arrives_through_everything_behind_it(
    size: float, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gains, "KEPT_BYTES", kept)
    shown, right = recorded(size), exact()
    made_from = {"a": right["a"], "b": np.maximum(shown["a"], 0.0), "c": shown["b"].astype(np.float64) ** 2,
                 "y": shown["c"].astype(np.float64) @ V}  # fmt: skip

    found = injector().gains({"x": X}, shown, list(BEHIND), "y", seconds=60)

    assert list(found) == list(BEHIND)
    for name, (made, arrived) in found.items():
        error = shown[name] - made_from[name]
        assert made == pytest.approx(np.linalg.norm(error) / np.linalg.norm(made_from[name]), rel=1e-6)
        moved = BEHIND[name](right[name] + error) - right["y"]
        assert arrived == pytest.approx(np.linalg.norm(moved) / np.linalg.norm(right["y"]), rel=1e-6)


def test_what_has_no_error_or_is_no_float_has_no_gain() -> None:
    shown = recorded(1e-3) | {"i": np.zeros((5, 1), np.int64)}
    shown["b"] = np.maximum(shown["a"], 0)

    found = injector().gains({"x": X}, shown, ["i", "b", "c"], "y", seconds=60)

    assert list(found) == ["c"]


def test_a_nan_and_another_shape_have_no_gain() -> None:
    shown = recorded(1e-3)
    shown["a"][0, 0] = np.nan
    shown["c"] = shown["c"][:, :1]

    assert list(injector().gains({"x": X}, shown, ["a", "c", "y"], "y", seconds=60)) == ["y"]


def test_when_time_is_over_the_rest_is_left_out() -> None:
    assert injector().gains({"x": X}, recorded(1e-3), list(BEHIND), "y", seconds=0) == {}


def test_what_is_behind_an_error_may_read_the_graph_s_own_input() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["": 18]>
        past (float[5,8] x) => (float[5,8] y) {
          a = Neg (x)
          b = Mul (a, a)
          y = Add (b, x)
        }
    """)
    shown = {"a": -X * np.float32(1.001), "b": X * X, "y": X * X + X}

    found = Injector(model, Path(), Replayer(model, Path())).gains({"x": X}, shown, ["a"], "y", seconds=60)

    made, arrived = found["a"]
    wide = X.astype(np.float64)
    moved = shown["a"].astype(np.float64) ** 2 - wide**2
    assert made == pytest.approx(1e-3, rel=1e-3)
    assert arrived == pytest.approx(np.linalg.norm(moved) / np.linalg.norm(wide**2 + wide), rel=1e-6)
