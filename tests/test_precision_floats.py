"""float16 and bfloat16 graphs: what is converted, what stays in float32 and why, and that both compute the same."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import networks
import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import graph
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from precision_models import calibrated, converted, golden, opened, ops, relative

from sysnoise_conform.golden.executor import Mode
from sysnoise_conform.graph.order import sort
from sysnoise_conform.precision.convert import convert
from sysnoise_conform.precision.recipe import Recipe

_FLOAT, _HALF, _BRAIN = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16


def _why(record: object) -> dict[str, str]:
    return {each["op_type"]: each["why"] for each in record["kept"]}  # type: ignore[index]


def _mlp(folder: Path, weight: np.ndarray, opset: int = 17) -> onnx.ModelProto:
    n, m = weight.shape
    proto = graph(f"g (float[b,{n}] x) => (float[b,{m}] y) {{ h = MatMul(x, w) y = Relu(h) }}", opset=opset)
    proto.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), "w"))
    return proto


def test_inputs_and_outputs_stay_float32_and_the_tensors_between_keep_their_names(tmp_path: Path) -> None:
    model = opened(_mlp(tmp_path, np.eye(3)), tmp_path)
    found = converted(model, "fp16")
    assert ops(found.proto) == ["Cast", "MatMul", "Relu", "Cast"]
    assert [each.type.tensor_type.elem_type for each in (*found.proto.graph.input, *found.proto.graph.output)] == [1, 1]
    again = found.opened(tmp_path, "half.onnx")
    assert {each.tensor: each.elem_type for each in again.layers} == {
        "x_fp16": _HALF, "h": _HALF, "y_fp16": _HALF, "y": _FLOAT,
    }  # fmt: skip


def test_each_tensor_is_rounded_once_to_the_type(tmp_path: Path) -> None:
    """By hand: the exact product of rounded operands, rounded."""
    rng = np.random.default_rng()
    weight, x = rng.normal(0, 1, (64, 5)).astype(np.float32), rng.normal(0, 1, (7, 64)).astype(np.float32)
    model = opened(_mlp(tmp_path, weight), tmp_path)
    for name, dtype in (("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)):
        found = golden(converted(model, name).proto, {"x": x})["y"]
        exact = x.astype(dtype).astype(np.float64) @ weight.astype(dtype).astype(np.float64)
        assert np.array_equal(found, np.maximum(exact.astype(np.float32).astype(dtype).astype(np.float64), 0)) or (
            np.abs(found - np.maximum(exact, 0)).max() <= np.abs(exact).max() * float(ml_dtypes.finfo(dtype).eps)
        )


@pytest.mark.parametrize("network", ["fpn", "lm"])
def test_fp16_costs_what_the_common_converter_costs(tmp_path: Path, network: str) -> None:
    """The graph that onnxruntime's converter makes, run by PyTorch beside ours."""
    torch = pytest.importorskip("torch")
    example = {"fpn": torch.randn(1, 3, 64, 64), "lm": torch.randint(0, 128, (1, 16))}[network]
    proto = networks.exported(getattr(networks, network)(), example, tmp_path / "net.onnx")
    model = opened(proto, tmp_path)
    feed = {model.inputs[0].name: example.numpy()}
    truth = golden(model.proto, feed)
    ours = golden(converted(model, "fp16", [feed]).proto, feed)
    common = convert_float_to_float16(proto, keep_io_types=True)
    sort(common.graph)  # it leaves its casts at the end
    theirs = golden(common, feed)
    for name in truth:
        cost = relative(theirs[name], truth[name])
        assert relative(ours[name], truth[name]) == pytest.approx(cost, rel=0.75)
        assert 1e-6 < cost < 5e-3
    session = onnxruntime.InferenceSession(converted(model, "fp16", [feed]).proto.SerializeToString())
    for name, found in zip(truth, session.run(list(truth), feed), strict=True):
        assert relative(found, truth[name]) < 5e-3


def test_what_steers_a_shape_stays_float32(tmp_path: Path) -> None:
    proto = graph(
        "g (float[1,2,4,4] x) => (float[a,b,c,d] y) <float[4] scales = {1.0, 1.0, 2.0, 2.0}> "
        "{ h = Relu(x) y = Resize<mode=\"nearest\">(h, , scales) }"
    )
    found = converted(opened(proto, tmp_path), "fp16")
    assert next(each for each in found.proto.graph.initializer if each.name == "scales").data_type == _FLOAT
    assert found.record["kept"] == []
    x = np.random.default_rng().normal(0, 1, (1, 2, 4, 4)).astype(np.float32)
    expected = np.maximum(x.astype(np.float16), 0).repeat(2, 2).repeat(2, 3)
    assert np.array_equal(golden(found.proto, {"x": x})["y"], expected)


