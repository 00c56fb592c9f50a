"""Operators as older opsets define them, and forms that ONNX's node tests leave out, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from golden_oracle import assert_agrees, by_golden, by_ort, one_node
from onnx import parser

from sysnoise_conform.errors import BadModel
from sysnoise_conform.golden.executor import Executor, Mode

_X = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
_I = np.random.default_rng(1).integers(-100, 100, (3, 4)).astype(np.int32)


@pytest.mark.parametrize(
    ("op", "opset", "attributes"),
    [
        ("Slice", 9, {"starts": [0, -3], "ends": [2, 100], "axes": [1, 3]}),
        ("Split", 11, {"axis": 1, "split": [1, 2], "outputs": 2}),
        ("Split", 12, {"axis": -1, "split": [4, 1], "outputs": 2}),
        ("Unsqueeze", 11, {"axes": [0, 4]}),
        ("Flatten", 7, {"axis": 0}),
        ("Flatten", 11, {"axis": -1}),
        ("ReduceSum", 11, {"axes": [1, -1], "keepdims": 0}),
        ("ReduceMean", 7, {"axes": [2]}),
        ("ReduceMax", 12, {}),
        ("ReduceLogSumExp", 13, {"axes": [3], "keepdims": 0}),
        ("ReduceL2", 11, {"axes": [0, 1]}),
        ("ReduceSumSquare", 13, {"axes": [-2]}),
        ("ReduceProd", 11, {"axes": [1, 3]}),
        ("Pad", 10, {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 1.5}),
        ("Pad", 10, {"pads": [0, 0, 1, 2, 0, 0, 3, 1], "mode": "reflect"}),
        ("Pad", 10, {"pads": [0, 0, 1, 2, 0, 0, 3, 6], "mode": "edge"}),
        ("Pad", 10, {"pads": [0, 0, -1, 2, 0, 0, 3, -1]}),
        ("Clip", 7, {"min": -0.5}),
        ("Clip", 10, {"min": -0.5, "max": 0.25}),
        ("TopK", 9, {"k": 2, "axis": 1, "outputs": 2}),
        ("Softmax", 7, {}),
        ("Softmax", 11, {"axis": 2}),
        ("Softmax", 12, {"axis": -1}),
        ("Softmax", 13, {"axis": 1}),
        ("LogSoftmax", 11, {"axis": 2}),
        ("LogSoftmax", 13, {"axis": 0}),
        ("Hardmax", 11, {"axis": 2}),
        ("Hardmax", 13, {"axis": -2}),
        ("ArgMax", 11, {"axis": 1, "keepdims": 0}),
        ("ArgMin", 12, {"axis": -1, "select_last_index": 1}),
        ("Elu", 7, {"alpha": 0.7}),
        ("Selu", 7, {}),
        ("HardSigmoid", 7, {}),
        ("Softplus", 7, {}),
        ("ThresholdedRelu", 10, {"alpha": 0.3}),
        ("Celu", 12, {"alpha": 0.5}),
        ("Shrink", 9, {"lambd": 0.4, "bias": 0.1}),
        ("Mish", 18, {}),
        ("HardSwish", 14, {}),
        ("Gelu", 20, {"approximate": "tanh"}),
        ("Gelu", 20, {}),
        ("Transpose", 7, {}),
        ("Transpose", 21, {"perm": [2, 0, 3, 1]}),
        ("Shape", 15, {"start": 1, "end": -1}),
        ("Shape", 15, {"start": -3}),
        ("IsInf", 10, {"detect_negative": 0}),
        ("SpaceToDepth", 7, {"blocksize": 1}),
        ("EyeLike", 9, {}),
    ],
)
def test_an_operator_of_one_input_agrees(op: str, opset: int, attributes: dict[str, Any]) -> None:
    x = _X[0, 0] if op == "EyeLike" else _X

    assert_agrees(op, {"x": x}, opset=opset, **attributes)


def int64(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("op", "opset", "feeds", "attributes"),
    [
        ("TopK", 10, {"x": _X, "k": int64(3)}, {"outputs": 2}),
        ("TopK", 11, {"x": _X, "k": int64(2)}, {"axis": 1, "largest": 0, "outputs": 2}),
        ("Slice", 10, {"x": _X, "s": int64(3, -1), "e": int64(0, -100), "a": int64(2, 3), "t": int64(-2, -1)}, {}),
        ("Slice", 13, {"x": _X, "s": int64(-100), "e": int64(100), "a": int64(-1), "t": int64(3)}, {}),
        ("Slice", 13, {"x": _X, "s": int64(3), "e": int64(1), "a": int64(2)}, {}),
        ("Slice", 13, {"x": _X, "s": int64(-1), "e": int64(-(2**63)), "a": int64(3), "t": int64(-3)}, {}),
        ("Squeeze", 13, {"x": _X[:1, :, :, :1], "a": int64(0, -1)}, {}),
        ("Split", 13, {"x": _X, "s": int64(2, 0, 3)}, {"axis": 3, "outputs": 3}),
        ("Split", 18, {"x": _X}, {"axis": 3, "num_outputs": 2, "outputs": 2}),
        ("ReduceSum", 13, {"x": _X, "a": int64()}, {"noop_with_empty_axes": 1}),
        ("ReduceMean", 18, {"x": _X, "a": int64(-1, 0)}, {"keepdims": 0}),
        ("ReduceMax", 13, {"x": _I}, {"axes": [1]}),
        ("ReduceMin", 18, {"x": _I.astype(np.int8), "a": int64(0)}, {}),
        ("ReduceProd", 18, {"x": _I, "a": int64(1)}, {}),
        ("Clip", 11, {"x": _X, "low": None, "high": np.float32(0.5)}, {}),
        ("Clip", 12, {"x": _I, "low": np.int32(-7), "high": np.int32(9)}, {}),
        ("Pad", 13, {"x": _X, "p": int64(0, 1, 0, 0, 0, 0, 2, 3), "v": np.float32(7)}, {}),
        ("Pad", 18, {"x": _X, "p": int64(1, -1, 2, 0), "v": None, "a": int64(-1, 1)}, {"mode": "edge"}),
        ("Pad", 19, {"x": _X, "p": int64(0, 0, 2, 3, 0, 0, 4, 1)}, {"mode": "wrap"}),
        ("Tile", 13, {"x": _I, "r": int64(2, 3)}, {}),
        ("Expand", 13, {"x": _X[:, :1, :, :1], "s": int64(3, 1, 5)}, {}),
        ("Reshape", 13, {"x": _X, "s": int64(0, -1, 2)}, {}),
        ("Gather", 13, {"x": _X, "i": np.array([[2, -1], [0, -3]], np.int32)}, {"axis": 1}),
        ("Gather", 13, {"x": _X, "i": np.array(-2, np.int64)}, {"axis": 2}),
        ("GatherElements", 13, {"x": _I, "i": int64(0, -1, 2).reshape(1, 3)}, {"axis": 1}),
        ("GatherND", 13, {"x": _X, "i": int64(0, -1, 1, 1).reshape(2, 2)}, {}),
        ("GatherND", 13, {"x": _X, "i": int64(0, -1, 2, 1).reshape(2, 2, 1)}, {"batch_dims": 1}),
        ("ScatterElements", 18, {"x": _I, "i": int64(0, 0, -1).reshape(1, 3), "u": np.int32([[5, 6, 7]])},
         {"axis": 1, "reduction": "add"}),
        ("ScatterElements", 18, {"x": _X, "i": int64(2, 0).reshape(1, 2, 1, 1), "u": _X[:1, :2, :1, :1]},
         {"axis": 1, "reduction": "max"}),
        ("ScatterND", 18, {"x": _X, "i": int64(1, 0, 0, 2).reshape(2, 2), "u": _X[0, :2]}, {"reduction": "mul"}),
        ("ScatterND", 13, {"x": _X, "i": int64(1).reshape(1, 1), "u": _X[:1]}, {}),
        ("CumSum", 14, {"x": _X, "a": np.array(-2, np.int64)}, {"exclusive": 1, "reverse": 1}),
        ("CumSum", 14, {"x": _I, "a": np.array(0, np.int64)}, {}),
        ("OneHot", 11, {"i": int64(0, 5, -1, -9), "d": int64(4), "v": np.float32([0.5, 2])}, {"axis": 0}),
        ("Compress", 11, {"x": _I, "c": np.array([True, False, True])}, {}),
        ("Compress", 11, {"x": _I, "c": np.array([True, False, True])}, {"axis": 1}),
        ("ReverseSequence", 10, {"x": _X[0], "l": int64(2, 1, 3, 3)}, {}),
        ("ReverseSequence", 10, {"x": _X[0], "l": int64(2, 4, 1)}, {"batch_axis": 0, "time_axis": 1}),
        ("NonZero", 13, {"x": _I % 3}, {}),
        ("Unique", 11, {"x": (_I % 5).astype(np.int64)}, {"sorted": 0, "outputs": 4}),
        ("Unique", 11, {"x": (_I % 2).astype(np.float32)}, {"axis": 1, "outputs": 4}),
        ("PRelu", 16, {"x": _X, "s": _X[0, :, :1, :1]}, {}),
        ("Gemm", 13, {"a": _X[0, 0], "b": _X[1, 0], "c": _X[0, 0, :, :1]}, {"transB": 1, "alpha": 0.5, "beta": 2.0}),
        ("Gemm", 7, {"a": _X[0, 0], "b": _X[1, 0], "c": _X[0, 0, 0]}, {"transA": 1}),
        ("Gemm", 13, {"a": _X[0, 0], "b": _X[1, 0], "c": _X[0, 0, 0, :4]}, {"transB": 1}),
        ("MatMul", 13, {"a": _X, "b": _X[0, 0, 0]}, {}),
        ("MatMul", 13, {"a": _I, "b": _I.T.copy()}, {}),
        ("Einsum", 12, {"a": _X, "b": _X[0]}, {"equation": "...ij,kij->...k"}),
        ("Pow", 13, {"x": _I, "y": np.array(2, np.int32)}, {}),
        ("Pow", 13, {"x": np.abs(_X), "y": _I[:1, :1]}, {}),
        ("Mod", 13, {"x": _I, "y": np.array(-7, np.int32)}, {}),
        ("Mod", 13, {"x": _I, "y": np.array(-7, np.int32)}, {"fmod": 1}),
        ("Mod", 13, {"x": _X, "y": np.array(-0.3, np.float32)}, {"fmod": 1}),
        ("Div", 14, {"x": _I, "y": np.array(-7, np.int32)}, {}),
        ("Div", 14, {"x": np.uint8([255, 200, 7]), "y": np.uint8([255, 254, 2])}, {}),
        ("Mod", 13, {"x": np.uint8([255, 200, 7]), "y": np.uint8([255, 254, 2])}, {}),
        ("Div", 14, {"x": np.uint16([65535, 7]), "y": np.uint16([65535, 2])}, {}),
        ("BitShift", 11, {"x": np.uint8([255, 7]), "y": np.uint8([3, 1])}, {"direction": "RIGHT"}),
        ("BitShift", 11, {"x": np.uint64([2**63, 7]), "y": np.uint64([62, 1])}, {"direction": "RIGHT"}),
        ("Where", 9, {"c": _I > 0, "x": _I, "y": -_I}, {}),
        ("Trilu", 14, {"x": _X, "k": np.array(-1, np.int64)}, {"upper": 0}),
        ("Range", 11, {"s": np.int64(10), "l": np.int64(-3), "d": np.int64(-4)}, {}),
        ("ConstantOfShape", 9, {"s": int64(2, 3)}, {}),
        ("DepthToSpace", 13, {"x": _X.reshape(1, 8, 3, 5)}, {"blocksize": 2, "mode": "CRD"}),
        ("QuantizeLinear", 13, {"x": _X * 40, "s": np.float32([0.1, 0.5, 1]), "z": np.int8([0, 3, -7])}, {"axis": 1}),
        ("DequantizeLinear", 13, {"x": _I.astype(np.int8), "s": np.float32([0.1, 0.5, 1, 2]),
                                  "z": np.int8([0, 3, -7, 9])}, {"axis": -1}),
        ("DynamicQuantizeLinear", 11, {"x": _X}, {"outputs": 3}),
        ("MatMulInteger", 10, {"a": _I.astype(np.uint8), "b": _I.T.astype(np.uint8),
                               "x": np.uint8(3), "y": np.uint8(9)}, {}),
        ("ScatterElements", 18, {"x": np.uint8([250, 3]), "i": int64(0, 1), "u": np.uint8([7, 9])},
         {"reduction": "max"}),
        ("Shrink", 16, {"x": np.int64([2**62 + 1, 0, -5])}, {"bias": 2.0}),
        ("Cast", 13, {"x": np.float32([300, -1.5, 50.9, 1e10, -50, 0.5])}, {"to": onnx.TensorProto.INT64}),
        ("Cast", 13, {"x": np.float32([-0.0, 0.0, np.nan, np.inf, 0.1])}, {"to": onnx.TensorProto.BOOL}),
        ("Cast", 13, {"x": np.int32([300, -1, 70000])}, {"to": onnx.TensorProto.INT8}),
        ("Cast", 9, {"x": np.array([True, False])}, {"to": onnx.TensorProto.FLOAT}),
    ],
)  # fmt: skip
def test_an_operator_of_several_inputs_agrees(
    op: str, opset: int, feeds: dict[str, Any], attributes: dict[str, Any]
) -> None:
    given = {name: None if each is None else np.asarray(each) for name, each in feeds.items()}

    assert_agrees(op, given, opset=opset, **attributes)


def test_quantised_products_agree() -> None:
    generator = np.random.default_rng(2)
    a, b = (generator.integers(0, 255, shape).astype(np.uint8) for shape in ((4, 6), (6, 3)))
    feeds = {"a": a, "sa": np.float32(0.02), "za": np.uint8(120), "b": b, "sb": np.float32([0.01, 0.02, 0.05]),
             "zb": np.uint8([110, 128, 3]), "sy": np.float32(0.3), "zy": np.uint8(100)}  # fmt: skip
    assert_agrees("QLinearMatMul", {name: np.asarray(each) for name, each in feeds.items()}, opset=10)


def test_quantised_convolutions_agree() -> None:
    generator = np.random.default_rng(3)
    x = generator.integers(0, 255, (1, 4, 7, 7)).astype(np.uint8)
    # 7 bits: without VNNI, ONNX Runtime's sums of two u8 x s8 products saturate in 16 bits
    w = generator.integers(-63, 63, (6, 2, 3, 3)).astype(np.int8)
    feeds = {"x": x, "sx": np.float32(0.02), "zx": np.uint8(128), "w": w,
             "sw": np.float32(generator.uniform(0.001, 0.02, 6)), "zw": np.zeros(6, np.int8),
             "sy": np.float32(0.3), "zy": np.uint8(100),
             "b": generator.integers(-500, 500, 6).astype(np.int32)}  # fmt: skip
    model = one_node("QLinearConv", {name: np.asarray(each) for name, each in feeds.items()}, opset=10,
                     group=2, pads=[1, 0, 0, 1], strides=[2, 1])  # fmt: skip
    given = {name: np.asarray(each) for name, each in feeds.items()}

    for mode in Mode:
        got, want = by_golden(model, given, mode)[0], by_ort(model, given)[0]
        assert np.abs(got.astype(int) - want.astype(int)).max() <= 1  # a tie may fall either way
        assert (got != want).mean() < 0.01


def test_strings_are_moved_and_compared() -> None:
    words = np.array([["a", "bc"], ["d", "ä"]], dtype=object)
    for op, feeds, attributes in [
        ("Transpose", {"x": words}, {}),
        ("Gather", {"x": words, "i": int64(1)}, {"axis": 1}),
        ("Concat", {"x": words, "y": words}, {"axis": 0}),
        ("Equal", {"x": words, "y": words.T.copy()}, {}),
        ("Reshape", {"x": words, "s": int64(4)}, {}),
        ("Where", {"c": np.array([True, False]), "x": words, "y": words.T.copy()}, {}),
        ("Unique", {"x": words}, {"outputs": 4}),
    ]:
        assert_agrees(op, feeds, opset=19, **attributes)


def test_numbers_become_strings_and_back() -> None:
    text = by_golden(one_node("Cast", {"x": np.int64([12, -3])}, opset=13, to=onnx.TensorProto.STRING),
                     {"x": np.int64([12, -3])})[0]  # fmt: skip
    assert text.tolist() == ["12", "-3"]
    words = np.array(["3.5", "-INF", "1e3"], dtype=object)
    assert_agrees("Cast", {"x": words}, opset=13, to=onnx.TensorProto.FLOAT)


@pytest.mark.parametrize(
    ("op", "opset", "feeds", "attributes"),
    [
        ("TopK", 11, {"x": _X, "k": int64(6)}, {"outputs": 2}),
        ("Split", 13, {"x": _X, "s": int64(2, 2)}, {"axis": 3, "outputs": 2}),
        ("Squeeze", 13, {"x": _X, "a": int64(0)}, {}),
        ("Expand", 13, {"x": _X, "s": int64(7)}, {}),
        ("ScatterND", 13, {"x": _I, "i": int64(3).reshape(1, 1), "u": _I[:1]}, {}),
        ("GatherND", 13, {"x": _I, "i": int64(0, 4).reshape(1, 2)}, {}),
        ("Compress", 11, {"x": _I, "c": np.ones(4, bool)}, {"axis": 0}),
        ("MatMul", 13, {"a": _I, "b": _I}, {}),
        ("Add", 13, {"a": _I, "b": _I.T.copy()}, {}),
        ("Tile", 13, {"x": _I, "r": int64(2)}, {}),
        ("CumSum", 14, {"x": _I, "a": np.array(2, np.int64)}, {}),
    ],
)
def test_the_impossible_is_refused(op: str, opset: int, feeds: dict[str, Any], attributes: dict[str, Any]) -> None:
    with pytest.raises(BadModel, match=op):
        by_golden(one_node(op, feeds, opset=opset, **attributes), feeds)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("Sqrt(i)", "Sqrt node 'y': its input 0 is INT32, which the operator does not take"),
        ("Not(x)", "Not node 'y': its input 0 is FLOAT, which the operator does not take"),
        ("Gather(x, x)", "Gather node 'y': its input 1 is FLOAT, which the operator does not take"),
    ],
)
def test_an_input_of_a_type_that_the_operator_does_not_take_names_its_node(body: str, said: str) -> None:
    text = f'<ir_version: 9, opset_import: ["": 17]> g (float[2] x, int32[2] i) => (float[2] y) {{ y = {body} }}'
    run = Executor(parser.parse_model(text), Mode.FLOAT64)

    with pytest.raises(BadModel) as caught:
        run.run({"x": np.zeros(2, np.float32), "i": np.zeros(2, np.int32)})

    assert caught.value.message == said
