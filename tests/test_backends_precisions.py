"""Which runtime takes which precision of a graph, and what it really computes in then; each on one small network.

Where a runtime refuses, it is asked again with the least graph that holds the operator that it names, so that the
refusal is the runtime's and not the network's.
"""

from __future__ import annotations

import inspect
import platform
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import build_of, graph
from ml_dtypes import bfloat16
from onnx import numpy_helper
from precisions import network, sample

from sysnoise_conform import registry
from sysnoise_conform.errors import BackendUnavailable, Unsupported
from sysnoise_conform.golden.executor import Executor, Mode, to_numpy

CODE = 3 / 127  # one code of the int8 network's output
TOLERANCE = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 1e-2, "int8": CODE * 1.01}

# (backend, precision) -> what it reports to compute in, as measured.
TAKEN = {
    ("ort", "fp32"): "fp32",
    ("ort", "fp16"): "fp32 (fp16 weights)",
    ("ort", "int8"): "int8 75 %, fp32 25 %",
    ("openvino", "fp32"): "fp32",
    ("openvino", "fp16"): "fp32",  # a device without float16 keeps more
    ("openvino", "bf16"): "bf16",
    ("openvino", "int8"): "int8",
    ("tflite", "fp16"): "fp32",
    ("tflite", "int8"): "fp32",  # onnx2tf leaves Q and DQ around float kernels
    ("mnn", "fp32"): "fp32 requested",
    ("mnn", "fp16"): "fp32 requested",
    ("torch", "fp32"): "fp32",
    ("torch", "fp16"): "fp16, emulated in fp32",
    ("torch", "bf16"): "bf16, emulated in fp32",
    ("torch", "int8"): "int8, emulated in fp32",
}
# (backend, precision) -> the stages where it refuses, and its own words.
REFUSED = {
    ("ort", "bf16"): (("compile",), "Could not find an implementation for Conv"),
    ("tflite", "bf16"): (("convert",), "Unsupported ONNX dtype"),
    ("mnn", "bf16"): (("convert", "compile", "run"), "Don't support cast|can't convert"),
    ("mnn", "int8"): (("convert", "compile", "run"), "convolution shape|removed every output|died of SIG"),
}


def available(backend: str) -> type:
    found = registry.load(backend)
    try:
        found().probe()
    except BackendUnavailable as why:
        pytest.skip(str(why))
    return found


@pytest.mark.parametrize(("backend", "precision"), TAKEN)
def test_a_precision_that_a_runtime_takes(tmp_path: Path, backend: str, precision: str) -> None:
    model = network(precision)
    session = available(backend)().compile(build_of(model, tmp_path, {"x": sample()}))
    got = session.run({"x": sample()})["y"]
    want = to_numpy(Executor(model, Mode.FLOAT64).run({"x": sample()})["y"])
    assert np.abs(got - want).max() <= TOLERANCE[precision]
    assert session.effective.precision.startswith(TAKEN[backend, precision])


@pytest.mark.parametrize(("backend", "precision"), REFUSED)
def test_a_precision_that_a_runtime_refuses_in_its_own_words(tmp_path: Path, backend: str, precision: str) -> None:
    stages, words = REFUSED[backend, precision]
    asked = {"least": least(precision), "network": network(precision)}
    if backend == "tflite":  # each conversion takes seconds
        del asked["network"]
    for name, model in asked.items():
        feeds = {"x": sample()}
        with pytest.raises(refusal(), match=words) as caught:
            available(backend)().compile(build_of(model, tmp_path / name, feeds)).run(feeds)
        assert caught.value.stage in stages
        assert "\n" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


def test_an_int8_graph_without_integer_kernels_says_that_it_ran_in_float32(tmp_path: Path) -> None:
    build = build_of(network("int8"), tmp_path, {"x": sample()}, options={"opt": "disable"})
    effective = available("ort")().compile(build).effective
    assert effective.precision == "fp32 (int8 weights)"
    assert effective.shares == {"layers": {"fp32": 1.0}, "flops": {"fp32": 1.0}}


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_shares_are_by_layers_and_by_operations(tmp_path: Path, backend: str) -> None:
    effective = available(backend)().compile(build_of(network("int8"), tmp_path, {"x": sample()})).effective
    assert effective.shares["flops"] == {"int8": 1.0}  # Conv and Gemm, which are all the products there are
    assert effective.options["operations"] == "int8"
    layers = effective.shares["layers"]
    assert 0.3 < layers["int8"] < 1
    assert sum(layers.values()) == pytest.approx(1)


