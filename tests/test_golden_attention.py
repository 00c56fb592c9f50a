from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_oracle import Array, assert_agrees, run

from sysnoise_conform.errors import BadModel, UnsupportedOperator


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def heads(queries: int = 5, keys: int = 7, query_heads: int = 4, key_heads: int = 2) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        "q": floats(rng, 2, query_heads, queries, 8), "k": floats(rng, 2, key_heads, keys, 8),
        "v": floats(rng, 2, key_heads, keys, 6),
    }  # fmt: skip


def test_attention_is_torchs_with_grouped_heads_and_a_mask() -> None:
    feeds = heads()
    mask = np.random.default_rng(1).random((5, 7)) < 0.8
    mask[:, 0] = True
    (y,) = run("Attention", {**feeds, "m": mask}, opset=24)
    wide = [torch.from_numpy(feeds[name]).double() for name in "qkv"]
    expected = F.scaled_dot_product_attention(*wide, attn_mask=torch.from_numpy(mask), enable_gqa=True)
    np.testing.assert_allclose(y, expected.numpy(), atol=1e-9)


@pytest.mark.parametrize(
    "node", [{}, {"is_causal": 1}, {"softcap": 0.7}, {"scale": 0.3}, {"is_causal": 1, "softcap": 2.0}]
)
def test_attention_agrees_with_onnxruntime(node: dict[str, Any]) -> None:
    assert_agrees("Attention", heads(keys=5), opset=23, **node)


def test_a_cache_gives_what_the_whole_sequence_gives() -> None:
    feeds = heads(queries=7)
    (whole,) = run("Attention", feeds, opset=23, is_causal=1)
    later = {name: array[:, :, 4:] for name, array in feeds.items()}
    past = {"m": None, "pk": feeds["k"][:, :, :4], "pv": feeds["v"][:, :, :4]}
    y, key, value = run("Attention", {**later, **past}, opset=23, outputs=3, is_causal=1)
    np.testing.assert_allclose(y, whole[:, :, 4:], atol=1e-12)
    np.testing.assert_array_equal(key, feeds["k"])
    np.testing.assert_array_equal(value, feeds["v"])


def test_a_row_without_a_key_is_zero_not_nan() -> None:
    mask = np.ones((5, 7), dtype=bool)
    mask[2] = False
    y, scores = run("Attention", {**heads(), "m": mask}, opset=24, outputs=["y", "", "", "s"], qk_matmul_output_mode=3)
    assert (y[:, :, 2] == 0).all()
    assert (scores[:, :, 2] == 0).all()
    assert np.isfinite(y).all()


def test_a_window_hides_what_lies_outside_it() -> None:
    (y,) = run("Attention", heads(), opset=25, left_window_size=1, right_window_size=0)
    row, key = np.indices((5, 7))
    seen = (key <= row) & (key >= row - 1)
    (expected,) = run("Attention", {**heads(), "m": seen}, opset=25)
    np.testing.assert_allclose(y, expected, atol=1e-12)


def test_an_integer_mask_and_a_lower_softmax_precision_are_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="integer mask"):
        run("Attention", {**heads(), "m": np.ones((5, 7), np.int64)}, opset=24)
    with pytest.raises(UnsupportedOperator, match="softmax_precision"):
        run("Attention", heads(), opset=24, softmax_precision=10)


def test_heads_that_do_not_divide_are_bad() -> None:
    with pytest.raises(BadModel, match="Q "):
        run("Attention", heads(query_heads=3), opset=24)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("size", [0, 4])
def test_rotary_embedding_agrees_with_onnxruntime(interleaved: int, size: int) -> None:
    rng = np.random.default_rng(0)
    half = (size or 8) // 2
    feeds = {
        "x": floats(rng, 2, 3, 4, 8), "c": floats(rng, 10, half), "s": floats(rng, 10, half),
        "p": rng.integers(0, 10, (2, 4)),
    }  # fmt: skip
    node = {"interleaved": interleaved, "rotary_embedding_dim": size, "opset": 23}
    assert_agrees("RotaryEmbedding", feeds, num_heads=3, **node)
    packed = {**feeds, "x": floats(rng, 2, 4, 24)}
    assert_agrees("RotaryEmbedding", packed, num_heads=3, **node)


def test_linear_attention_without_decay_is_causal_attention_without_softmax() -> None:
    rng = np.random.default_rng(0)
    q, k, v = floats(rng, 2, 6, 8), floats(rng, 2, 6, 8), floats(rng, 2, 6, 6)
    node = {"opset": 27, "outputs": 2, "q_num_heads": 2, "kv_num_heads": 2, "update_rule": "linear", "scale": 0.5}
    y, state = run("LinearAttention", {"q": q, "k": k, "v": v}, **node)
    by_head = [x.reshape(2, 6, 2, -1).transpose(0, 2, 1, 3).astype(np.float64) for x in (q, k, v)]
    scores = 0.5 * np.tril(by_head[0] @ by_head[1].swapaxes(-1, -2))
    np.testing.assert_allclose(y, (scores @ by_head[2]).transpose(0, 2, 1, 3).reshape(2, 6, 6), atol=1e-9)
    np.testing.assert_allclose(state, by_head[1].swapaxes(-1, -2) @ by_head[2], atol=1e-9)


def test_a_decay_that_the_rule_does_not_take_is_bad() -> None:
    x = np.ones((1, 2, 4), np.float32)
    with pytest.raises(BadModel, match="decay"):
        run("LinearAttention", {"q": x, "k": x, "v": x, "p": None, "d": x}, opset=27, outputs=2, q_num_heads=1,
            kv_num_heads=1, update_rule="linear")  # fmt: skip
