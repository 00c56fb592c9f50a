"""8-bit graphs: the same scales and codes as onnxruntime's quantiser, and what each preset promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import graph
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from precision_detector import Detector, Reader, detector_in
from precision_models import converted, golden, int8, opened, ops, relative

from sysnoise_conform.precision.presets import INPUTS, OBSERVERS, PRESETS


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return detector_in(tmp_path_factory.mktemp("fpn"))


def _parameters(proto: onnx.ModelProto) -> dict[str, tuple[np.ndarray, int]]:
    """Scale and zero point of every quantised activation, by the tensor's name."""
    stored = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    return {
        node.input[0].removesuffix("_QuantizeLinear_Input"): (stored[node.input[1]], int(stored[node.input[2]]))
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear"
    }


def _weights(proto: onnx.ModelProto, dtype: str) -> dict[str, np.ndarray]:
    """The integers of every weight of rank 2 and more, by the original's name."""
    return {
        each.name.removesuffix("_quantized"): numpy_helper.to_array(each)
        for each in proto.graph.initializer
        if each.name.endswith("_quantized") and len(each.dims) > 1 and numpy_helper.to_array(each).dtype == dtype
    }


@pytest.mark.parametrize("preset", ["ort", "ort_per_channel"])
def test_scales_and_codes_are_those_of_onnxruntimes_quantiser(
    detector: Detector, tmp_path: Path, preset: str
) -> None:
    model, feeds, ranges = detector
    kind = QuantType.QInt8 if preset == "ort" else QuantType.QUInt8
    quantize_static(
        str(model.path), str(tmp_path / "theirs.onnx"), Reader(feeds), quant_format=QuantFormat.QDQ,
        activation_type=kind, per_channel=preset == "ort_per_channel",
    )  # fmt: skip
    theirs = onnx.load(tmp_path / "theirs.onnx")
    ours = converted(model, int8(preset), ranges=ranges).proto
    weights = _weights(ours, "int8")
    expected = _weights(theirs, "int8")
    assert len(weights) >= 9
    for name, codes in weights.items():
        assert np.array_equal(codes, expected[name]), name
    known = _parameters(theirs)
    shared = {name: each for name, each in _parameters(ours).items() if name in known}
    assert len(shared) >= 20
    for name, (scale, zero) in shared.items():
        assert scale == pytest.approx(known[name][0], rel=1e-4), name  # their ranges come from their own kernels
        assert zero == known[name][1], name
    outputs = [each.name for each in model.outputs]
    truth = golden(model.proto, feeds[0])
    session = onnxruntime.InferenceSession(theirs.SerializeToString())
    found = dict(zip(outputs, session.run(outputs, feeds[0]), strict=True))
    mine = golden(ours, feeds[0])
    for name in outputs:
        assert relative(mine[name], truth[name]) == pytest.approx(relative(found[name], truth[name]), rel=0.3)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_gives_a_graph_that_pytorch_and_onnxruntime_agree_on(
    detector: Detector, preset: str
) -> None:
    model, feeds, ranges = detector
    found = converted(model, int8(preset), ranges=ranges)
    truth, exact = golden(model.proto, feeds[0]), golden(found.proto, feeds[0])
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(found.proto.SerializeToString(), plain)
    for name, theirs in zip(truth, session.run(list(truth), feeds[0]), strict=True):
        cost = relative(exact[name], truth[name])
        assert 1e-4 < cost < 0.03
        assert relative(theirs, exact[name]) < cost
    assert set(found.codes) <= {each.tensor for each in model.layers} | {"x"}
    assert found.record["recipe"] == {
        "precision": "int8", "preset": preset, "observer": PRESETS[preset].observer, "keep_fp32": [],
    }  # fmt: skip


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_keeps_its_promise_on_types_zero_points_and_axes(
    detector: Detector, preset: str
) -> None:
    model, _, ranges = detector
    wanted = PRESETS[preset]
    found = converted(model, int8(preset), ranges=ranges)
    stored = {each.name: numpy_helper.to_array(each) for each in found.proto.graph.initializer}
    for scale, zero in _parameters(found.proto).values():
        assert scale.shape == ()
        assert not wanted.symmetric_activations or zero == 0
        assert not wanted.power_of_two or np.frexp(scale)[0] == 0.5
    kinds = {each["kind"] for each in found.record["activations"]}
    assert kinds <= ({"int8", "uint8"} if wanted.activations == "by_sign" else {wanted.activations})
    for name, codes in _weights(found.proto, wanted.weights).items():
        if codes.ndim == 4:
            assert stored[f"{name}_scale"].shape == ((codes.shape[0],) if wanted.per_channel else ())
            assert not wanted.symmetric_weights or not stored[f"{name}_zero_point"].any()
    biases = [each for each in found.proto.graph.initializer if each.data_type == TensorProto.INT32]
    assert bool(biases) == wanted.integer_bias
    outputs = {each.name for each in found.proto.graph.output}
    ends = {node.op_type for node in found.proto.graph.node if outputs & set(node.output)}
    assert ("DequantizeLinear" in ends) == (wanted.placement != INPUTS)


