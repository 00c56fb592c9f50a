"""Quantisation: ties, saturation, and convolutions between QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from sysnoise_conform.probe.arrays import Array, f32, i8, u8
from sysnoise_conform.probe.case import Kind, ProbeCase, Trigger, Values, case
from sysnoise_conform.probe.convolution import convolve


def _quantised(x: Array, scale: float, zero: int, dtype: type[np.signedinteger | np.unsignedinteger]) -> Array:
    """QuantizeLinear: half to even, then within the type's bounds."""
    bounds = np.iinfo(dtype)
    steps: Array = np.clip(np.rint(x / scale) + zero, bounds.min, bounds.max)
    return steps


def _conv(rng: np.random.Generator, word: str, dtype: type[Any], zero: int) -> ProbeCase:
    """A convolution as quantisers write it: float in and out, 8 bits in between, its weights at their extremes."""
    scale, weight_scale, out_scale = 2.0**-7, 2.0**-5, 1.25  # powers of two: only the output's is rounded to
    x = rng.random((1, 32, 8, 8), dtype=np.float32) * f32(2 if dtype is np.uint8 and not zero else 1)
    w = rng.choice(i8([-128, -127, 126, 127]), (8, 32, 3, 3))
    inner = (_quantised(x.astype(np.float64), scale, zero, dtype) - zero) * scale
    y = convolve(inner, w.astype(np.float64) * weight_scale, pads=(1, 1, 1, 1))
    steps = _quantised(y, out_scale, zero, dtype) - zero
    names = [("x", "x_q", scale, "QuantizeLinear"), ("x_q", "x_d", scale, "DequantizeLinear")]
    nodes = [helper.make_node(op, [a, f"s_{i}", "zero"], [b]) for i, (a, b, _, op) in enumerate(names)]
    nodes += [
        helper.make_node("DequantizeLinear", ["w", "s_w", "zero_w"], ["w_d"]),
        helper.make_node("Conv", ["x_d", "w_d"], ["c"], name="node", pads=[1] * 4),
        helper.make_node("QuantizeLinear", ["c", "s_y", "zero"], ["y_q"]),
        helper.make_node("DequantizeLinear", ["y_q", "s_y", "zero"], ["y"]),
    ]
    return ProbeCase(
        name=f"qdq-conv-{word}", op_type="Conv, quantised", about=f"QDQ, {np.dtype(dtype).name}, zero point {zero}",
        kind=Kind.CONTROL, why="8-bit sums in 32 bits", nodes=tuple(nodes), feeds={"x": x},
        constants={
            "w": w, "zero": np.array(zero, dtype), "zero_w": np.array(0, np.int8), "s_0": f32(scale),
            "s_1": f32(scale), "s_w": f32(weight_scale),
            "s_y": f32(out_scale),
        },
        outputs={"y": TensorProto.FLOAT}, opset=13,
        truth=Values(
            arrays={"y": (steps * out_scale)}, allowed=out_scale * 1.001,
            why="one step: a sum beside a tie may fall on either side",
        ),
    )  # fmt: skip


def _joined(rng: np.random.Generator, word: str, dtype: type[Any]) -> ProbeCase:
    """Two float tensors, joined, rounded by one scale and convolved: with int8 OpenVINO loses the scale."""
    scale, weight_scale, size = 8.0, 2.0**-5, (1, 2, 4, 4)
    zero = 128 if dtype is np.uint8 else 0
    a, b = (f32(rng.integers(-100, 101, size) * scale) for _ in range(2))  # codes times the scale: nothing is a tie
    w = rng.integers(-127, 128, (3, 4, 1, 1)).astype(np.int8)
    y = convolve(np.concatenate([a, b], 1).astype(np.float64), w.astype(np.float64) * weight_scale)
    nodes = (
        helper.make_node("Concat", ["a", "b"], ["c"], axis=1),
        helper.make_node("QuantizeLinear", ["c", "s", "zero"], ["c_q"]),
        helper.make_node("DequantizeLinear", ["c_q", "s", "zero"], ["c_d"]),
        helper.make_node("DequantizeLinear", ["w", "s_w", "zero_w"], ["w_d"]),
        helper.make_node("Conv", ["c_d", "w_d"], ["y"], name="node"),
    )
    return ProbeCase(
        name=f"qdq-concat-{word}", op_type="Conv, quantised", about=f"QDQ, {word}, of a Concat of floats",
        kind=Kind.BUG if dtype is np.int8 else Kind.CONTROL, why="the scale holds before and behind the Concat",
        nodes=nodes, feeds={"a": a, "b": b},
        constants={
            "w": w, "zero": np.array(zero, dtype), "zero_w": np.array(0, np.int8), "s": f32(scale),
            "s_w": f32(weight_scale),
        },
        outputs={"y": TensorProto.FLOAT}, opset=13,
        truth=Values(arrays={"y": y}, allowed=float(np.abs(y).max()) * 2.0**-20, why="a handful of roundings"),
    )  # fmt: skip


