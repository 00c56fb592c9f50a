from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden_oracle import Array, assert_agrees, by_golden, by_ort, one_node, run
from onnx import helper

from sysnoise_conform.errors import UnsupportedOperator
from sysnoise_conform.golden.executor import Mode

RNG = np.random.default_rng(0)


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def agrees(op: str, feeds: dict[str, Array | None], **node: Any) -> None:
    assert_agrees(op, feeds, domain="com.microsoft", **node)


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [
        ("Relu", []),
        ("Tanh", []),
        ("Sigmoid", []),
        ("LeakyRelu", [0.2]),
        ("Clip", [-0.5, 0.6]),
        ("HardSigmoid", [0.3, 0.4]),
    ],
)
def test_fused_conv_agrees_with_onnxruntime(activation: str, parameters: list[float]) -> None:
    feeds = {"x": floats(1, 4, 7, 8), "w": floats(6, 2, 3, 3), "b": floats(6)}
    node = {"activation": activation, "group": 2, "pads": [1, 0, 1, 2]}
    agrees("FusedConv", feeds, **node, **({"activation_params": parameters} if parameters else {}))
    agrees("FusedConv", {**feeds, "z": floats(1, 6, 7, 8)}, activation="Relu", group=2, pads=[1, 1, 1, 1])


@pytest.mark.parametrize("flags", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (1, 1, 1, 0), (0, 1, 0, 1), (0, 0, 1, 1)])
def test_fused_matmul_agrees_with_onnxruntime(flags: tuple[int, int, int, int]) -> None:
    trans_a, trans_b, batch_a, batch_b = flags

    def stored(rows: int, columns: int, transposed: int, batch_inside: int) -> Array:
        rows, columns = (columns, rows) if transposed else (rows, columns)
        return floats(rows, 2, 3, columns) if batch_inside else floats(2, 3, rows, columns)

    feeds = {"a": stored(4, 5, trans_a, batch_a), "b": stored(5, 6, trans_b, batch_b)}
    agrees("FusedMatMul", feeds, transA=trans_a, transB=trans_b, transBatchA=batch_a, transBatchB=batch_b, alpha=0.7)


def test_fused_gemm_agrees_with_onnxruntime() -> None:
    feeds = {"a": floats(3, 4), "b": floats(5, 4), "c": floats(5)}
    agrees("FusedGemm", feeds, transB=1, activation="Relu", alpha=0.5, beta=2.0)


def test_the_gelus_agree_with_onnxruntime() -> None:
    x, bias = floats(3, 7), floats(7)
    agrees("Gelu", {"x": x})
    agrees("QuickGelu", {"x": x}, alpha=1.3)
    agrees("BiasGelu", {"x": x, "b": bias})
    agrees("FastGelu", {"x": x})
    agrees("FastGelu", {"x": x, "b": bias})


@pytest.mark.parametrize("biased", [False, True])
def test_skip_layer_normalisations_agree_with_onnxruntime(biased: bool) -> None:
    bias = floats(8) if biased else None
    feeds = {"x": floats(2, 3, 8), "s": floats(2, 3, 8), "g": floats(8)}
    outputs = ["y", "", "", "sum"]
    simple = {**feeds, "bias": bias} if biased else feeds
    agrees("SkipSimplifiedLayerNormalization", simple, epsilon=1e-5, outputs=outputs)
    full = {**feeds, "b": floats(8), "bias": bias} if biased else feeds
    agrees("SkipLayerNormalization", full, epsilon=1e-5, outputs=outputs)
    assert_agrees("SimplifiedLayerNormalization", {"x": feeds["x"], "g": feeds["g"]}, epsilon=1e-5, axis=-1)


