"""How a runtime kept a result and added a bias, told by what was recorded: the reference is then right to float32."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sysnoise_conform.golden.replay import Replayer
from sysnoise_conform.store import GoldenSample

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 96)).astype(np.float32)
W = (RNG.standard_normal((32, 96)) / 10).astype(np.float32)
B = RNG.standard_normal(32).astype(np.float32)


def narrow(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)


def model(**attributes: float) -> onnx.ModelProto:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1, **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, X.shape)], [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(W, "w"), numpy_helper.from_array(B, "b")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


SUM = narrow(X) @ narrow(W).T
WAYS = {
    "float32, whole bias": SUM + B,
    "float32, rounded bias": SUM + narrow(B),
    "stored, whole bias": narrow(SUM + B),
    "stored, rounded bias": narrow(SUM + narrow(B)),
    "sum stored, whole bias": narrow(SUM) + B,
}


@pytest.mark.parametrize("way", WAYS)
def test_the_reference_adds_the_bias_as_the_runtime_did(way: str, tmp_path: Path) -> None:
    Replayer(model(), tmp_path, "bfloat16").write({"x": X}, {"y": WAYS[way]}, tmp_path / "e")

    with GoldenSample(tmp_path / "e") as found:
        tensor = found["y"]
        off = np.sqrt(np.mean(np.square(WAYS[way] - tensor.data)))
        sigma = np.sqrt(tensor.floor.sigma_sq / tensor.floor.n)
        floor = np.sqrt(tensor.floor.sum_sq / tensor.floor.n)
        assert off < 2 * max(floor, sigma)
        assert (sigma > 1e-4) == ("stored" in way)
        assert len(found.about["parts"]["y"]) == 3


def test_a_factor_of_the_bias_is_applied(tmp_path: Path) -> None:
    got = narrow(SUM + 3 * narrow(B))

    Replayer(model(beta=3.0), tmp_path, "bfloat16").write({"x": X}, {"y": got}, tmp_path / "e")

    with GoldenSample(tmp_path / "e") as found:
        assert np.array_equal(narrow(found["y"].data), got) or np.mean(narrow(found["y"].data) != got) < 0.01


def test_eight_bits_have_a_sigma_of_their_steps(tmp_path: Path) -> None:
    step = (X.max() - min(0.0, X.min())) / 255
    steps = np.abs(W).max(axis=1, keepdims=True) / 127
    got = ((np.rint(X / step) * step) @ (np.rint(W / steps) * steps).T + B).astype(np.float32)

    Replayer(model(), tmp_path, "int8").write({"x": X}, {"y": got}, tmp_path / "e")

    with GoldenSample(tmp_path / "e") as found:
        tensor = found["y"]
        off = np.sqrt(np.mean(np.square(got - tensor.data)))
        assert 0.7 < off / np.sqrt(tensor.floor.sigma_sq / tensor.floor.n) < 1.3


def test_another_shape_or_nan_is_no_trouble(tmp_path: Path) -> None:
    broken = WAYS["stored, rounded bias"].copy()
    broken[0, 0] = np.nan
    for got in (broken, np.zeros((4, 31), np.float32), np.zeros((0, 32), np.float32)):
        answer = Replayer(model(), tmp_path, "bfloat16").write({"x": X}, {"y": got}, tmp_path / "e")
        assert answer["count"] == 1