def _read_twice(rng: np.random.Generator, word: str, *, open_batch: bool) -> ProbeCase:
    """A convolution in 8 bits whose result is read before its rounding and behind it, as where a gate multiplies it.

    Where a size of the graph is open, OpenVINO rounds it without the scales of what it read.
    """
    scale, weight_scale, out_scale = 2.0**-3, 2.0**-5, 1.25
    x = f32(rng.integers(-100, 101, (1, 2, 4, 4)) * scale)
    w = rng.integers(-127, 128, (3, 2, 1, 1)).astype(np.int8)
    y = convolve(x.astype(np.float64), w.astype(np.float64) * weight_scale)
    steps = _quantised(y, out_scale, 0, np.int8)
    nodes = (
        helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "s", "zero"], ["x_d"]),
        helper.make_node("DequantizeLinear", ["w", "s_w", "zero"], ["w_d"]),
        helper.make_node("Conv", ["x_d", "w_d"], ["c"], name="node"),
        helper.make_node("QuantizeLinear", ["c", "s_y", "zero"], ["c_q"]),
        helper.make_node("DequantizeLinear", ["c_q", "s_y", "zero"], ["c_d"]),
        helper.make_node("Sub", ["c_d", "c"], ["y"]),
    )
    return ProbeCase(
        name=f"qdq-conv-read-twice-{word}", op_type="Conv, quantised", about=f"QDQ, int8, read twice, batch {word}",
        kind=Kind.BUG if open_batch else Kind.CONTROL, why="the same scale for whoever reads it", nodes=nodes,
        feeds={"x": x}, open_batch=open_batch,
        constants={
            "w": w, "zero": np.array(0, np.int8), "s": f32(scale), "s_w": f32(weight_scale), "s_y": f32(out_scale),
        },
        outputs={"y": TensorProto.FLOAT}, opset=13,
        truth=Values(
            arrays={"y": steps * out_scale - y}, allowed=out_scale * 1.001,
            why="one step: a sum beside a tie may fall on either side",
        ),
    )  # fmt: skip


def cases() -> tuple[ProbeCase, ...]:
    """All of them."""
    rng = np.random.default_rng(24)
    ties = f32([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 200, -200, 127.5, -128.5])
    one, zero = np.array(1, np.float32), np.array(0, np.int8)
    stored = ("scale", "zero")
    bytes_ = rng.integers(0, 256, (2, 3, 4), dtype=np.uint8)
    scales, zeros = f32([0.5, 0.25, 2]), u8([0, 128, 255])
    return (
        case("quantizelinear-ties", "QuantizeLinear", "int8, ties", Kind.CONTROL, "half to even, then saturated",
             {"x": ties, "scale": one, "zero": zero}, i8([0, 2, 2, 0, -2, -2, 127, -128, 127, -128]),
             constants=stored, opset=13, trigger=Trigger(), when="where a value is a tie"),
        case("dequantizelinear-axis", "DequantizeLinear", "uint8, per channel, axis=1", Kind.CONTROL,
             "each channel has its own scale and zero point", {"x": bytes_, "scale": scales, "zero": zeros},
             ((bytes_.astype(np.float32) - zeros.astype(np.float32)[:, None]) * scales[:, None]).astype(np.float32),
             constants=stored, attributes={"axis": 1}, opset=13,
             trigger=Trigger(also=lambda node: (node.shape(1) or ()) not in ((), (1,)))),
        _conv(rng, "uint8", np.uint8, 0),
        _conv(rng, "uint8-128", np.uint8, 128),
        _conv(rng, "int8", np.int8, 0),
        _conv(rng, "int8-5", np.int8, 5),
        _joined(rng, "int8", np.int8),
        _joined(rng, "uint8", np.uint8),
        _read_twice(rng, "open", open_batch=True),
        _read_twice(rng, "fixed", open_batch=False),
    )  # fmt: skip
