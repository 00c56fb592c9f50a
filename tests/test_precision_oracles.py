"""Presets against the tools whose deployment they imitate: the same integers of all weights, the same scales.

onnxruntime's quantiser makes graphs for QNN, in TensorRT's scheme and in SNPE's; NNCF those for OpenVINO,
ai-edge-quantizer those for LiteRT, and PyTorch has the moving average. `ort` and `ort_per_channel` stand in
test_precision_int8.py. No tool at hand makes power-of-two scales, none chooses entropy's threshold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from graphs import build_of, graph
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize, quantize_static
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config
from precision_detector import Detector, Reader, detector_in
from precision_models import Feed, converted, int8, opened

from sysnoise_conform.backends.tflite import TFLite
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.precision.observed import Observed
from sysnoise_conform.precision.observers import Scheme, bounds

WITH_KERNELS = ["Conv", "MatMul", "Gemm", "Add", "AveragePool", "GlobalAveragePool"]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return detector_in(tmp_path_factory.mktemp("fpn"))


def stored(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}


def activations(proto: onnx.ModelProto) -> dict[str, tuple[float, int]]:
    """Scale and zero point of every quantised tensor, by its name in the original."""
    known = stored(proto)
    return {
        node.input[0].removesuffix("_QuantizeLinear_Input"): (float(known[node.input[1]]), int(known[node.input[2]]))
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear"
    }


def weights(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {
        name.removesuffix("_quantized"): array
        for name, array in stored(proto).items()
        if name.endswith("_quantized") and array.ndim > 1
    }


def qnn(model: Model, feeds: list[Feed], target: Path) -> None:
    quantize(model.path, target, get_qnn_qdq_config(model.path, Reader(feeds)))


def tensorrt(model: Model, feeds: list[Feed], target: Path) -> None:
    quantize_static(
        model.path, target, Reader(feeds), quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=WITH_KERNELS,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )  # fmt: skip


def snpe(model: Model, feeds: list[Feed], target: Path) -> None:
    quantize_static(
        model.path, target, Reader(feeds), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
        weight_type=QuantType.QUInt8, extra_options={"WeightSymmetric": False},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "tool", "shared"), [("qnn", qnn, 37), ("tensorrt", tensorrt, 12), ("snpe", snpe, 37)]
)
def test_a_scheme_is_that_of_onnxruntimes_quantiser(
    detector: Detector, tmp_path: Path, preset: str, tool: Any, shared: int
) -> None:
    """With ranges by extremes, which the tool has, in place of entropy and the moving average."""
    model, feeds, ranges = detector
    tool(model, feeds, tmp_path / "theirs.onnx")
    theirs, ours = onnx.load(tmp_path / "theirs.onnx"), converted(model, int8(preset, "minmax"), ranges=ranges).proto
    expected = weights(theirs)
    assert len(weights(ours)) >= 9
    for name, codes in weights(ours).items():
        assert codes.dtype == expected[name].dtype, name
        assert np.array_equal(codes, expected[name]), name
    known, found = activations(theirs), activations(ours)
    assert len(found) == shared
    for name, (scale, zero) in found.items():
        assert scale == pytest.approx(known[name][0], rel=1e-4), name
        assert zero == known[name][1], name


def test_openvinos_preset_is_nncfs_but_for_the_first_convolutions_weights(detector: Detector) -> None:
    nncf = pytest.importorskip("nncf")
    model, feeds, ranges = detector
    theirs = nncf.quantize(
        onnx.load(model.path), nncf.Dataset(feeds), preset=nncf.QuantizationPreset.PERFORMANCE, subset_size=len(feeds)
    )
    ours = converted(model, int8("openvino"), ranges=ranges).proto
    their_arrays, our_arrays = stored(theirs), stored(ours)
    scales = {
        node.input[1]: their_arrays[node.input[1]] for node in theirs.graph.node if node.op_type == "DequantizeLinear"
    }
    names = [name for name in weights(ours) if name != "stem.0.weight"]
    assert len(names) >= 8
    for name in names:
        (scale,) = [each for where, each in scales.items() if name in where]
        assert our_arrays[f"{name}_scale"] == pytest.approx(scale.ravel(), rel=1e-6), name
    # Of the first convolution NNCF takes 7 bits, so that sums of two products fit 16: its overflow fix.
    (first,) = [each for where, each in scales.items() if "stem.0.weight" in where]
    assert first.ravel() == pytest.approx(2 * our_arrays["stem.0.weight_scale"], rel=0.02)
    known, found = activations(theirs), activations(ours)
    assert len(found) == 12
    assert set(found) <= set(known)
    for name in found:
        assert found[name][0] == pytest.approx(known[name][0], rel=1e-4), name
        assert found[name][1] == known[name][1], name


def test_tflites_preset_is_ai_edge_quantizers(tmp_path: Path) -> None:
    """On one sample: of several its calibration takes a moving average, where the preset takes the extremes."""
    pytest.importorskip("ai_edge_quantizer")
    proto = graph(
        "g (float[1,3,8,8] x) => (float[1,5,8,8] y) "
        "{ c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) s = Conv(r, v) y = Sigmoid(s) }"
    )
    rng = np.random.default_rng(5)
    for name, shape in (("w", (4, 3, 3, 3)), ("b", (4,)), ("v", (5, 4, 1, 1))):
        proto.graph.initializer.append(numpy_helper.from_array(rng.normal(0, 1, shape).astype(np.float32), name))
    feed = {"x": rng.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)}
    np.savez(tmp_path / "sample.npz", **feed)
    options = {"hint": "int8", "calibration": str(tmp_path / "sample.npz")}
    session = TFLite().compile(build_of(proto, tmp_path / "theirs", feed, options=options))
    (loaded,) = session._loaded.values()
    found = converted(opened(proto, tmp_path), int8("tflite"), [feed])
    ours = stored(found.proto)
    theirs = loaded.interpreter.get_tensor_details()

    def of(*parts: str) -> dict[str, Any]:
        (each,) = [one for one in theirs if all(part in one["name"] for part in parts)]
        return each

    for name, place in (("w", "Conv_0_conv_filter"), ("v", "Conv_2_conv_filter")):
        codes = loaded.interpreter.get_tensor(of(place)["index"])
        assert np.array_equal(codes, ours[f"{name}_quantized"].transpose(0, 2, 3, 1)), name
        scales = of(place)["quantization_parameters"]["scales"]
        assert scales == pytest.approx(ours[f"{name}_scale"], rel=1e-6), name
    bias = loaded.interpreter.get_tensor(of("Conv_0_conv_bias")["index"])
    assert np.abs(bias - ours["b_quantized"]).max() <= 1
    places = {"x": "t_in_0", "r": "Conv_2_input_nhwc", "s": "Conv_2_output_nhwc", "y": "t_out_0_dense"}
    assert {each["tensor"] for each in found.record["activations"]} == set(places)
    for each in found.record["activations"]:
        scale, zero = of(places[each["tensor"]])["quantization"]
        assert each["scale"] == pytest.approx(scale, rel=1e-5), each["tensor"]
        assert each["zero_point"] == zero, each["tensor"]


def test_the_moving_average_is_pytorchs() -> None:
    """MQBench's EMAMinMax counts the newest sample 0.1, as this one is told to."""
    from torch.ao.quantization.observer import MovingAverageMinMaxObserver

    rng = np.random.default_rng()
    samples = [rng.normal(0, size, 100).astype(np.float32) for size in (1.0, 3.0, 2.0, 5.0)]
    theirs = MovingAverageMinMaxObserver(averaging_constant=0.1)
    for each in samples:
        theirs(torch.from_numpy(each))
    observed = Observed(
        lows=np.array([each.min() for each in samples]), highs=np.array([each.max() for each in samples])
    )
    low, high = bounds(observed, "moving_average", Scheme(symmetric=False))
    assert (low, high) == pytest.approx((float(theirs.min_val), float(theirs.max_val)), rel=1e-6)