def test_a_size_that_is_computed_in_floats_is_computed_in_float32(tmp_path: Path) -> None:
    proto = graph(
        "g (float[n] x) => (float[m] y) <float half = {0.5}> "
        "{ s = Shape(x) f = Cast<to=1>(s) h = Mul(f, half) i = Cast<to=7>(h) y = Expand(e, i) e = Exp(z) z = "
        "ReduceMax<keepdims=1>(x) }"
    )
    found = converted(opened(proto, tmp_path), "fp16")
    assert _why(found.record)["Mul"] == "shape"
    x = np.zeros(4099, np.float32)  # float16 rounds 4099 to 4100
    assert golden(found.proto, {"x": x})["y"].shape == (2049,)


def test_a_weight_that_the_type_makes_infinite_keeps_its_reader(tmp_path: Path) -> None:
    model = opened(_mlp(tmp_path, np.array([[7e4, 1.0]])), tmp_path)
    found = converted(model, "fp16")
    assert "weight 'w' reaches 7e+04" in _why(found.record)["MatMul"]
    assert golden(found.proto, {"x": np.array([[0.5]], np.float32)})["y"].tolist() == [[35008.0, 0.5]]
    assert converted(model, "bf16").record["kept"] == []


def test_a_weight_that_would_vanish_keeps_its_reader(tmp_path: Path) -> None:
    proto = graph(
        "g (float[n] x) => (float[n] y) <float eps = {1e-12}> "
        "{ h = Mul(x, x) v = Add(h, eps) s = Sqrt(v) y = Div(x, s) }"
    )
    found = converted(opened(proto, tmp_path), "fp16")
    assert "would vanish" in _why(found.record)["Add"]


def test_a_value_that_calibration_saw_beyond_half_of_the_largest_keeps_makers_and_readers(tmp_path: Path) -> None:
    proto = graph("g (float[n] x) => (float[n] y) { a = Relu(x) s = Mul(a, a) r = Sqrt(s) y = Neg(r) }")
    model = opened(proto, tmp_path)
    feed = {"x": np.array([300, 1], np.float32)}
    found = converted(model, "fp16", [feed])
    assert set(_why(found.record)) == {"Mul", "Sqrt"}
    assert golden(found.proto, feed)["y"].tolist() == [-300, -1]
    assert np.isinf(golden(converted(model, "fp16").proto, feed)["y"]).any()  # nobody had seen it
    assert converted(model, "bf16", [feed]).record["kept"] == []


def test_an_asked_for_node_stays_in_float32_by_its_name_or_its_tensors(tmp_path: Path) -> None:
    proto = _mlp(tmp_path, np.full((1, 1), 1 / 3))
    proto.graph.node[0].name = "product"
    model = opened(proto, tmp_path)
    for name in ("product", "h"):
        found = converted(model, Recipe(precision="fp16", keep_fp32=(name,)))
        assert _why(found.record) == {"MatMul": "asked for"}
        assert {each.name for each in found.proto.graph.initializer} == {"w"}


def test_bodies_read_float32_from_around_them(tmp_path: Path) -> None:
    proto = graph(
        "g (float[n] x, bool c) => (float[n] y) { h = Exp(x) t = If(c) <"
        "then_branch = a () => (float[n] p) { p = Neg(h) }, else_branch = b () => (float[n] q) { q = Add(h, h) }> "
        "y = Mul(t, h) }"
    )
    found = converted(opened(proto, tmp_path), "fp16")
    assert _why(found.record) == {"If": "control flow"}
    x = np.random.default_rng().normal(0, 1, 9).astype(np.float32)
    h = np.exp(x.astype(np.float16).astype(np.float64)).astype(np.float16).astype(np.float64)
    for chosen, expected in ((True, -h * h), (False, 2 * h * h)):
        y = golden(found.proto, {"x": x, "c": np.array(chosen)})["y"]
        assert y == pytest.approx(expected, rel=2e-3)


def test_a_cast_gives_the_type_without_a_detour(tmp_path: Path) -> None:
    proto = graph("g (int64[n] x) => (float[n] y) { f = Cast<to=1>(x) y = Sqrt(f) }")
    found = converted(opened(proto, tmp_path), "fp16")
    assert ops(found.proto) == ["Cast", "Sqrt", "Cast"]
    assert found.proto.graph.node[0].attribute[0].i == _HALF