def test_a_bias_is_an_int32_of_the_product_of_the_scales(tmp_path: Path) -> None:
    proto = graph("g (float[n,3] x) => (float[n,2] y) { y = Gemm(x, w, b) }")
    rng = np.random.default_rng()
    weight, bias = rng.normal(0, 1, (3, 2)).astype(np.float32), rng.normal(0, 1, 2).astype(np.float32)
    proto.graph.initializer.extend([numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")])
    x = rng.normal(0, 1, (5, 3)).astype(np.float32)
    found = converted(opened(proto, tmp_path), int8("ort_per_channel"), [{"x": x}]).proto
    stored = {each.name: numpy_helper.to_array(each) for each in found.graph.initializer}
    product = (stored["x_scale"] * stored["w_scale"]).astype(np.float32)
    assert np.array_equal(stored["b_scale"], product)
    assert np.array_equal(stored["b_quantized"], np.rint(bias.astype(np.float64) / product))


def test_weights_per_channel_save_what_one_scale_for_all_throws_away(tmp_path: Path) -> None:
    """Depthwise filters of very different sizes: the case of EfficientNet-Lite."""
    proto = graph("g (float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Conv<group=4, pads=[1,1,1,1]>(x, w) }")
    rng = np.random.default_rng()
    weight = rng.normal(0, 1, (4, 1, 3, 3)) * np.array([1, 1e-1, 1e-2, 1e-3]).reshape(4, 1, 1, 1)
    proto.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), "w"))
    feed = {"x": rng.normal(0, 1, (1, 4, 8, 8)).astype(np.float32)}
    model = opened(proto, tmp_path)
    for preset, survives in (("ort", False), ("ort_per_channel", True)):
        found = converted(model, int8(preset), [feed])
        stored = {each.name: numpy_helper.to_array(each) for each in found.proto.graph.initializer}
        scale = stored["w_scale"].reshape(-1, *([1] * (3 if survives else 0)))
        smallest = (stored["w_quantized"] * scale)[3]
        assert (relative(smallest, weight[3]) < 0.02) == survives
        assert [each["tensor"] for each in found.record["weights"]] == ["w"]


def test_an_activation_function_behind_a_convolution_leaves_no_rounding_between(tmp_path: Path) -> None:
    proto = graph("g (float[1,1,4,4] x) => (float[1,1,4,4] y) { c = Conv(x, w) r = Relu(c) y = Sigmoid(r) }")
    proto.graph.initializer.append(numpy_helper.from_array(np.full((1, 1, 1, 1), 2, np.float32), "w"))
    x = np.random.default_rng().normal(0, 1, (1, 1, 4, 4)).astype(np.float32)
    found = converted(opened(proto, tmp_path), int8("tflite"), [{"x": x}])
    assert set(found.codes) == {"x", "r", "y"}
    fixed = {each["tensor"]: each for each in found.record["activations"]}["y"]
    assert (fixed["scale"], fixed["zero_point"], fixed["fixed"]) == (1 / 256, -128, True)