@pytest.mark.parametrize("masked", [False, True])
def test_embed_layer_normalization_agrees_with_onnxruntime(masked: bool) -> None:
    feeds: dict[str, Array | None] = {
        "i": RNG.integers(0, 9, (2, 5)).astype(np.int32), "s": RNG.integers(0, 2, (2, 5)).astype(np.int32),
        "w": floats(9, 8), "p": floats(6, 8), "t": floats(2, 8), "g": floats(8), "b": floats(8),
    }  # fmt: skip
    if masked:
        feeds["m"] = (np.arange(5) < np.array([[3], [5]])).astype(np.int32)
    agrees("EmbedLayerNormalization", feeds, epsilon=1e-5, outputs=3)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", [None, "lengths", "raw", "square"])
def test_attention_agrees_with_onnxruntime(causal: int, mask: str | None) -> None:
    raw = RNG.random((2, 4, 4)) < 0.7
    raw[:, :, 0] = True
    given = {
        None: None, "lengths": np.array([2, 4], np.int32), "raw": raw[:, 0].astype(np.int32),
        "square": raw.astype(np.int32),
    }[mask]  # fmt: skip
    feeds: dict[str, Array | None] = {"x": floats(2, 4, 6), "w": floats(6, 36), "b": floats(36)}
    if given is not None:
        feeds["m"] = given
    agrees("Attention", feeds, num_heads=3, unidirectional=causal)


def test_attention_with_a_cache_agrees_with_onnxruntime() -> None:
    feeds = {"x": floats(2, 4, 6), "w": floats(6, 36), "b": floats(36), "m": None, "p": floats(2, 2, 3, 2, 4)}
    agrees("Attention", feeds, num_heads=3, unidirectional=1, outputs=2)


def test_multi_head_attention_agrees_with_onnxruntime() -> None:
    q, k, v, bias = floats(2, 4, 12), floats(2, 5, 12), floats(2, 5, 12), floats(36)
    padding = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    for feeds in (
        {"q": q, "k": k, "v": v},
        {"q": q, "k": k, "v": v, "b": bias, "m": padding},
        {"q": q, "k": k, "v": v, "b": None, "m": None, "ab": floats(2, 3, 4, 5)},
    ):
        agrees("MultiHeadAttention", feeds, num_heads=3)
    cached = {
        "q": q, "k": k[:, :4], "v": v[:, :4], "b": bias, "m": None, "ab": None, "pk": floats(2, 3, 2, 4),
        "pv": floats(2, 3, 2, 4),
    }  # fmt: skip
    agrees("MultiHeadAttention", cached, num_heads=3, unidirectional=1, outputs=3)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding_agrees_with_onnxruntime(interleaved: int) -> None:
    angles = {"c": floats(10, 4), "s": floats(10, 4)}
    for x in (floats(2, 3, 4, 8), floats(2, 4, 24)):
        for position in (np.array([2]), RNG.integers(0, 10, (2, 4))):
            agrees("RotaryEmbedding", {"x": x, "p": position, **angles}, interleaved=interleaved)


def test_nhwc_max_pool_agrees_with_onnxruntime() -> None:
    x = RNG.integers(0, 256, (1, 7, 8, 3)).astype(np.uint8)
    agrees("NhwcMaxPool", {"x": x}, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0])


def codes(dtype: type, *shape: int) -> Array:
    low, high = (0, 256) if dtype is np.uint8 else (-128, 128)
    return RNG.integers(low, high, shape).astype(dtype)


def scale(low: float = 0.01) -> Array:
    return np.asarray(RNG.uniform(low, 5 * low), np.float32)


