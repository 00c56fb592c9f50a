"""TensorRT on a GPU: the same small network in every precision, watched in every way. `make test-gpu` runs it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from graphs import build_of
from precisions import network, sample

from sysnoise_conform.backends.tensorrt import TensorRT
from sysnoise_conform.errors import BackendUnavailable, Unsupported

pytestmark = pytest.mark.gpu

# Against onnx's own evaluator on the same graph: one code of the int8 network's output is 3 / 127.
TOLERANCE = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 2e-2, "int8": 3.03 / 127}


try:
    TensorRT().probe()
except BackendUnavailable as why:
    if os.environ.get("CONFORM_TEST_GPU"):  # whoever asked for a GPU's tests is not served by skipping them
        raise
    pytest.skip(str(why), allow_module_level=True)


def exact(precision: str) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    # The evaluator has no bfloat16 convolution; the float32 network is within the tolerance of it.
    model = network("fp32" if precision == "bf16" else precision)
    return np.asarray(ReferenceEvaluator(model).run(["y"], {"x": sample()})[0])


@pytest.mark.parametrize("precision", TOLERANCE)
def test_every_precision_runs(tmp_path: Path, precision: str) -> None:
    session = TensorRT().compile(build_of(network(precision), tmp_path, {"x": sample()}))
    got = session.run({"x": sample()})["y"]
    assert np.abs(got - exact(precision)).max() <= TOLERANCE[precision]
    print(precision, session.effective.precision, session.effective.options["layers"])


@pytest.mark.parametrize("watch", ["outputs", "debug", "unfused"])
def test_inner_tensors_are_seen(tmp_path: Path, watch: str) -> None:
    build = build_of(network("fp32"), tmp_path, {"x": sample()}, taps=("c", "r", "p"), options={"watch": watch})
    got = TensorRT().compile(build).run({"x": sample()})
    np.testing.assert_allclose(got["y"], exact("fp32"), atol=1e-4)
    if watch != "unfused":
        assert {"c", "r", "p"} <= set(got)
    if {"c", "r"} <= set(got):
        np.testing.assert_allclose(got["r"], np.maximum(got["c"], 0), atol=1e-6)


def test_tf32_is_off_by_default_and_on_when_asked(tmp_path: Path) -> None:
    """Errors are printed, for docs/gpu.md; the small network may have kernels without TF32."""
    errors = {}
    for precision in (None, "tf32"):
        session = TensorRT().compile(build_of(network("fp32"), tmp_path, {"x": sample()}, precision=precision))
        errors[precision] = float(np.abs(session.run({"x": sample()})["y"] - exact("fp32")).max())
    print(errors)
    assert errors[None] < 1e-5
    assert errors["tf32"] < 1e-2


def test_rebuilds_are_compared(tmp_path: Path) -> None:
    session = TensorRT().compile(build_of(network("fp32"), tmp_path, {"x": sample()}, options={"rebuilds": "3"}))
    print(session.effective.options["distinct_plans"], session.effective.options["rebuild_spread"])
    assert session.effective.options["rebuild_spread"]["y"] < 1e-5


def test_a_flag_that_chooses_types_is_there_or_refused(tmp_path: Path) -> None:
    build = build_of(network("fp32"), tmp_path, {"x": sample()}, options={"hint": "fp16"})
    try:
        session = TensorRT().compile(build)
    except Unsupported as why:
        assert "strongly typed" in str(why)
        return
    assert np.abs(session.run({"x": sample()})["y"] - exact("fp32")).max() < 2e-3
