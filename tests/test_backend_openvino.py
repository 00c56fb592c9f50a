"""OpenVINO: precision pinned and read back, IR files with inner tensors, names that survive."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from graphs import build_of, graph, ramp
from ml_dtypes import bfloat16
from onnx import numpy_helper
from precisions import network, sample

from sysnoise_conform.backend import Build
from sysnoise_conform.backends.openvino import OpenVINO
from sysnoise_conform.errors import BackendUnavailable, BadInput, Unsupported, UsageError

ov = pytest.importorskip("openvino")

DENSE = "g (float[2,64] x) => (float[2,64] y) { a = MatMul(x, w) b = Relu(a) y = MatMul(b, w) }"
WEIGHT = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)


def dense(kind: type[np.generic] = np.float32) -> object:
    model = graph(DENSE if kind is np.float32 else DENSE.replace("float[", "float16["))
    model.graph.initializer.append(numpy_helper.from_array(WEIGHT.astype(kind), "w"))
    return model


def want(x: np.ndarray) -> np.ndarray:
    return np.maximum(x.astype(np.float64) @ WEIGHT, 0) @ WEIGHT  # type: ignore[no-any-return]


def cpu_default() -> str:
    return OpenVINO().probe().default_precision


def test_the_models_own_precision_is_pinned_and_read_back(tmp_path: Path) -> None:
    session = OpenVINO().compile(build_of(dense(), tmp_path))  # type: ignore[arg-type]
    assert session.effective.precision == "fp32"
    assert session.effective.options["hint"] == "f32"
    got = session.run({"x": ramp(2, 64)})["y"]
    assert np.abs(got - want(ramp(2, 64))).max() < 1e-5 * np.abs(got).max()  # bfloat16 would give 1e-2


def test_auto_leaves_the_choice_to_openvino_and_reports_it(tmp_path: Path) -> None:
    session = OpenVINO().compile(build_of(dense(), tmp_path, precision="auto"))  # type: ignore[arg-type]
    assert session.effective.options["hint"] == "none"
    assert session.effective.precision.startswith(cpu_default())


@pytest.mark.parametrize(("hint", "word"), [("f16", "fp16"), ("bf16", "bf16")])
def test_a_hint_that_the_device_does_not_honour_is_unsupported(tmp_path: Path, hint: str, word: str) -> None:
    build = build_of(dense(), tmp_path, options={"hint": hint})  # type: ignore[arg-type]
    core = ov.Core()
    compiled = core.compile_model(core.read_model(str(build.model)), "CPU", {"INFERENCE_PRECISION_HINT": hint})
    if compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == hint:
        assert word in OpenVINO().compile(build).effective.precision
        return
    with pytest.raises(Unsupported, match=f"INFERENCE_PRECISION_HINT={hint}") as caught:
        OpenVINO().compile(build)
    assert caught.value.stage == "compile"


def quantised(folder: Path, calibration: str | None, **more: object) -> Build:
    options = {"hint": "int8"} | ({} if calibration is None else {"calibration": calibration})
    return build_of(network("fp32"), folder, {"x": sample()}, options=options, **more)


def test_its_own_integers_are_nncfs_and_read_back(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    exact = OpenVINO().compile(build_of(network("fp32"), tmp_path, {"x": sample()})).run({"x": sample()})["y"]
    np.savez(tmp_path / "0.npz", x=sample())
    session = OpenVINO().compile(quantised(tmp_path, str(tmp_path / "0.npz"), taps=("c",)))
    got = session.run({"x": sample()})
    assert 1e-5 < np.abs(got["y"] - exact).max() < 3e-2
    assert got["c"].shape == (1, 8, 8, 8)  # inner tensors have their names still
    assert session.effective.options["hint"] == "int8"
    assert str(session.effective.options["calibration"]).startswith("1 samples, sha256 ")
    assert session.effective.shares["flops"]["int8"] > 0.9


def test_nncf_tells_nobody_what_is_quantised() -> None:
    """In a process of its own: NNCF keeps still by itself where it sees pytest."""
    pytest.importorskip("nncf")
    program = """
        from sysnoise_conform.backends import openvino_quantise
        openvino_quantise._import()
        from nncf.telemetry.wrapper import telemetry
        print(type(telemetry).__name__)
    """
    told = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert told.stdout.split()[-1] != "NNCFTelemetry"


def test_its_own_integers_need_samples_that_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros((1, 4, 9, 9), np.float32))
    with pytest.raises(UsageError, match=r"openvino.hint=int8 needs samples to calibrate on"):
        OpenVINO().compile(quantised(tmp_path, None))
    with pytest.raises(BadInput, match=r"the calibration file .other.npz. has it as"):
        OpenVINO().compile(quantised(tmp_path, str(tmp_path / "other.npz")))
    ov.save_model(ov.Core().read_model(str(build_of(network("fp32"), tmp_path).model)), tmp_path / "any.xml")
    with pytest.raises(Unsupported, match="has its precision already"):
        OpenVINO().compile(Build(model=tmp_path / "any.xml", format="ir", options={"hint": "int8"}))


def test_a_float16_model_is_computed_in_no_less_than_float16(tmp_path: Path) -> None:
    session = OpenVINO().compile(build_of(dense(np.float16), tmp_path))  # type: ignore[arg-type]
    assert "bf16" not in session.effective.precision
    x = ramp(2, 64).astype(np.float16)
    got = session.run({"x": x})["y"]
    assert got.dtype == np.float16
    reference = np.maximum(x.astype(np.float64) @ WEIGHT.astype(np.float16), 0) @ WEIGHT.astype(np.float16)
    assert np.abs(got - reference).max() / np.abs(reference).max() < 2e-3


@pytest.mark.parametrize("device", ["gpu", "npu", "gpu.1"])
def test_a_device_that_is_not_here_is_unavailable_with_a_cure(tmp_path: Path, device: str) -> None:
    if any(each.lower().startswith(device) for each in ov.Core().available_devices):
        pytest.skip(f"this machine has {device}")
    with pytest.raises(BackendUnavailable) as caught:
        OpenVINO().compile(build_of(dense(), tmp_path, device=device))  # type: ignore[arg-type]
    assert "driver" in str(caught.value.hint) or "runtime" in str(caught.value.hint)


def test_threads_are_set_and_read_back(tmp_path: Path) -> None:
    session = OpenVINO().compile(build_of(dense(), tmp_path, threads=1))  # type: ignore[arg-type]
    assert session.effective.options["threads"] == "1"


def test_an_ir_file_runs_as_it_is_with_inner_tensors(tmp_path: Path) -> None:
    build = build_of(dense(), tmp_path)  # type: ignore[arg-type]
    ov.save_model(ov.convert_model(str(build.model)), tmp_path / "model.xml", compress_to_fp16=False)
    shipped = Build(model=tmp_path / "model.xml", format="ir", taps=("b", "gone"), workdir=tmp_path / "work")
    got = OpenVINO().compile(shipped).run({"x": ramp(2, 64)})
    assert set(got) == {"y", "b"}
    np.testing.assert_allclose(got["b"], np.maximum(ramp(2, 64) @ WEIGHT, 0), atol=1e-4)


def test_bfloat16_comes_and_goes_as_bfloat16(tmp_path: Path) -> None:
    text = "g (bfloat16[N,3] x) => (bfloat16[N,3] y) { y = Identity(x) }"
    feed = np.array([[1, -2, 1e30]], bfloat16)
    got = OpenVINO().compile(build_of(text, tmp_path)).run({"x": feed})["y"]
    assert got.dtype == bfloat16
    np.testing.assert_array_equal(got, feed)


def test_a_refusal_is_one_line_without_openvinos_source_files(tmp_path: Path) -> None:
    with pytest.raises(Unsupported) as caught:
        OpenVINO().compile(build_of("g (float[2] x) => (float[2] y) { y = Nonsense(x) }", tmp_path))
    assert caught.value.op == "Nonsense"
    assert ".cpp" not in caught.value.message


def test_a_node_that_its_frontend_can_not_convert_is_named(tmp_path: Path) -> None:
    # A convolution of a rank that only the run decides, as in silero-vad.
    model = graph("g (float[2,3] x, int64[k] size) => (float[a,b,c] y) { r = Reshape(x, size) [here] y = Conv(r, w) }")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 1, 1), np.float32), "w"))
    with pytest.raises(Unsupported) as caught:
        OpenVINO().compile(build_of(model, tmp_path))
    assert (caught.value.stage, caught.value.op) == ("convert", "Conv")
    assert caught.value.node in ("here", "y")
