"""One small network in every precision that a graph can be written in, by hand: what runtimes are asked to take."""

from __future__ import annotations

import numpy as np
import onnx
from graphs import graph
from ml_dtypes import bfloat16
from onnx import numpy_helper

_TYPES = {"fp32": ("float", np.float32), "fp16": ("float16", np.float16), "bf16": ("bfloat16", bfloat16)}
_FLOAT = """net (float[1,4,8,8] x) => (float[1,3] y) {{
    {narrow} c = Conv <pads = [1, 1, 1, 1]> (n, w, b) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p)
    g = Gemm <transB = 1> (f, v, d) {wide} }}"""
_QDQ = """net (float[1,4,8,8] x) => (float[1,3] y) {
    x_q = QuantizeLinear(x, xs, xz) x_d = DequantizeLinear(x_q, xs, xz) w_d = DequantizeLinear <axis = 0> (w, ws, wz)
    c = Conv <pads = [1, 1, 1, 1]> (x_d, w_d, b)
    c_q = QuantizeLinear(c, rs, rz) c_d = DequantizeLinear(c_q, rs, rz) r = Relu(c_d)
    r_q = QuantizeLinear(r, rs, rz) r_d = DequantizeLinear(r_q, rs, rz)
    p = GlobalAveragePool(r_d) p_q = QuantizeLinear(p, rs, rz) p_d = DequantizeLinear(p_q, rs, rz) f = Flatten(p_d)
    f_q = QuantizeLinear(f, rs, rz) f_d = DequantizeLinear(f_q, rs, rz)
    v_d = DequantizeLinear <axis = 0> (v, vs, vz) g = Gemm <transB = 1> (f_d, v_d, d)
    g_q = QuantizeLinear(g, gs, gz) y = DequantizeLinear(g_q, gs, gz) }"""


def network(precision: str) -> onnx.ModelProto:
    """Conv, Relu, pooling and Gemm: float32 in and out, inside fp32, fp16, bf16 or int8 (by Q and DQ)."""
    draw = np.random.default_rng(5)
    w, v = draw.normal(size=(8, 4, 3, 3)) / 6, draw.normal(size=(3, 8)) / 2
    b, d = draw.normal(size=8) / 4, draw.normal(size=3) / 4
    return _quantised(w, b, v, d) if precision == "int8" else _floating(precision, w, b, v, d)


def sample() -> np.ndarray:
    """A feed for `x`."""
    return np.random.default_rng(6).normal(size=(1, 4, 8, 8)).astype(np.float32)


def _floating(precision: str, *weights: np.ndarray) -> onnx.ModelProto:
    _, dtype = _TYPES[precision]
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    narrow = "n = Identity(x)" if precision == "fp32" else f"n = Cast <to = {kind}> (x)"
    wide = "y = Identity(g)" if precision == "fp32" else "y = Cast <to = 1> (g)"
    # Conv takes bfloat16 from opset 22 on.
    model = graph(_FLOAT.format(narrow=narrow, wide=wide), opset=22 if precision == "bf16" else 19, ir_version=9)
    for name, array in zip("wbvd", weights, strict=True):
        model.graph.initializer.append(numpy_helper.from_array(array.astype(dtype), name))
    return model


def _quantised(w: np.ndarray, b: np.ndarray, v: np.ndarray, d: np.ndarray) -> onnx.ModelProto:
    """Symmetric weights per channel, symmetric int8 activations, float biases: the form that most runtimes take."""
    model = graph(_QDQ, opset=19)
    scales = {"xs": 4 / 127, "rs": 3 / 127, "gs": 3 / 127}
    arrays = {name: np.array(value, np.float32) for name, value in scales.items()}
    arrays |= {name: np.array(0, np.int8) for name in ("xz", "rz", "gz")}
    for name, weight in (("w", w), ("v", v)):
        scale = np.abs(weight).reshape(weight.shape[0], -1).max(1) / 127
        shape = (-1, *[1] * (weight.ndim - 1))
        arrays[name] = np.rint(weight / scale.reshape(shape)).astype(np.int8)
        arrays[f"{name}s"], arrays[f"{name}z"] = scale.astype(np.float32), np.zeros(len(scale), np.int8)
    arrays |= {"b": b.astype(np.float32), "d": d.astype(np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return model
