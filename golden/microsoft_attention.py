"""ONNX Runtime's attention operators (com.microsoft): Attention, MultiHeadAttention, RotaryEmbedding."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from sysnoise_conform.golden.attention import merge_heads, rotate, split_heads
from sysnoise_conform.golden.microsoft import MICROSOFT
from sysnoise_conform.golden.op import Call, op


def _padding(call: Call, mask: Tensor | None, batch: int, keys: int) -> Tensor | None:
    """Which keys count, from lengths (B), a raw mask (B, T) or (B, S, T): broadcastable to (B, 1, S, T)."""
    if mask is None:
        return None
    if mask.dim() == 1 and mask.shape[0] == batch:
        return (torch.arange(keys) < mask[:, None])[:, None, None, :]
    if mask.dim() == 2 and tuple(mask.shape) == (batch, keys):
        return (mask > 0)[:, None, None, :]
    if mask.dim() == 3 and mask.shape[0] == batch and mask.shape[2] == keys:
        return (mask > 0)[:, None, :, :]
    call.unsupported(f"a mask of shape {list(mask.shape)} for {batch} sequences of {keys} keys")


def _attend(
    call: Call, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None, before: int
) -> Tensor:
    """Attention over (B, heads, S, size); what is masked gets `mask_filter_value` added to its score."""
    filtered = float(call.get("mask_filter_value", -10000.0))
    scale = float(call.get("scale") or 1 / sqrt(q.shape[-1]))
    scores = (q @ k.transpose(-1, -2)) * scale
    queries, keys = scores.shape[-2:]
    valid = _padding(call, mask, q.shape[0], keys)
    if valid is not None:
        scores = scores + torch.where(valid, 0.0, filtered).to(scores.dtype)
    if call.get("unidirectional", 0):
        # A future key is hidden for good, also in a row whose other keys are all masked.
        future = torch.arange(keys) > torch.arange(queries)[:, None] + before
        scores = scores.masked_fill(future, torch.finfo(torch.float32).min)
    if bias is not None:
        scores = scores + bias
    return merge_heads(torch.softmax(scores, dim=-1) @ v)


@op("Attention", domain=MICROSOFT)
def attention(
    call: Call, x: Tensor, weights: Tensor, bias: Tensor | None = None, mask: Tensor | None = None,
    past: Tensor | None = None, attention_bias: Tensor | None = None, past_length: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Self-attention of `x` (B, S, I) projected by `weights` (I, 3 * hidden); past and present (2, B, N, P, size)."""
    if past_length is not None or call.get("do_rotary", 0) or call.get("past_present_share_buffer", 0):
        call.unsupported("a shared cache or rotary embedding inside")
    heads = int(call.get("num_heads", 0))
    projected = x @ weights if bias is None else x @ weights + bias
    sizes = [int(v) for v in call.get("qkv_hidden_sizes") or [weights.shape[1] // 3] * 3]
    if sum(sizes) != weights.shape[1]:
        call.bad(f"weights {list(weights.shape)} don't divide into {sizes}")
    q, k, v = (split_heads(call, part, heads, "the input") for part in torch.split(projected, sizes, dim=2))
    before = 0
    if past is not None:
        before = past.shape[3]
        k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
    if len(call.outputs_wanted) > 1 and call.outputs_wanted[1] and k.shape != v.shape:
        call.unsupported("a cache of keys and values that differ in size")
    y = _attend(call, q, k, v, mask, attention_bias, before)
    return y, torch.stack([k, v]) if k.shape == v.shape else k


@op("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(
    call: Call, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, bias: Tensor | None = None,
    padding: Tensor | None = None, attention_bias: Tensor | None = None, past_key: Tensor | None = None,
    past_value: Tensor | None = None, past_length: Tensor | None = None, indirection: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Attention of projected `query` (B, S, hidden) over `key` and `value` (B, T, hidden) or (B, N, T, size).

    A packed `query` is (B, S, N, 3, size). The optional outputs are the keys and values with the cache.
    """
    if past_length is not None or indirection is not None or any(call.outputs_wanted[3:]):
        call.unsupported("a shared cache, a beam or the scores as an output")
    heads = int(call.get("num_heads", 0))
    if query.dim() == 5:
        q, k, v = (query[:, :, :, part].flatten(2) for part in range(3))
    elif key is not None and value is not None:
        q, k, v = query, key, value
    else:
        call.unsupported("packed keys and values")
    if bias is not None:
        if k.dim() != 3:
            call.unsupported("a bias on keys that come as heads")
        q_bias, k_bias, v_bias = torch.split(bias, [q.shape[2], k.shape[2], v.shape[2]])
        q, k, v = q + q_bias, k + k_bias, v + v_bias
    q = split_heads(call, q, heads, "query")
    k, v = (x if x.dim() == 4 else split_heads(call, x, heads, "key or value") for x in (k, v))
    before = 0
    if past_key is not None and past_value is not None:
        before = past_key.shape[2]
        k, v = torch.cat([past_key, k], dim=2), torch.cat([past_value, v], dim=2)
    return _attend(call, q, k, v, padding, attention_bias, before), k, v


@op("RotaryEmbedding", domain=MICROSOFT)
def rotary_embedding(call: Call, x: Tensor, position: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`x` (B, S, hidden) or (B, N, S, size) rotated; `position` is one offset or (B, S)."""
    if call.get("is_packed_batching", 0) or float(call.get("scale", 1.0)) != 1.0:
        call.unsupported("packed batches or a scale")
    size = int(call.get("rotary_embedding_dim", 0))
    heads = int(call.get("num_heads", 0))
    if x.dim() == 3:
        if not heads:
            if size:
                call.bad("rotary_embedding_dim needs num_heads")
            heads = x.shape[2] // (cos.shape[1] * 2)
        shaped = split_heads(call, x, heads, "input")
    else:
        shaped = x
    if position.numel() == 1 and position.dim() == 1:
        position = (torch.arange(shaped.shape[2]) + position)[None]
    if bool(((position < 0) | (position >= cos.shape[0])).any()):
        call.bad(f"a position lies outside [0, {cos.shape[0]})")
    size = size or shaped.shape[-1]
    y = rotate(
        shaped, cos[position][:, None], sin[position][:, None], size, interleaved=bool(call.get("interleaved", 0))
    )
    return merge_heads(y) if x.dim() == 3 else y