def zero(dtype: type) -> Array:
    return np.asarray(RNG.integers(*((100, 150) if dtype is np.uint8 else (-20, 20))), dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_quantised_arithmetic_agrees_with_onnxruntime(op: str, dtype: type) -> None:
    feeds = {
        "a": codes(dtype, 2, 3, 4), "as": scale(), "az": zero(dtype), "b": codes(dtype, 3, 4), "bs": scale(),
        "bz": zero(dtype), "cs": scale(), "cz": zero(dtype),
    }  # fmt: skip
    agrees(op, feeds, atol=1)  # a tie after float32's rounding may go to the neighbouring code


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize(
    ("op", "node"),
    [("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.2}), ("QLinearGlobalAveragePool", {}),
     ("QLinearGlobalAveragePool", {"channels_last": 1}),
     ("QLinearAveragePool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]})],
)  # fmt: skip
def test_quantised_functions_agree_with_onnxruntime(op: str, node: dict[str, Any], dtype: type) -> None:
    x = codes(dtype, 2, 3, 5, 6)
    feeds = {"x": x, "xs": scale(), "xz": zero(dtype), "ys": scale(), "yz": zero(dtype)}
    agrees(op, feeds, atol=1, **node)


def test_quantised_softmax_agrees_with_onnxruntime() -> None:
    feeds = {
        "x": codes(np.uint8, 2, 3, 4), "xs": scale(), "xz": zero(np.uint8), "ys": np.asarray(1 / 256, np.float32),
        "yz": np.asarray(0, np.uint8),
    }  # fmt: skip
    for opset, axis in ((13, 1), (11, 1)):
        model = one_node("QLinearSoftmax", feeds, domain="com.microsoft", axis=axis)
        model.graph.node[0].attribute.append(helper.make_attribute("opset", opset))
        (got,), (want,) = by_golden(model, feeds, Mode.FLOAT32), by_ort(model, feeds)
        assert np.abs(got.astype(int) - want.astype(int)).max() <= 1


def test_quantised_concat_agrees_with_onnxruntime() -> None:
    feeds = {"ys": scale(), "yz": zero(np.uint8)}
    for name, width in (("a", 3), ("b", 5)):
        feeds |= {name: codes(np.uint8, 2, width), f"{name}s": scale(), f"{name}z": zero(np.uint8)}
    agrees("QLinearConcat", feeds, atol=1, axis=1)


@pytest.mark.parametrize("per_column", [False, True])
def test_integer_products_agree_with_onnxruntime(per_column: bool) -> None:
    b_scale = RNG.uniform(0.01, 0.05, 5).astype(np.float32) if per_column else scale()
    # Codes of both factors are small enough for the saturating 8-bit products of AVX2 (microsoft/onnxruntime#6004).
    b = RNG.integers(-32, 32, (8, 5)).astype(np.int8)
    a = codes(np.uint8, 3, 8)
    feeds = {
        "a": a, "b": b, "as": scale(), "bs": b_scale, "az": zero(np.uint8), "bz": np.asarray(3, np.int8),
        "c": floats(5),
    }  # fmt: skip
    if per_column:
        feeds["bz"] = np.full(5, 3, np.int8)
    agrees("MatMulIntegerToFloat", feeds)
    dynamic = {"a": floats(3, 8), "b": b, "bs": b_scale, "bz": feeds["bz"], "c": floats(5)}
    agrees("DynamicQuantizeMatMul", dynamic)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("depth", [32, 96])
def test_four_bit_weights_agree_with_onnxruntime(zeros: bool, depth: int) -> None:
    blocks = depth // 32
    feeds = {
        "a": floats(3, depth), "b": codes(np.uint8, 6, blocks, 16),
        "s": RNG.uniform(0.01, 0.1, (6, blocks)).astype(np.float32),
    }  # fmt: skip
    if zeros:
        feeds["z"] = codes(np.uint8, 6, (blocks + 1) // 2)
    agrees("MatMulNBits", feeds, bits=4, N=6, K=depth, block_size=32)


def test_microsofts_quantisation_agrees_with_onnxruntime() -> None:
    agrees("QuantizeLinear", {"x": floats(3, 4), "s": scale(), "z": zero(np.int8)}, atol=1)
    agrees("DequantizeLinear", {"x": codes(np.int8, 3, 4), "s": scale(), "z": zero(np.int8)})
    per_axis = RNG.uniform(0.01, 0.05, 4).astype(np.float32)
    agrees("DequantizeLinear", {"x": codes(np.uint8, 3, 4), "s": per_axis, "z": codes(np.uint8, 4)}, axis=1)


def test_an_operator_that_is_not_here_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedOperator, match="Trilu") as caught:
        run("Trilu", {"x": floats(2, 2)}, domain="com.microsoft")
    assert caught.value.op == "Trilu"
