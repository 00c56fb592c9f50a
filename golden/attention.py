"""Attention and what stands around it: Attention, LinearAttention, RotaryEmbedding, SwiGLU."""

from __future__ import annotations

from math import inf, sqrt

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.op import Call, Typed, op

T = onnx.TensorProto


def split_heads(call: Call, x: Tensor, heads: int, name: str) -> Tensor:
    """(B, S, heads * size) as (B, heads, S, size)."""
    if heads < 1 or x.shape[2] % heads:
        call.bad(f"{name} of shape {list(x.shape)} does not divide into {heads} heads")
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, S, size) as (B, S, heads * size)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


def masked_softmax(biased: Tensor, bias: Tensor | None) -> Tensor:
    """The softmax of `biased` scores over the last axis; a row whose bias is all -inf becomes zero."""
    if bias is None:
        return torch.softmax(biased, dim=-1)
    hidden = (bias == -inf).all(dim=-1, keepdim=True)
    return torch.where(hidden, torch.zeros_like(biased), torch.softmax(biased, dim=-1))


def _mask_bias(call: Call, mask: Tensor, keys: int, like: Tensor) -> Tensor:
    """An attention mask as an additive bias over `keys` keys."""
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, -inf)
    elif not mask.is_floating_point():
        call.unsupported("an integer mask, of which the text does not tell the meaning")
    if mask.shape[-1] < keys and (call.opset >= 24 or mask.shape[-1] != 1):
        mask = F.pad(mask, (0, keys - mask.shape[-1]), value=-inf)
    return mask


def _allowed(call: Call, queries: int, keys: int, offset: Tensor) -> Tensor | None:
    """Which keys each query may see by position: (B or 1, 1, queries, keys), or None for all."""
    left, right = int(call.get("left_window_size", -1)), int(call.get("right_window_size", -1))
    if min(left, right) < -1:
        call.bad(f"a window of {left} to {right}")
    if call.get("is_causal", 0):
        right = 0
    if left < 0 and right < 0:
        return None
    position = offset.reshape(-1, 1, 1, 1) + torch.arange(queries)[:, None]
    key = torch.arange(keys)
    seen = torch.ones((), dtype=torch.bool)
    if left >= 0:
        seen = seen & (key >= position - left)
    if right >= 0:
        seen = seen & (key <= position + right)
    return seen


def _softmax_precision(call: Call, scores: Tensor) -> Tensor:
    precision = call.get("softmax_precision")
    if precision == T.DOUBLE:
        return scores.to(torch.float64)
    if precision in (None, 0, T.FLOAT, call.input_types[0]):
        return scores
    call.unsupported(f"softmax_precision {precision}: less than the inputs have")


