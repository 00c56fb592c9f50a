"""ONNX Runtime: limits told in its users' words, providers that are not there, and what it really computes in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graphs import build_of, graph, ramp
from ml_dtypes import bfloat16
from onnx import helper, numpy_helper

from sysnoise_conform.backend import Build
from sysnoise_conform.backends.ort import OnnxRuntime, _provider_options
from sysnoise_conform.errors import BackendUnavailable, Unsupported

pytest.importorskip("onnxruntime")

RELU = "g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }"


def refusal(folder: Path, model: object) -> Unsupported:
    with pytest.raises(Unsupported) as caught:
        OnnxRuntime().compile(build_of(model, folder))  # type: ignore[arg-type]
    assert str(folder) not in str(caught.value)
    return caught.value


def test_an_opset_above_its_limit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    error = refusal(tmp_path, graph(RELU, opset=28))
    assert "opset 28" in error.message
    assert "up to 26" in error.message
    assert error.hint


def test_an_ir_version_above_its_limit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    error = refusal(tmp_path, graph(RELU, ir_version=14))
    assert "IR version 14" in error.message
    assert "up to 13" in error.message


def test_duplicate_node_names_are_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, "g (float[2] x) => (float[2] y) { [n] t = Relu(x) [n] y = Neg(t) }")
    assert "same node name (n)" in error.message


@pytest.mark.parametrize(
    ("text", "node", "op"),
    [
        ("g (float[2] x) => (float[2] y) { [here] y = Nonsense(x) }", "here", "Nonsense"),
        ("g (int16[2] x) => (int16[2] y) { [here] y = Relu(x) }", "here", "Relu"),
        ("g (int64[2] x) => (int64[2] y) { [here] y = Sqrt(x) }", "here", "Sqrt"),
    ],
)
def test_a_refused_operator_is_named_with_its_node(tmp_path: Path, text: str, node: str, op: str) -> None:
    error = refusal(tmp_path, text)
    assert (error.stage, error.node, error.op) == ("compile", node, op)


def test_an_operator_that_fails_when_it_runs_is_named(tmp_path: Path) -> None:
    text = "g (float[2,3] x, int64[1] i) => (float[2,1] y) { [here] y = Gather<axis=1>(x, i) }"
    session = OnnxRuntime().compile(build_of(text, tmp_path))
    with pytest.raises(Unsupported) as caught:
        session.run({"x": ramp(2, 3), "i": np.array([9])})
    assert (caught.value.stage, caught.value.node, caught.value.op) == ("run", "here", "Gather")


@pytest.mark.parametrize("device", ["cuda", "tensorrt", "openvino"])
def test_a_provider_that_this_build_lacks_is_unavailable_with_its_package(tmp_path: Path, device: str) -> None:
    if device in OnnxRuntime().probe().devices:
        pytest.skip(f"this ONNX Runtime has {device}")
    with pytest.raises(BackendUnavailable) as caught:
        OnnxRuntime().compile(build_of(RELU, tmp_path, device=device))
    assert "pip install onnxruntime-" in str(caught.value.hint)


def test_tf32_is_refused_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="in TF32 on CUDA alone, not on cpu") as caught:
        OnnxRuntime().compile(build_of(RELU, tmp_path, precision="tf32"))
    assert "torch:tf32" in str(caught.value.hint)


@pytest.mark.parametrize(("precision", "tf32"), [(None, "0"), ("fp16", "0"), ("tf32", "1"), ("auto", None)])
def test_cuda_multiplies_in_tf32_where_that_is_asked_for_alone(precision: str | None, tf32: str | None) -> None:
    options = _provider_options("cuda", "1", Build(model=Path("any.onnx"), precision=precision))
    assert options == {"device_id": "1"} | ({} if tf32 is None else {"use_tf32": tf32})


@pytest.mark.parametrize("level", ["disable", "basic", "extended", "all"])
def test_the_optimisation_level_is_kept_and_reported(tmp_path: Path, level: str) -> None:
    session = OnnxRuntime().compile(build_of(RELU, tmp_path, options={"opt": level}, threads=1))
    assert session.effective.options["opt"] == level
    assert session.effective.options["threads"] == 1
    assert session.effective.options["providers"] == ["CPUExecutionProvider"]


def test_float16_on_the_cpu_is_reported_as_what_it_is_computed_in(tmp_path: Path) -> None:
    model = graph("g (float16[2,2] x) => (float16[2,2] y) { a = MatMul(x, w) b = Tanh(a) y = Add(b, b) }")
    model.graph.initializer.append(numpy_helper.from_array(np.eye(2, dtype=np.float16), "w"))
    session = OnnxRuntime().compile(build_of(model, tmp_path))
    assert session.effective.precision.startswith("fp32")
    assert session.run({"x": np.ones((2, 2), np.float16)})["y"].dtype == np.float16


def test_bfloat16_comes_and_goes_as_bfloat16(tmp_path: Path) -> None:
    text = "g (bfloat16[N,3] x) => (bfloat16[N,3] y, float[N,3] z) { y = Identity(x) z = Cast<to=1>(x) }"
    feed = ramp(2, 3).astype(bfloat16)
    got = OnnxRuntime().compile(build_of(text, tmp_path)).run({"x": feed})
    assert got["y"].dtype == bfloat16
    np.testing.assert_array_equal(got["y"], feed)
    np.testing.assert_array_equal(got["z"], feed.astype(np.float32))


def test_an_output_that_is_no_tensor_is_unsupported(tmp_path: Path) -> None:
    model = graph("g (float[2] x) => (float[2] y) { s = SequenceConstruct(x) y = Identity(x) }")
    model.graph.output.append(helper.make_tensor_sequence_value_info("s", 1, None))
    with pytest.raises(Unsupported, match="'s' is a list"):
        OnnxRuntime().compile(build_of(model, tmp_path)).run({"x": ramp(2)})