def test_bfloat16_raises_the_opset_where_the_operator_came_later(tmp_path: Path) -> None:
    proto = graph(
        "g (float[1,1,4,4] x) => (float[1,2,a,b] y) { c = Conv(x, w) y = MaxPool<kernel_shape=[2,2]>(c) }", opset=13
    )
    weight = np.random.default_rng().normal(0, 1, (2, 1, 3, 3)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    found = converted(opened(proto, tmp_path), "bf16")
    assert (found.record["opset_before"], found.record["opset"], found.record["kept"]) == (13, 22, [])
    assert found.proto.graph.initializer[0].data_type == _BRAIN
    assert [each.name for each in found.proto.graph.input] == ["x"]


def test_vendors_operators_and_quantised_parts_stay(tmp_path: Path) -> None:
    proto = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Relu", ["x"], ["h"]),
                helper.make_node("Gelu", ["h"], ["g"], domain="com.microsoft"),
                helper.make_node("QuantizeLinear", ["g", "s"], ["q"]),
                helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", _FLOAT, ["n"])],
            [helper.make_tensor_value_info("y", _FLOAT, ["n"])],
            [numpy_helper.from_array(np.array(0.1, np.float32), "s")],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=9,
    )  # fmt: skip
    found = convert(opened(proto, tmp_path), Recipe(precision="fp16"))
    assert _why(found.record) == {
        "Gelu": "no schema", "QuantizeLinear": "quantised already", "DequantizeLinear": "quantised already",
    }  # fmt: skip


def test_a_weight_that_both_kinds_read_is_there_twice(tmp_path: Path) -> None:
    proto = graph("g (float[2] x) => (float[2] y) <float[2] w = {1.0, 2.0}> { a = Mul(x, w) y = Add(a, w) }")
    found = converted(opened(proto, tmp_path), Recipe(precision="fp16", keep_fp32=("y",)))
    assert {each.name: each.data_type for each in found.proto.graph.initializer} == {"w": _FLOAT, "w_fp16": _HALF}
    assert golden(found.proto, {"x": np.array([3, 4], np.float32)})["y"].tolist() == [4, 10]


def test_a_scalar_stays_one(tmp_path: Path) -> None:
    proto = graph("g (float x) => (float y) <float w = {2.0}> { y = Mul(x, w) }")
    for name in ("fp16", "bf16"):
        found = converted(opened(proto, tmp_path), name).proto
        assert golden(found, {"x": np.array(3, np.float32)})["y"].shape == ()


def test_weights_are_told_apart_from_the_original_before_anything_runs(tmp_path: Path) -> None:
    weight = np.random.default_rng().normal(0, 1, (50, 50)).astype(np.float32)
    told = converted(opened(_mlp(tmp_path, weight), tmp_path), "fp16").record["weights"]
    assert [each["tensor"] for each in told] == ["w"]
    assert told[0]["rel_l2"] == pytest.approx(relative(weight.astype(np.float16), weight.astype(np.float64)))
    assert 70 < told[0]["sqnr_db"] < 80


def test_dynamic_sizes_and_one_and_no_elements_run(tmp_path: Path) -> None:
    found = converted(opened(_mlp(tmp_path, np.ones((1, 1))), tmp_path), "fp16")
    for count in (0, 1, 7):
        x = np.full((count, 1), 0.1, np.float32)
        assert golden(found.proto, {"x": x})["y"].shape == (count, 1)


def test_overflow_and_nan_and_infinities_travel_through_the_casts(tmp_path: Path) -> None:
    proto = graph("g (float[n] x) => (float[n] y) { h = Neg(x) y = Relu(h) }")
    found = converted(opened(proto, tmp_path), "fp16").proto
    x = np.array([-1e5, np.nan, -np.inf, np.inf, -65519], np.float32)  # 65520 is the first that rounds to infinity
    for mode in Mode:
        y = golden(found, {"x": x}, mode)["y"]
        assert np.array_equal(y, [np.inf, np.nan, np.inf, 0, 65504], equal_nan=True)


def test_ranges_come_from_every_sample(tmp_path: Path) -> None:
    model = opened(_mlp(tmp_path, np.eye(1)), tmp_path)
    found = calibrated(model, [{"x": np.array([[each]], np.float32)} for each in (1, 5e4, 2)])
    assert found["h"].high == 5e4
