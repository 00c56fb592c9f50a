"""ONNX Runtime's own operators (com.microsoft) in floating point: what its optimiser fuses."""

from __future__ import annotations

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.convolution import convolve
from sysnoise_conform.golden.normalisation import layer_norm
from sysnoise_conform.golden.op import Call, Typed, op
from sysnoise_conform.golden.pooling import max_pool

MICROSOFT = "com.microsoft"


def activated(call: Call, y: Tensor, parameters: list[float]) -> Tensor:
    """`y` after the activation that the attribute `activation` names, with its parameters in order."""
    match call.get("activation"), parameters:
        case None | "", _:
            return y
        case "Relu", _:
            return torch.relu(y)
        case "Tanh", _:
            return torch.tanh(y)
        case "Sigmoid", _:
            return torch.sigmoid(y)
        case "LeakyRelu", [alpha, *_]:
            return torch.where(y >= 0, y, alpha * y)
        case "Clip", [low, high, *_]:
            return torch.clamp(y, low, high)
        case "HardSigmoid", [alpha, beta, *_]:
            return torch.clamp(alpha * y + beta, 0, 1)
        case name, given:
            call.unsupported(f"activation {name!r} with {len(given)} parameters")


@op("FusedConv", domain=MICROSOFT)
def fused_conv(call: Call, x: Tensor, w: Tensor, bias: Tensor | None = None, z: Tensor | None = None) -> Tensor:
    """An activation over Conv, after `z` was added."""
    y = convolve(call, x, w, bias)
    return activated(call, y if z is None else y + z, [float(v) for v in call.get("activation_params") or ()])


def _turned(call: Call, x: Tensor, which: str) -> Tensor:
    if x.dim() > 2 and call.get(f"transBatch{which}", 0):
        x = x.movedim(0, -2)
    return x.transpose(-1, -2) if x.dim() > 1 and call.get(f"trans{which}", 0) else x


@op("FusedMatMul", domain=MICROSOFT)
def fused_matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """alpha * (A B), either of them transposed first."""
    return float(call.get("alpha", 1.0)) * torch.matmul(_turned(call, a, "A"), _turned(call, b, "B"))


@op("FusedGemm", domain=MICROSOFT)
def fused_gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """An activation over Gemm."""
    y = float(call.get("alpha", 1.0)) * (_turned(call, a, "A") @ _turned(call, b, "B"))
    if c is not None:
        y = y + float(call.get("beta", 1.0)) * c
    given = [call.get(f"activation_{name}") for name in ("alpha", "beta", "gamma")]
    return activated(call, y, [float(v) for v in given if v is not None])


@op("Gelu", domain=MICROSOFT)
def gelu(call: Call, x: Tensor) -> Tensor:
    """x times the normal distribution function of x."""
    return F.gelu(x)


@op("BiasGelu", domain=MICROSOFT)
def bias_gelu(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Gelu(a + b)."""
    return F.gelu(a + b)


@op("FastGelu", domain=MICROSOFT)
def fast_gelu(call: Call, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Gelu in its tanh approximation, of x + bias."""
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@op("QuickGelu", domain=MICROSOFT)
def quick_gelu(call: Call, x: Tensor) -> Tensor:
    """x * sigmoid(alpha * x)."""
    return x * torch.sigmoid(float(call.get("alpha", 1.702)) * x)


def _skipped(call: Call, x: Tensor, skip: Tensor, bias: Tensor | None) -> Tensor:
    if any(call.outputs_wanted[1:3]):
        call.unsupported("the statistics, which are for training")
    total = x + skip
    return total if bias is None else total + bias


@op("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_normalization(
    call: Call, x: Tensor, skip: Tensor, gamma: Tensor, beta: Tensor | None = None, bias: Tensor | None = None
) -> tuple[Tensor | None, ...]:
    """LayerNormalization of x + skip + bias over the last axis, and that sum as the fourth output."""
    total = _skipped(call, x, skip, bias)
    y, _, _ = layer_norm(total, total.dim() - 1, gamma, beta, float(call.get("epsilon", 1e-12)))
    return y, None, None, total


def _rms_norm(x: Tensor, axis: int, scale: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    inverse = torch.rsqrt(x.square().mean(dim=tuple(range(axis, x.dim())), keepdim=True) + epsilon)
    return x * inverse * scale, inverse


@op("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_simplified_layer_normalization(
    call: Call, x: Tensor, skip: Tensor, gamma: Tensor, bias: Tensor | None = None
) -> tuple[Tensor | None, ...]:
    """SimplifiedLayerNormalization of x + skip + bias, and that sum as the fourth output."""
    total = _skipped(call, x, skip, bias)
    y, _ = _rms_norm(total, total.dim() - 1, gamma, float(call.get("epsilon", 1e-12)))
    return y, None, None, total


@op("SimplifiedLayerNormalization")
@op("SimplifiedLayerNormalization", domain=MICROSOFT)
def simplified_layer_normalization(call: Call, x: Tensor, scale: Tensor) -> tuple[Tensor, Typed]:
    """x over its root mean square, times `scale`; ONNX Runtime writes it into the default domain."""
    axis = int(call.get("axis", -1))
    if not -x.dim() <= axis < x.dim():
        call.bad(f"axis {axis} of an input of rank {x.dim()}")
    y, inverse = _rms_norm(x, axis % x.dim(), scale, float(call.get("epsilon", 1e-5)))
    return y, Typed(inverse, onnx.TensorProto.FLOAT)


def _rows(call: Call, table: Tensor, index: Tensor) -> Tensor:
    if bool(((index < 0) | (index >= table.shape[0])).any()):
        call.bad(f"an index lies outside an embedding of {table.shape[0]} rows")
    return table[index.to(torch.int64)]


@op("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_normalization(
    call: Call, ids: Tensor, segments: Tensor | None, words: Tensor, positions: Tensor,
    segment_table: Tensor | None, gamma: Tensor, beta: Tensor, mask: Tensor | None = None,
    position_ids: Tensor | None = None,
) -> tuple[Typed, Typed, Typed]:  # fmt: skip
    """LayerNormalization of word + position + segment embeddings; each row's count of unmasked words."""
    if int(call.get("mask_index_type", 0 if mask is None else 1)) not in (0, 1):
        call.unsupported(f"mask_index_type {call.get('mask_index_type')}")
    total = _rows(call, words, ids)
    where = torch.arange(ids.shape[1]) if position_ids is None else position_ids
    total = total + _rows(call, positions, where)
    if segments is not None and segment_table is not None:
        total = total + _rows(call, segment_table, segments)
    y, _, _ = layer_norm(total, total.dim() - 1, gamma, beta, float(call.get("epsilon", 1e-12)))
    counts = torch.zeros(ids.shape[0], dtype=torch.int32) if mask is None else (mask == 1).sum(dim=1).to(torch.int32)
    declared = call.input_types[2]
    return Typed(y, declared), Typed(counts, onnx.TensorProto.INT32), Typed(total, declared)


@op("NhwcMaxPool", domain=MICROSOFT)
def nhwc_max_pool(call: Call, x: Tensor) -> Tensor:
    """MaxPool over (N, D1..Dn, C)."""
    pooled = max_pool(call, x.movedim(-1, 1).contiguous())
    assert isinstance(pooled, Tensor), "it has no second output"
    return pooled.movedim(1, -1)


@op("NhwcConv", domain=MICROSOFT)
def nhwc_conv(call: Call, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv over (N, D1..Dn, C) with weights (M, k1..kn, C/group)."""
    return convolve(call, x.movedim(-1, 1), w.movedim(-1, 1), bias).movedim(1, -1)
