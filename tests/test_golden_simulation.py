"""Simulated float32 runtimes: they are off as much as real ones, from the first operator to the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graphs import graph
from onnx import numpy_helper

from sysnoise_conform.golden.service import Recorder
from sysnoise_conform.golden.simulation import FLIPPED, Disturbed, runs_for
from sysnoise_conform.golden.values import Value
from sysnoise_conform.outcome import Floor
from sysnoise_conform.store.entry import GoldenSample

NETWORK = """g (float[1,8,24,24] x) => (float[1,5] y) {
  a = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (x, w)
  b = Relu (a)
  p = GlobalAveragePool (b)
  f = Flatten (p)
  s = Gemm (f, v)
  y = Softmax <axis=-1> (s)
}"""


@pytest.fixture
def network() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    model = graph(NETWORK)
    for name, shape in (("w", (64, 8, 3, 3)), ("v", (64, 5))):
        values = rng.normal(0, 0.2, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def feeds(seed: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    return {"x": np.random.default_rng(seed).normal(size=(1, 8, 24, 24)).astype(np.float32)}


def floors(model: onnx.ModelProto, folder: Path, given: dict[str, Any], number: int = 0) -> dict[str, Floor]:
    out = folder / f"{number}.golden"
    Recorder(model, folder).record(given, out)
    with GoldenSample(out) as sample:
        return {name: sample[name].floor for name in sample}


def sigma(floor: Floor) -> float:
    assert floor.sigma_sq is not None
    return float(np.sqrt(floor.sigma_sq / floor.n))


def test_a_simulated_runtime_is_as_far_off_as_pytorch_where_both_sum_alike(
    network: onnx.ModelProto, tmp_path: Path
) -> None:
    found = floors(network, tmp_path, feeds())

    for name in ("a", "b"):
        assert np.sqrt(found[name].sum_sq / found[name].n) == pytest.approx(sigma(found[name]), rel=0.35)


def test_summing_one_after_the_other_is_allowed_and_so_is_what_comes_of_it(
    network: onnx.ModelProto, tmp_path: Path
) -> None:
    found = floors(network, tmp_path, feeds())

    for name in ("p", "f", "s"):
        assert sigma(found[name]) > 2 * np.sqrt(found[name].sum_sq / found[name].n)


def test_onnx_runtime_is_within_what_is_derived(network: onnx.ModelProto, tmp_path: Path) -> None:
    x = feeds()
    network.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in "abps")
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    got = dict(zip((each.name for each in session.get_outputs()), session.run(None, x), strict=True))
    out = tmp_path / "0.golden"
    Recorder(network, tmp_path).record(x, out)

    with GoldenSample(out) as sample:
        for name, array in got.items():
            error = np.sqrt(np.mean((array - sample[name].data) ** 2))
            assert error < 3 * sigma(sample[name].floor)


def test_the_same_feeds_give_the_same_sigma_and_others_another(network: onnx.ModelProto, tmp_path: Path) -> None:
    first, again, other = (floors(network, tmp_path, feeds(seed), number) for number, seed in enumerate((1, 1, 2)))

    assert first == again
    assert first["a"].sigma_sq != other["a"].sigma_sq


def test_what_no_operator_rounds_is_not_off(tmp_path: Path) -> None:
    model = graph("g (float[4,6] x) => (float[6,4] y) { t = Transpose <perm=[1,0]> (x) y = Relu (t) }")

    found = floors(model, tmp_path, {"x": np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)})

    assert (found["y"].sigma_sq, found["y"].sigma_max) == (0.0, 0.0)


def test_integers_and_a_shape_that_hangs_on_values_have_no_sigma(tmp_path: Path) -> None:
    text = "g (float[50] x) => (int64[1,n] y, int64[1] best) { t = Tanh (x) y = NonZero (t) best = ArgMax (t) }"

    found = floors(graph(text), tmp_path, {"x": np.linspace(-1, 1, 50, dtype=np.float32)})

    assert found["best"].sigma_sq is None
    assert found["t"].sigma_runs == 8


def test_small_networks_get_more_runs_than_large_ones() -> None:
    assert (runs_for(0), runs_for(10**5), runs_for(4 * 10**6), runs_for(10**9)) == (8, 8, 2, 1)


def test_no_error_turns_a_sign_however_large_it_is() -> None:
    import torch

    ones = Value(torch.ones(1000, dtype=torch.float64), onnx.TensorProto.FLOAT)

    disturbed = Disturbed({"y": 50.0}, feeds(), 0)("y", ones)

    assert float(disturbed.data.min()) >= 0
    assert Disturbed({}, feeds(), 0)("y", ones) is ones


QUANTISED = """g (float[1,8,24,24] x) => (float[1,64] y) <float s = {0.02}, int8 z = {0}> {
  a = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (x, w)
  b = Relu (a)
  q = QuantizeLinear (b, s, z)
  d = DequantizeLinear (q, s, z)
  p = GlobalAveragePool (d)
  y = Flatten (p)
}"""


def test_a_few_codes_flip_by_one_and_the_network_behind_them_hears_of_it(tmp_path: Path) -> None:
    model = graph(QUANTISED)
    weights = np.random.default_rng(0).normal(0, 0.05, (64, 8, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))

    found = floors(model, tmp_path, feeds())

    # A code that flips moves the mean of its 576 by s / 576; of 36,864 codes FLIPPED do so in each run.
    flips = FLIPPED * 64 * 576
    assert sigma(found["y"]) == pytest.approx(0.02 / 576 * np.sqrt(flips / 64), rel=0.4)


def test_what_lies_on_a_half_between_two_codes_falls_to_either_side(tmp_path: Path) -> None:
    """A kernel may bring all of them to one side: 0 + 3 is 127.5 steps of 6 / 255."""
    model = graph("""g (float[1,4,50,50] x) => (float[1,4,50,50] y)
      <float three = {3}, float s = {0.023529412}, int8 z = {-128}> {
      a = Add (x, three)
      q = QuantizeLinear (a, s, z)
      y = DequantizeLinear (q, s, z)
    }""")
    x = np.random.default_rng(0).normal(0, 1, (1, 4, 50, 50)).astype(np.float32)
    x[0, :2] = 0

    found = floors(model, tmp_path, {"x": x})

    every_second = 2 * 50 * 50 / 2
    assert found["q"].sigma_sq == pytest.approx(every_second, rel=0.1)
    assert found["q"].mismatches == 0  # which PyTorch's own two runs don't tell
    without = np.where(x == 0, np.float32(0.3), x)
    assert (floors(model, tmp_path, {"x": without}, 1)["q"].sigma_sq or 0) < 10


def test_codes_flip_within_their_range_and_the_same_ones_for_the_same_run() -> None:
    value = Value(torch.full((10_000,), 127, dtype=torch.int8), onnx.TensorProto.INT8)

    def flipped(number: int) -> Any:
        return Disturbed({"q": 0.01}, feeds(), number)("q", value).data.numpy()

    assert set(flipped(0).tolist()) == {126, 127}  # at the end of the range the other half goes nowhere
    assert 20 < np.count_nonzero(flipped(0) == 126) < 80
    assert np.array_equal(flipped(0), flipped(0))
    assert not np.array_equal(flipped(0), flipped(1))
    assert Disturbed({}, feeds(), 0)("q", value) is value
