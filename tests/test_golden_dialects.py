"""Dialects of other processors, each against a loop in numpy that knows nothing of the emulation."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import graph, ramp
from onnx import numpy_helper

from sysnoise_conform.golden.dialects import Dialect, translated
from sysnoise_conform.golden.executor import Executor, Mode, to_numpy

AVX2 = Dialect(u8s8="saturate")


def add(model: onnx.ModelProto, **weights: np.ndarray) -> onnx.ModelProto:
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


def run(model: onnx.ModelProto, dialect: Dialect, feeds: dict[str, np.ndarray]) -> dict[str, Any]:
    spoken, count = translated(model, dialect)
    assert count
    return {name: to_numpy(value) for name, value in Executor(spoken, Mode.FLOAT32).run(feeds).items()}


def plain(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: to_numpy(value) for name, value in Executor(model, Mode.FLOAT32).run(feeds).items()}


def vpmaddubsw(unsigned: np.ndarray, signed: np.ndarray) -> int:
    """One dot product of bytes as the instruction and the additions after it make it."""
    total = 0
    for i in range(0, len(unsigned), 2):
        pair = sum(int(u) * int(s) for u, s in zip(unsigned[i : i + 2], signed[i : i + 2], strict=True))
        total += min(max(pair, -32768), 32767)
    return total


def gemm_of_pairs(a: np.ndarray, b: np.ndarray, a_zero: int = 0, b_zero: int = 0) -> np.ndarray:
    """(a - a_zero) @ (b - b_zero): signed activations are shifted to unsigned, zero points come off the sum."""
    shift = 128 if a.dtype == np.int8 else 0
    unsigned, zero = a.astype(np.int64) + shift, a_zero + shift
    out = np.zeros((a.shape[0], b.shape[1]), np.int64)
    for m, n in np.ndindex(*out.shape):
        column = b[:, n].astype(np.int64)
        dot = vpmaddubsw(unsigned[m], column)
        out[m, n] = dot - zero * column.sum() - b_zero * unsigned[m].sum() + len(column) * zero * b_zero
    return out


def codes(seed: int, kind: type, *shape: int) -> np.ndarray:
    info = np.iinfo(kind)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(kind)


@pytest.mark.parametrize("depth", [1, 2, 7, 64])
@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_pairs_of_products_saturate_as_vpmaddubsw_does(kind: type, depth: int) -> None:
    a, b = codes(1, kind, 5, depth), codes(2, np.int8, depth, 9)
    a[0], b[:, 0] = np.iinfo(kind).max, 127  # every pair of it saturates
    word = "uint8" if kind is np.uint8 else "int8"
    text = f"g ({word}[5,{depth}] a, {word} z) => (int32[5,9] y) {{ y = MatMulInteger(a, b, z) }}"
    model = add(graph(text), b=b)
    zero = np.array(100, kind)
    got = run(model, AVX2, {"a": a, "z": zero})["y"]
    np.testing.assert_array_equal(got, gemm_of_pairs(a, b, int(zero)))
    exact = plain(model, {"a": a, "z": zero})["y"]
    assert (depth == 1) == np.array_equal(got, exact)


def test_unsigned_weights_are_exact_without_vnni_as_well() -> None:
    a, b = codes(1, np.uint8, 4, 32), codes(2, np.uint8, 32, 6)
    model = add(graph("g (uint8[4,32] a) => (int32[4,6] y) { y = MatMulInteger(a, b) }"), b=b)
    np.testing.assert_array_equal(run(model, AVX2, {"a": a})["y"], a.astype(np.int64) @ b.astype(np.int64))


def test_weights_of_seven_bits_never_saturate() -> None:
    a, b = codes(1, np.uint8, 4, 32), codes(2, np.int8, 32, 6) // 2
    model = add(graph("g (uint8[4,32] a) => (int32[4,6] y) { y = MatMulInteger(a, b) }"), b=b)
    np.testing.assert_array_equal(run(model, AVX2, {"a": a})["y"], a.astype(np.int64) @ b.astype(np.int64))


def conv_of_pairs(x: np.ndarray, w: np.ndarray, x_zero: int, stride: int, pad: int, group: int) -> np.ndarray:
    """The convolution of codes, summed over kernel positions and, within one, over neighbouring channels."""
    shift = 128 if x.dtype == np.int8 else 0
    wide = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=x_zero) + shift
    n, m, inner, k = x.shape[0], w.shape[0], w.shape[1], w.shape[2]
    size = (wide.shape[2] - k) // stride + 1
    out = np.zeros((n, m, size, size), np.int64)
    for image, channel, row, column in itertools.product(range(n), range(m), range(size), range(size)):
        first = channel // (m // group) * inner
        at = np.s_[image, first : first + inner, row * stride : row * stride + k, column * stride : column * stride + k]
        patch, kernel = (each.transpose(1, 2, 0).reshape(-1) for each in (wide[at], w[channel].astype(np.int64)))
        out[image, channel, row, column] = vpmaddubsw(patch, kernel) - (x_zero + shift) * kernel.sum()
    return out


@pytest.mark.parametrize(("kind", "channels", "group", "stride"), [
    (np.uint8, 4, 1, 1), (np.int8, 3, 1, 2), (np.uint8, 6, 2, 1),
])  # fmt: skip
def test_a_convolution_of_codes_pairs_neighbouring_channels(kind: type, channels: int, group: int, stride: int) -> None:
    x, w = codes(3, kind, 2, channels, 6, 6), codes(4, np.int8, 4, channels // group, 3, 3)
    w[0] = 127
    zero = 77 if kind is np.uint8 else -20
    word = "uint8" if kind is np.uint8 else "int8"
    model = graph(f"""g ({word}[2,{channels},6,6] x) => (int32[n,c,h,w] y) {{
        y = ConvInteger <pads = [1, 1, 1, 1], strides = [{stride}, {stride}], group = {group}> (x, w, z) }}""")
    add(model, w=w, z=np.array(zero, kind))
    got = run(model, AVX2, {"x": x})["y"]
    np.testing.assert_array_equal(got, conv_of_pairs(x, w, zero, stride, 1, group))
    assert not np.array_equal(got, plain(model, {"x": x})["y"])


def test_a_depthwise_convolution_has_a_kernel_that_does_not_saturate() -> None:
    x, w = codes(3, np.uint8, 1, 4, 6, 6), codes(4, np.int8, 4, 1, 3, 3)
    model = add(graph("g (uint8[1,4,6,6] x) => (int32[1,4,4,4] y) { y = ConvInteger <group = 4> (x, w) }"), w=w)
    np.testing.assert_array_equal(run(model, AVX2, {"x": x})["y"], plain(model, {"x": x})["y"])


QDQ_CONV = """g (float[1,4,6,6] x) => (float[1,5,4,4] y) {{
    a = QuantizeLinear(x, xs, xz) b = DequantizeLinear(a, xs, xz)
    v = DequantizeLinear <axis = 0> (w, ws, wz) c = Conv(b, v, bias) {after}
}}"""


def qdq_conv(after: str) -> tuple[onnx.ModelProto, np.ndarray]:
    w = codes(5, np.int8, 5, 4, 3, 3)
    w[0] = 127
    scales = np.linspace(0.01, 0.02, 5, dtype=np.float32)
    model = add(
        graph(QDQ_CONV.format(after=after)), w=w, ws=scales, wz=np.zeros(5, np.int8), xs=np.array(0.02, np.float32),
        xz=np.array(10, np.uint8), bias=np.linspace(-1, 1, 5, dtype=np.float32), ys=np.array(0.5, np.float32),
        yz=np.array(60, np.uint8),
    )  # fmt: skip
    return model, w


def test_a_graph_of_q_and_dq_is_summed_where_a_runtime_would_fuse_it() -> None:
    model, w = qdq_conv("r = Relu(c) q = QuantizeLinear(r, ys, yz) y = DequantizeLinear(q, ys, yz)")
    x = np.random.default_rng(6).uniform(-0.2, 4.9, (1, 4, 6, 6)).astype(np.float32)
    quantised = np.clip(np.rint(x / np.float32(0.02)) + 10, 0, 255).astype(np.uint8)
    sums = conv_of_pairs(quantised, w, 10, 1, 0, 1)
    scale = (np.float32(0.02) * np.linspace(0.01, 0.02, 5, dtype=np.float32))[:, None, None]
    real = np.maximum(sums * scale + np.linspace(-1, 1, 5)[:, None, None], 0)
    want = (np.clip(np.rint(real / 0.5) + 60, 0, 255) - 60) * 0.5
    got = run(model, AVX2, {"x": x})["y"]
    assert np.abs(got - want).max() <= 0.5  # one code, where float32 and float64 round a near tie apart
    assert (got != want).mean() < 0.01
    assert (got != plain(model, {"x": x})["y"]).mean() > 0.1


def test_a_convolution_that_no_quantisation_follows_stays_in_float() -> None:
    model, _ = qdq_conv("y = Relu(c)")
    assert translated(model, AVX2)[1] == 0


@pytest.mark.parametrize("text", [
    "y = MatMul(a, b)", "y = Gemm(a, b)", "y = Gemm <transB = 1> (a, t)",
    "y = Gemm <alpha = 0.5, beta = 2.0> (a, b, c)",
])  # fmt: skip
def test_a_dequantised_matrix_product_is_one_of_codes(text: str) -> None:
    qa, qb = codes(7, np.uint8, 4, 16), codes(8, np.int8, 16, 3)
    qb[:, 0] = 127
    scales = np.array([0.01, 0.02, 0.03], np.float32)
    model = graph(f"""g (uint8[4,16] qa) => (float[4,3] y) {{
        a = DequantizeLinear(qa, sa, za) b = DequantizeLinear <axis = 1> (qb, sb)
        t = DequantizeLinear <axis = 0> (qt, sb) {text} }}""")
    add(model, qb=qb, qt=qb.T.copy(), sa=np.array(0.1, np.float32), za=np.array(9, np.uint8), sb=scales,
        c=np.array([1, 2, 3], np.float32))  # fmt: skip
    want = gemm_of_pairs(qa, qb, 9) * np.float32(0.1) * scales.astype(np.float64)
    if "alpha" in text:
        want = 0.5 * want + 2 * np.array([1, 2, 3])
    np.testing.assert_allclose(run(model, AVX2, {"qa": qa})["y"], want, rtol=1e-6, atol=1e-5)


def test_ties_of_a_quantisation_go_away_from_zero_on_request() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, -0.49999997, 3.2, 8388609.0, np.nan], np.float32)
    model = add(graph("g (float[11] x) => (int8[11] y) { y = QuantizeLinear(x, s, z) }"),
                s=np.array(1, np.float32), z=np.array(0, np.int8))  # fmt: skip
    got = run(model, Dialect(requantise="half_away"), {"x": x})["y"]
    np.testing.assert_array_equal(got[:10], [1, 2, 3, -1, -2, -3, 0, 0, 3, 127])
    np.testing.assert_array_equal(plain(model, {"x": x})["y"][:6], [0, 2, 2, 0, -2, -2])


def test_a_requantisation_of_integer_sums_rounds_ties_away_from_zero_on_request() -> None:
    a, b = np.array([[1], [3], [5]], np.uint8), np.array([[1, 3]], np.uint8)
    model = graph("""g (uint8[3,1] a) => (uint8[3,2] y) {
        y = QLinearMatMul(a, one, zero, b, one, zero, two, zero) }""")
    add(model, b=b, one=np.array(1, np.float32), two=np.array(2, np.float32), zero=np.array(0, np.uint8))
    away = run(model, Dialect(requantise="half_away"), {"a": a})["y"]
    even = plain(model, {"a": a})["y"]
    np.testing.assert_array_equal(away, [[1, 2], [2, 5], [3, 8]])  # of 0.5 1.5, 1.5 4.5, 2.5 7.5
    np.testing.assert_array_equal(even, [[0, 2], [2, 4], [2, 8]])


def to_tf32(x: np.ndarray) -> np.ndarray:
    """To 10 bits of fraction, by the definition: the nearest multiple of the last place, ties away from zero."""
    out = np.empty_like(x)
    for at, value in np.ndenumerate(x.astype(np.float64)):
        if value == 0 or not np.isfinite(value):
            out[at] = value
            continue
        place = 2.0 ** (max(np.floor(np.log2(abs(value))), -126) - 10)
        out[at] = np.sign(value) * np.floor(abs(value) / place + 0.5) * place
    return out


@pytest.mark.parametrize("text", ["y = MatMul(a, b)", "y = Gemm(a, b)"])
def test_operands_are_rounded_to_tf32_and_summed_in_float32(text: str) -> None:
    draw = np.random.default_rng(9)
    a, b = draw.normal(size=(4, 32)).astype(np.float32), draw.normal(size=(32, 3)).astype(np.float32)
    a[0, :4] = [1 + 2**-11, -1 - 2**-11, 1 + 2**-11 - 2**-20, 2**-127]
    model = graph(f"g (float[4,32] a, float[32,3] b) => (float[4,3] y) {{ {text} }}")
    got = run(model, Dialect(operands="tf32"), {"a": a, "b": b})["y"]
    want = to_tf32(a).astype(np.float64) @ to_tf32(b).astype(np.float64)
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6)
    assert np.abs(got - a.astype(np.float64) @ b).max() > 1e-4


def test_inf_and_nan_survive_the_rounding_to_tf32() -> None:
    x = np.array([[np.inf, 1.0], [np.nan, 1.0], [np.finfo(np.float32).max, 0]], np.float32)
    model = graph("g (float[3,2] x, float[2,1] b) => (float[3,1] y) { y = MatMul(x, b) }")
    got = run(model, Dialect(operands="tf32"), {"x": x, "b": np.ones((2, 1), np.float32)})["y"].ravel()
    assert np.isinf(got[0])
    assert np.isnan(got[1])
    assert np.isinf(got[2])  # rounds up beyond TF32's largest number


@pytest.mark.parametrize(("kind", "dtype"), [("fp16", np.float16), ("bf16", "bfloat16")])
def test_operands_are_rounded_to_sixteen_bits(kind: str, dtype: Any) -> None:
    import ml_dtypes

    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    x = np.random.default_rng(1).normal(size=(1, 3, 5, 5)).astype(np.float32)
    w = np.random.default_rng(2).normal(size=(2, 3, 1, 1)).astype(np.float32)
    model = graph("g (float[1,3,5,5] x, float[2,3,1,1] w) => (float[1,2,5,5] y) { y = Conv(x, w) }")
    got = run(model, Dialect(operands=kind), {"x": x, "w": w})["y"]
    rounded = [each.astype(dtype).astype(np.float64) for each in (x, w)]
    np.testing.assert_allclose(got, np.einsum("nchw,oc->nohw", rounded[0], rounded[1][:, :, 0, 0]), atol=1e-5)


def half_dot(a: np.ndarray, b: np.ndarray) -> np.float16:
    """One sum in float16: the exact product and sum, rounded once each step."""
    total = np.float16(0)
    for x, y in zip(a.astype(np.float16), b.astype(np.float16), strict=True):
        total = np.float16(np.longdouble(total) + np.longdouble(x) * np.longdouble(y))
    return total


def test_sums_in_float16_round_after_every_product() -> None:
    draw = np.random.default_rng(11)
    a, b = draw.uniform(0, 1, (3, 200)).astype(np.float32), draw.uniform(0, 1, (200, 2)).astype(np.float32)
    model = graph("g (float[3,200] a, float[200,2] b) => (float[3,2] y) { y = MatMul(a, b) }")
    got = run(model, Dialect(accumulate="fp16"), {"a": a, "b": b})["y"]
    want = np.array([[half_dot(row, column) for column in b.T] for row in a], np.float32)
    np.testing.assert_array_equal(got, want)
    assert np.abs(want - a.astype(np.float64) @ b).max() > 1e-2  # what only the sum's type explains


def test_a_float16_sum_overflows() -> None:
    model = graph("g (float[1,3] a, float[3,1] b) => (float[1,1] y) { y = MatMul(a, b) }")
    feeds = {"a": np.full((1, 3), 200, np.float32), "b": np.array([[200], [200], [-200]], np.float32)}
    assert np.isinf(run(model, Dialect(accumulate="fp16"), feeds)["y"]).all()


def test_a_convolution_sums_in_float16_over_positions_and_channels() -> None:
    draw = np.random.default_rng(12)
    x, w = draw.normal(size=(1, 4, 5, 5)).astype(np.float32), draw.normal(size=(4, 2, 3, 3)).astype(np.float32)
    bias = np.array([1, -1, 2, 0.5], np.float32)
    model = add(graph("g (float[1,4,5,5] x) => (float[1,4,3,3] y) { y = Conv <group = 2> (x, w, c) }"), w=w, c=bias)
    got = run(model, Dialect(accumulate="fp16"), {"x": x})["y"]
    for channel, row, column in itertools.product(range(4), range(3), range(3)):
        first = channel // 2 * 2
        patch = x[0, first : first + 2, row : row + 3, column : column + 3].transpose(1, 2, 0).reshape(-1)
        dot = half_dot(patch, w[channel].transpose(1, 2, 0).reshape(-1))
        assert got[0, channel, row, column] == np.float32(dot) + bias[channel]


SUBNORMAL = np.float32(1e-40)


def test_arithmetic_reads_and_writes_subnormals_as_zero_and_moves_keep_them() -> None:
    model = graph("""g (float[3] x, float[1] big) => (float[3] half, float[3] read, float[3] kept) {
        half = Mul(x, tiny) read = Mul(x, big) kept = Identity(x) }""")
    add(model, tiny=np.array([0.25], np.float32))
    x = np.array([SUBNORMAL, -2e-38, 1.0], np.float32)
    got = run(model, Dialect(subnormals="flush"), {"x": x, "big": np.array([1e30], np.float32)})
    np.testing.assert_array_equal(got["half"], [0, 0, 0.25])  # -5e-39 is subnormal
    assert np.signbit(got["half"][1])
    np.testing.assert_array_equal(got["read"], np.array([0, -2e-38, 1], np.float32) * np.float32(1e30))
    np.testing.assert_array_equal(got["kept"], x)


FLUSHING = """
import sys
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.add_session_config_entry("session.set_denormal_as_zero", "1")
session = ort.InferenceSession(sys.argv[1] + "/model.onnx", options, providers=["CPUExecutionProvider"])
np.savez(sys.argv[1] + "/out.npz", **dict(zip("yz", session.run(["y", "z"], {"x": np.load(sys.argv[1] + "/x.npy")}))))
"""


def test_flushing_is_what_onnx_runtime_does_when_it_is_told_to(tmp_path: Path) -> None:
    """In a process of its own: there the option is that of the first session, and changes the thread for good."""
    pytest.importorskip("onnxruntime")
    model = graph("""g (float[64] x) => (float[64] y, float[64] z) {
        a = Mul(x, small) y = Mul(a, large) b = Add(x, x) z = Mul(b, large) }""")
    add(model, small=np.array([1e-3], np.float32), large=np.array([1e30], np.float32))
    x = (10.0 ** np.random.default_rng(3).uniform(-44, -34, 64)).astype(np.float32)
    onnx.save(model, tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", x)
    subprocess.run([sys.executable, "-P", "-c", FLUSHING, str(tmp_path)], check=True, timeout=60)

    got, unflushed = run(model, Dialect(subnormals="flush"), {"x": x}), plain(model, {"x": x})
    for name, array in np.load(tmp_path / "out.npz").items():
        np.testing.assert_allclose(got[name], array, rtol=1e-6)
        assert (unflushed[name] != array).any()


def test_a_flushed_graph_keeps_its_shapes() -> None:
    model = graph("""g (float[2,6] x) => (float[m] y) {
        s = Shape(x) f = Cast<to = 1>(s) p = ReduceProd<keepdims = 1>(f) n = Cast<to = 7>(p) r = Reshape(x, n)
        y = Exp(r) }""", opset=18)  # fmt: skip
    assert run(model, Dialect(subnormals="flush"), {"x": ramp(2, 6)})["y"].shape == (12,)


def test_dialects_combine() -> None:
    a, b = codes(1, np.uint8, 2, 8), codes(2, np.int8, 8, 3)
    b[:, 0] = 127
    model = graph("""g (uint8[2,8] a) => (int8[2,3] y) {
        y = QLinearMatMul(a, one, zero, b, one, none, many, none) }""")
    add(model, b=b, one=np.array(1, np.float32), zero=np.array(0, np.uint8), none=np.array(0, np.int8),
        many=np.array(2048, np.float32))  # fmt: skip
    got = run(model, Dialect(u8s8="saturate", requantise="half_away"), {"a": a})["y"]
    real = gemm_of_pairs(a, b) / 2048
    np.testing.assert_array_equal(got, np.clip(np.sign(real) * np.floor(np.abs(real) + 0.5), -128, 127))


def test_an_empty_product_is_zero() -> None:
    model = graph("g (float[2,0] a, float[0,3] b) => (float[2,3] y) { y = MatMul(a, b) }")
    feeds = {"a": np.zeros((2, 0), np.float32), "b": np.zeros((0, 3), np.float32)}
    np.testing.assert_array_equal(run(model, Dialect(accumulate="fp16"), feeds)["y"], np.zeros((2, 3)))