def test_operators_that_move_values_share_the_scale_of_their_input(tmp_path: Path) -> None:
    proto = graph(
        "g (float[1,1,4,4] x) => (float[a,b] y) "
        "{ c = Conv(x, w) p = MaxPool<kernel_shape=[2,2]>(c) f = Flatten(p) y = Sigmoid(f) }"
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w"))
    x = np.random.default_rng().normal(0, 1, (1, 1, 4, 4)).astype(np.float32)
    found = converted(opened(proto, tmp_path), int8("qnn"), [{"x": x}])
    parameters = _parameters(found.proto)
    assert parameters["c"] == parameters["p"] == parameters["f"]
    assert [each["tensor"] for each in found.record["activations"]] == ["x", "c", "y"]


def test_normalisation_is_folded_first(tmp_path: Path) -> None:
    proto = graph(
        "g (float[1,2,5,5] x) => (float[1,3,3,3] y) { c = Conv(x, w) y = BatchNormalization(c, s, b, m, v) }"
    )
    rng = np.random.default_rng()
    parts = {"w": rng.normal(0, 1, (3, 2, 3, 3)), "s": rng.uniform(0.5, 2, 3), "b": rng.normal(0, 1, 3),
             "m": rng.normal(0, 1, 3), "v": rng.uniform(0.1, 4, 3)}  # fmt: skip
    proto.graph.initializer.extend(
        numpy_helper.from_array(each.astype(np.float32), name) for name, each in parts.items()
    )
    model = opened(proto, tmp_path)
    feed = {"x": rng.normal(0, 1, (1, 2, 5, 5)).astype(np.float32)}
    found = converted(model, int8("tensorrt"), [feed])
    assert "BatchNormalization" not in ops(found.proto)
    assert found.record["folded"] == ["c"]
    assert relative(golden(found.proto, feed)["y"], golden(model.proto, feed)["y"]) < 0.02
    kept = converted(model, int8("tensorrt", keep=("y",)), [feed])
    assert "BatchNormalization" in ops(kept.proto)


def test_a_kept_node_reads_and_computes_in_float(tmp_path: Path) -> None:
    proto = graph("g (float[n,2] x) => (float[n,2] y) { h = MatMul(x, w) y = MatMul(h, w) }")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([[1, 2], [3, 4]], np.float32), "w"))
    found = converted(opened(proto, tmp_path), int8("tensorrt", keep=("y",)), [{"x": np.ones((1, 2), np.float32)}])
    assert found.record["kept"] == [{"node": "", "op_type": "MatMul", "why": "asked for"}]
    assert found.proto.graph.node[-1].input[1] == "w"
    assert set(found.codes) == {"x"}


def test_a_kept_node_between_integers_is_computed_in_float_by_onnxruntime_too(tmp_path: Path) -> None:
    """Between a DequantizeLinear and a QuantizeLinear it quantises float weights by itself."""
    proto = graph(
        "g (float[1,3,16,16] x) => (float[1,1,16,16] y) "
        "{ c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) s = Conv(r, v) y = Sigmoid(s) }"
    )
    rng = np.random.default_rng(5)
    for name, shape in (("w", (4, 3, 3, 3)), ("v", (1, 4, 1, 1))):
        proto.graph.initializer.append(numpy_helper.from_array(rng.normal(0, 1, shape).astype(np.float32), name))
    feed = {"x": rng.random((1, 3, 16, 16), np.float32)}
    model = opened(proto, tmp_path)
    for preset in ("ort", "tflite", "tensorrt"):
        found = converted(model, int8(preset, keep=("s",)), [feed]).proto
        session = onnxruntime.InferenceSession(found.SerializeToString())
        assert relative(session.run(["y"], feed)[0], golden(found, feed)["y"]) < 1e-4, preset


