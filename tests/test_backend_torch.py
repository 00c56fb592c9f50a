"""PyTorch as a backend: dialects of other processors by option, TF32, and GPUs that are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graphs import build_of, graph
from precisions import network, sample

from sysnoise_conform import registry
from sysnoise_conform.backends.torch import Torch
from sysnoise_conform.errors import BackendUnavailable, Unsupported, UsageError
from sysnoise_conform.variant import parse_variant

MATMUL = "g (float[4,64] a, float[64,3] b) => (float[4,3] y) { y = MatMul(a, b) }"


def operands() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {"a": draw.normal(size=(4, 64)).astype(np.float32), "b": draw.normal(size=(64, 3)).astype(np.float32)}


def error_of(folder: Path, **more: Any) -> tuple[float, str]:
    """The largest error of a matrix product, and the precision that is reported."""
    feeds = operands()
    session = Torch().compile(build_of(MATMUL, folder, feeds, **more))
    exact = feeds["a"].astype(np.float64) @ feeds["b"]
    return float(np.abs(session.run(feeds)["y"] - exact).max()), session.effective.precision


def test_by_itself_it_is_float32(tmp_path: Path) -> None:
    error, precision = error_of(tmp_path)
    assert error < 1e-5
    assert precision == "fp32"


@pytest.mark.parametrize(("options", "least", "said"), [
    ({"operands": "tf32"}, 1e-4, "fp32 with tf32 operands, emulated"),
    ({"operands": "bf16"}, 1e-3, "fp32 with bf16 operands, emulated"),
    ({"accumulate": "fp16"}, 1e-3, "fp32 with fp16 sums, emulated"),
    ({"operands": "tf32", "accumulate": "fp16"}, 1e-3, "fp32 with tf32 operands and fp16 sums, emulated"),
])  # fmt: skip
def test_an_option_changes_the_arithmetic_and_is_reported(
    tmp_path: Path, options: dict[str, str], least: float, said: str
) -> None:
    error, precision = error_of(tmp_path, options=options)
    assert least < error < 1
    assert precision == said


def test_tf32_as_a_precision_is_its_operands_emulated(tmp_path: Path) -> None:
    asked = error_of(tmp_path / "a", precision="tf32")
    assert asked == error_of(tmp_path / "b", options={"operands": "tf32"})


def test_how_many_nodes_a_dialect_concerns_is_reported(tmp_path: Path) -> None:
    build = build_of(network("int8"), tmp_path, {"x": sample()}, options={"u8s8": "saturate"})
    session = Torch().compile(build)
    assert session.effective.options["u8s8"] == "saturate"
    assert session.effective.options["nodes_concerned"] == 2  # Conv and Gemm
    assert session.effective.precision == "int8, emulated in fp32"


def test_external_weights_are_read_for_a_dialect_as_well(tmp_path: Path) -> None:
    import onnx

    build = build_of(network("fp32"), tmp_path, {"x": sample()}, options={"operands": "tf32"})
    inside = Torch().compile(build).run({"x": sample()})["y"]
    onnx.save(network("fp32"), build.model, save_as_external_data=True, location="w.bin", size_threshold=0)
    np.testing.assert_array_equal(Torch().compile(build).run({"x": sample()})["y"], inside)


def test_an_option_that_it_does_not_have_is_named() -> None:
    registry.check(parse_variant("torch+u8s8=saturate+requantise=half_away+subnormals=flush"))
    with pytest.raises(UsageError, match="no value for torch"):
        registry.check(parse_variant("torch+operands=tf23"))


def test_a_gpu_that_is_not_there_is_unavailable_with_the_reason(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(BackendUnavailable) as caught:
        Torch().compile(build_of(MATMUL, tmp_path, operands(), device="cuda"))
    assert caught.value.exit_code == 6
    assert caught.value.hint


@pytest.mark.gpu
def test_on_a_gpu_it_is_float32_and_tf32_when_asked(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU for PyTorch here")
    exact, asked = (error_of(tmp_path / str(p), device="cuda", precision=p) for p in (None, "tf32"))
    assert exact[0] < 1e-5
    assert 1e-4 < asked[0] < 1e-1
    assert (exact[1], asked[1]) == ("fp32", "fp32 with TF32 allowed")
    net = Torch().compile(build_of(network("fp32"), tmp_path, {"x": sample()}, device="cuda")).run({"x": sample()})
    cpu = Torch().compile(build_of(network("fp32"), tmp_path, {"x": sample()})).run({"x": sample()})
    np.testing.assert_allclose(net["y"], cpu["y"], atol=1e-5)


@pytest.mark.gpu
def test_dialects_are_the_cpus_alone(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU for PyTorch here")
    build = build_of(graph(MATMUL), tmp_path, operands(), device="cuda", options={"accumulate": "fp16"})
    with pytest.raises(Unsupported, match="on the CPU alone"):
        Torch().compile(build)