def test_operations_are_counted_from_shapes(tmp_path: Path) -> None:
    # Two products of float matrices and one of codes: 2 * 4 * 8 * 16, 2 * 4 * 16 * 2 and 2 * 4 * 2 * 32.
    model = graph("""g (float[4,8] x) => (float[4,32] y) {
        a = MatMul(x, u) b = MatMul(a, v) q = QuantizeLinear(b, s, z) d = DequantizeLinear(q, s, z)
        w = DequantizeLinear(wq, s, zw) c = MatMul(d, w) e = QuantizeLinear(c, s, z) y = DequantizeLinear(e, s, z) }""")
    draw = np.random.default_rng(0)
    for name, array in {
        "u": draw.normal(size=(8, 16)).astype(np.float32), "v": draw.normal(size=(16, 2)).astype(np.float32),
        "wq": draw.integers(-127, 128, (2, 32)).astype(np.int8), "s": np.array(0.05, np.float32),
        "z": np.array(128, np.uint8), "zw": np.array(0, np.int8),
    }.items():  # fmt: skip
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    feeds = {"x": draw.normal(size=(4, 8)).astype(np.float32)}
    shares = available("ort")().compile(build_of(model, tmp_path, feeds)).effective.shares
    total = 2 * 4 * (8 * 16 + 16 * 2 + 2 * 32)
    assert shares["flops"] == pytest.approx({"fp32": 2 * 4 * (8 * 16 + 16 * 2) / total, "int8": 2 * 4 * 64 / total})
    assert shares["layers"] == pytest.approx({"fp32": 2 / 3, "int8": 1 / 3}, abs=1e-5)


@pytest.mark.parametrize(("weights", "zero", "integers"), [
    (np.int8, 0, True), (np.int8, 3, False), (np.uint8, 128, False), (np.uint8, 0, False),
])  # fmt: skip
def test_openvino_convolves_in_integers_with_int8_weights_around_zero_alone(
    tmp_path: Path, weights: type[np.generic], zero: int, integers: bool
) -> None:
    """So the presets with uint8 weights, `snpe` and `qnn`, run in float32 there: what a FAIL tells of them."""
    model = graph("""g (float[1,4,8,8] x) => (float[1,2,8,8] y) {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) w = DequantizeLinear(wq, s, zw) y = Conv(d, w) }""")
    draw = np.random.default_rng(1)
    for name, array in {
        "wq": draw.integers(0, 127, (2, 4, 1, 1)).astype(weights), "s": np.array(0.05, np.float32),
        "z": np.array(128, np.uint8), "zw": np.array(zero, weights),
    }.items():  # fmt: skip
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    effective = available("openvino")().compile(build_of(model, tmp_path, {"x": sample()})).effective
    assert effective.shares["flops"] == {"int8" if integers else "fp32": 1.0}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have kernels of int8")
@pytest.mark.parametrize(("activations", "last", "integers"), [
    ("QInt8", "y = Relu(d)", True), ("QInt8", "y = Add(d, r)", False), ("QUInt8", "y = Add(d, r)", True),
])  # fmt: skip
def test_what_quantize_static_makes_without_options_runs_in_float32_on_x86_where_codes_are_read_twice(
    tmp_path: Path, activations: str, last: str, integers: bool
) -> None:
    """So a FAIL of `ort:int8` tells of ONNX Runtime's own default; its manual advises unsigned activations on x86."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    defaults = inspect.signature(quantization.quantize_static).parameters
    assert defaults["activation_type"].default == defaults["weight_type"].default == quantization.QuantType.QInt8
    assert defaults["per_channel"].default is False
    model = graph(f"""g (float[1,4,8,8] x) => (float[1,4,8,8] y) {{
        c = Conv(x, w) r = Relu(c) d = Conv(r, v) {last} }}""")
    draw = np.random.default_rng(1)
    for name in ("w", "v"):
        array = draw.normal(size=(4, 4, 1, 1)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "float.onnx")
    feeds = iter([{"x": sample()}])
    reader = type("Reader", (quantization.CalibrationDataReader,), {"get_next": lambda _: next(feeds, None)})()
    quantization.quantize_static(
        tmp_path / "float.onnx", tmp_path / "int8.onnx", reader,
        **{} if activations == "QInt8" else {"activation_type": quantization.QuantType.QUInt8},
    )  # fmt: skip
    made = onnx.load(tmp_path / "int8.onnx")
    effective = available("ort")().compile(build_of(made, tmp_path / "run", {"x": sample()})).effective
    assert effective.shares["flops"] == {"int8" if integers else "fp32": 1.0}


def refusal() -> tuple[type[Exception], ...]:
    from sysnoise_conform.errors import BackendDied

    return Unsupported, BackendDied  # a converter that dies is named by its signal


def least(precision: str) -> onnx.ModelProto:
    """One convolution in that precision."""
    w = np.random.default_rng(1).normal(size=(2, 4, 1, 1)).astype(np.float32)
    if precision == "int8":
        model = graph("""g (float[1,4,8,8] x) => (float[1,2,8,8] y) {
            q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Conv(d, w) }""")
        model.graph.initializer.append(numpy_helper.from_array(np.array(0.1, np.float32), "s"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), "z"))
    else:
        model = graph("""g (float[1,4,8,8] x) => (float[1,2,8,8] y) {
            n = Cast <to = 16> (x) c = Conv(n, w) y = Cast <to = 1> (c) }""", opset=22)  # fmt: skip
        w = w.astype(bfloat16)
    model.graph.initializer.append(numpy_helper.from_array(w, "w"))
    return model