def test_masks_and_what_is_not_finite_stay_in_float(tmp_path: Path) -> None:
    proto = graph(
        "g (float[n,2] x) => (float[n,2] y) <float lowest = {-3.4028234e38}> "
        "{ h = MatMul(x, w) m = Add(h, lowest) e = Exp(m) l = Log(e) y = MatMul(l, w) }"
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.eye(2, dtype=np.float32), "w"))
    found = converted(opened(proto, tmp_path), int8(), [{"x": np.ones((1, 2), np.float32)}])
    why = {each["op_type"]: each["why"] for each in found.record["kept"]}
    assert why == {"Add": "mask", "MatMul": "'l' holds NaN or infinities"}
    assert len(found.record["notes"]) == 1
    assert "m reaches 3.4e+38, a mask most likely" in found.record["notes"][0]
    assert set(found.codes) == {"x", "h"}


def test_a_weight_with_nan_is_left_as_it_is(tmp_path: Path) -> None:
    proto = graph("g (float[n,2] x) => (float[n,2] y) { h = MatMul(x, good) y = MatMul(h, bad) }")
    bad = np.array([[np.nan, 0], [0, 1]], np.float32)
    proto.graph.initializer.extend(
        [numpy_helper.from_array(np.eye(2, dtype=np.float32), "good"), numpy_helper.from_array(bad, "bad")]
    )
    found = converted(opened(proto, tmp_path), int8("openvino"), [{"x": np.ones((1, 2), np.float32)}])
    assert [each["why"] for each in found.record["kept"]] == ["'bad' holds NaN or infinities"]


def test_a_bias_that_int32_cannot_hold_stays_in_float_and_is_told(tmp_path: Path) -> None:
    proto = graph("g (float[n,2] x) => (float[n,2] y) { y = Gemm(x, w, b) }")
    proto.graph.initializer.extend([
        numpy_helper.from_array(np.full((2, 2), 1e-20, np.float32), "w"),
        numpy_helper.from_array(np.array([1, 2], np.float32), "b"),
    ])  # fmt: skip
    found = converted(opened(proto, tmp_path), int8("tflite"), [{"x": np.ones((1, 2), np.float32)}])
    assert any("bias b stays in float32" in each for each in found.record["notes"])
    assert np.allclose(golden(found.proto, {"x": np.ones((1, 2), np.float32)})["y"], [1, 2], atol=0.02)


@pytest.mark.parametrize("observer", sorted(OBSERVERS))
def test_every_observer_serves_every_preset(detector: Detector, observer: str) -> None:
    model, feeds, ranges = detector
    truth = golden(model.proto, feeds[0])
    for preset in ("tensorrt", "openvino", "qnn"):
        found = golden(converted(model, int8(preset, observer), ranges=ranges).proto, feeds[0])
        assert all(relative(found[name], truth[name]) < 0.2 for name in truth)


def test_dynamic_sizes_one_element_and_none(tmp_path: Path) -> None:
    proto = graph("g (float[n,1] x) => (float[n,1] y) { y = MatMul(x, w) }")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([[3]], np.float32), "w"))
    found = converted(opened(proto, tmp_path), int8(), [{"x": np.array([[2]], np.float32)}]).proto
    for count in (0, 1, 5):
        y = golden(found, {"x": np.full((count, 1), 2, np.float32)})["y"]
        assert y == pytest.approx(np.full((count, 1), 6.0), rel=1e-6)


def test_a_tensor_of_the_shape_slice_is_never_rounded_to_integers(tmp_path: Path) -> None:
    proto = graph(
        "g (float[1,1,n,n] x) => (float[1,1,m,m] y) "
        "{ c = Conv(x, w) r = ReduceMax<keepdims=0>(c) o = Div(r, r) s = Unsqueeze(o, zero) "
        "scales = Concat<axis=0>(s, s, s, s) y = Resize<mode=\"nearest\">(c, , scales) }"
    )
    proto.graph.initializer.extend([
        numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w"),
        numpy_helper.from_array(np.array([0], np.int64), "zero"),
    ])  # fmt: skip
    feed = {"x": np.random.default_rng().uniform(1, 2, (1, 1, 3, 3)).astype(np.float32)}
    found = converted(opened(proto, tmp_path), int8(), [feed])
    assert "scales" not in found.codes
    assert golden(found.proto, feed)["y"].shape == (1, 1, 3, 3)