@op("Attention", since=23)
def attention(
    call: Call, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, past_key: Tensor | None = None,
    past_value: Tensor | None = None, filled: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """softmax(q k' scale + bias) v, with caches and grouped heads; also the cache and the scores.

    `q`, `k`, `v` are (B, heads, S, size) or (B, S, heads * size); `filled` (B) counts the valid keys of
    an external cache.
    """
    if (past_key is None) != (past_value is None) or (filled is not None and past_key is not None):
        call.bad("past_key and past_value come together, and not with nonpad_kv_seqlen")
    packed = q.dim() == 3
    if packed:
        q_heads, kv_heads = int(call.get("q_num_heads", 0)), int(call.get("kv_num_heads", 0))
        q, k, v = (split_heads(call, x, n, name)
                   for x, n, name in ((q, q_heads, "Q"), (k, kv_heads, "K"), (v, kv_heads, "V")))  # fmt: skip
    if q.dim() != 4 or k.dim() != 4 or v.dim() != 4 or k.shape[1] < 1 or q.shape[1] % k.shape[1]:
        call.bad(f"Q {list(q.shape)}, K {list(k.shape)} and V {list(v.shape)}")
    before = 0
    if past_key is not None and past_value is not None:
        before = past_key.shape[2]
        k, v = torch.cat([past_key, k], dim=2), torch.cat([past_value, v], dim=2)
    present_key, present_value = k, v
    repeats = q.shape[1] // k.shape[1]
    if repeats > 1:
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    queries, keys = q.shape[2], k.shape[2]
    scale = sqrt(float(call.get("scale", 1 / sqrt(q.shape[3]))))
    raw = (q * scale) @ (k * scale).transpose(-1, -2)
    cap = float(call.get("softcap", 0.0))
    capped = cap * torch.tanh(raw / cap) if cap > 0 else raw
    offset = torch.tensor([before]) if filled is None else filled - queries
    bias = None if mask is None else _mask_bias(call, mask, keys, raw)
    seen = _allowed(call, queries, keys, offset)
    if filled is not None:
        valid = (torch.arange(keys) < filled.reshape(-1, 1))[:, None, None, :]
        seen = valid if seen is None else seen & valid
    if seen is not None:
        hidden = torch.zeros_like(seen, dtype=raw.dtype).masked_fill(~seen, -inf)
        bias = hidden if bias is None else bias + hidden
    if bias is not None:
        bias = torch.broadcast_to(bias, raw.shape)
    biased = capped if bias is None else capped + bias
    weights = masked_softmax(_softmax_precision(call, biased), bias)
    y = (weights @ v.to(weights.dtype)).to(v.dtype)
    match int(call.get("qk_matmul_output_mode", 0)):
        case 0:
            shown = raw
        case 1:
            shown = capped
        case 2:
            shown = biased
        case 3:
            shown = weights
        case other:
            call.bad(f"qk_matmul_output_mode is {other}")
    return (merge_heads(y) if packed else y), present_key, present_value, shown


@op("RotaryEmbedding", since=23)
def rotary_embedding(call: Call, x: Tensor, cos: Tensor, sin: Tensor, position: Tensor | None = None) -> Tensor:
    """Pairs of each head's elements rotated by the angle of their position.

    `x` is (B, heads, S, size) or (B, S, heads * size); the caches hold rotary_embedding_dim / 2 angles.
    """
    packed = x.dim() == 3
    heads = split_heads(call, x, int(call.get("num_heads", 0)), "X") if packed else x
    size = int(call.get("rotary_embedding_dim", 0)) or heads.shape[-1]
    if heads.dim() != 4 or size % 2 or size > heads.shape[-1]:
        call.bad(f"an input of shape {list(x.shape)} with {size} elements to rotate")
    if position is not None:
        if bool(((position < 0) | (position >= cos.shape[0])).any()):
            call.bad(f"a position lies outside [0, {cos.shape[0]})")
        cos, sin = cos[position], sin[position]
    if cos.shape != sin.shape or tuple(cos.shape) != (heads.shape[0], heads.shape[2], size // 2):
        call.bad(f"caches of shape {list(cos.shape)} and {list(sin.shape)} for {size} elements to rotate")
    y = rotate(heads, cos[:, None], sin[:, None], size, interleaved=bool(call.get("interleaved", 0)))
    return merge_heads(y) if packed else y


def rotate(x: Tensor, cos: Tensor, sin: Tensor, size: int, *, interleaved: bool) -> Tensor:
    """The first `size` elements of the last axis of `x` (B, heads, S, ...) rotated; the rest as it is."""
    turned, rest = x[..., :size], x[..., size:]
    first, second = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, dim=-1)
    real, imaginary = cos * first - sin * second, sin * first + cos * second
    turned = torch.stack([real, imaginary], dim=-1).flatten(-2) if interleaved else torch.cat([real, imaginary], dim=-1)
    return torch.cat([turned, rest], dim=-1)


_NEEDS = {"linear": (False, False), "gated": (True, False), "delta": (False, True), "gated_delta": (True, True)}


@op("LinearAttention", since=27)
def linear_attention(
    call: Call, query: Tensor, key: Tensor, value: Tensor, past: Tensor | None = None, decay: Tensor | None = None,
    beta: Tensor | None = None,
) -> tuple[Tensor, Typed]:  # fmt: skip
    """The recurrence that `update_rule` names, token by token; inputs are (B, T, heads * size).

    The state (B, kv_heads, d_k, d_v) has the type of `past`, or of the query where that is absent.
    """
    rule = str(call.get("update_rule", "gated_delta"))
    if rule not in _NEEDS or _NEEDS[rule] != (decay is not None, beta is not None):
        call.bad(
            f"update_rule {rule!r} with{'' if decay is not None else 'out'} decay,"
            f" with{'' if beta is not None else 'out'} beta"
        )
    q_heads, kv_heads = int(call.get("q_num_heads", 0)), int(call.get("kv_num_heads", 0))
    if kv_heads < 1 or q_heads < 1 or q_heads % kv_heads:
        call.bad(f"{q_heads} query heads over {kv_heads} key heads")
    q = split_heads(call, query, q_heads, "query")
    k, v = split_heads(call, key, kv_heads, "key"), split_heads(call, value, kv_heads, "value")
    gate = None if decay is None else torch.exp(split_heads(call, decay, kv_heads, "decay"))
    rate = None if beta is None else split_heads(call, beta, beta.shape[-1], "beta")
    if gate is not None and gate.shape[-1] not in (1, k.shape[-1]):
        call.bad(f"decay of shape {list(gate.shape)} for keys of size {k.shape[-1]}")
    shape = (q.shape[0], kv_heads, k.shape[-1], v.shape[-1])
    state = query.new_zeros(shape) if past is None else past
    if tuple(state.shape) != shape or q.shape[-1] != k.shape[-1]:
        call.bad(f"past_state of shape {list(state.shape)}, not {list(shape)}")
    scale = float(call.get("scale", 0.0)) or 1 / sqrt(k.shape[-1])
    read = []
    for time in range(q.shape[2]):
        now_k, now_v = k[:, :, time, :, None], v[:, :, time, None, :]
        if gate is not None:
            state = state * gate[:, :, time, :, None]
        if rate is not None:
            now_v = rate[:, :, time, :, None] * (now_v - (state * now_k).sum(dim=2, keepdim=True))
        state = state + now_k * now_v
        shared = state.repeat_interleave(q_heads // kv_heads, dim=1)
        read.append(scale * (q[:, :, time, None, :] @ shared))
    y = torch.cat(read, dim=2) if read else q.new_zeros((*q.shape[:3], v.shape[-1]))
    kept = call.input_types[3] if len(call.input_types) > 3 else 0
    return merge_heads(y), Typed(state, kept or call.input_types[0])
