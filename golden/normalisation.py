"""Normalisations over batches, layers, groups, instances and neighbouring channels, and Dropout."""

from __future__ import annotations

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.op import Call, Typed, op


def common(*tensors: Tensor | None) -> tuple[Tensor, ...]:
    """The given tensors in their widest dtype: FLOAT may meet DOUBLE where the text allows two types."""
    given = [each for each in tensors if each is not None]
    dtype = given[0].dtype
    for each in given[1:]:
        dtype = torch.promote_types(dtype, each.dtype)
    return tuple(each.to(dtype) for each in given)


def _positive_axis(call: Call, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        call.bad(f"axis {axis} lies outside a tensor of rank {rank}")
    return axis % rank


def _epsilon(call: Call) -> float:
    return float(call.get("epsilon", 1e-5))


def _per_channel(call: Call, x: Tensor, **vectors: Tensor) -> None:
    channels = x.shape[1] if x.dim() > 1 else 1
    for name, vector in vectors.items():
        if vector.dim() != 1 or vector.shape[0] != channels:
            call.bad(f"{name} has shape {list(vector.shape)} for {channels} channels")


@op("BatchNormalization", since=7, until=13)
def batch_normalization_7(call: Call, x: Tensor, scale: Tensor, b: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """Normalise with the given statistics, per channel or (spatial=0) per element."""
    if any(call.outputs_wanted[1:]):
        call.unsupported("training mode, which before opset 14 does not say which variance it computes")
    x, scale, b, mean, var = common(x, scale, b, mean, var)
    if call.opset < 9 and not call.get("spatial", 1):
        scale, b, mean, var = (each.reshape(x.shape[1:]) for each in (scale, b, mean, var))
        return (x - mean) / torch.sqrt(var + _epsilon(call)) * scale + b
    _per_channel(call, x, scale=scale, B=b, mean=mean, var=var)
    return _batch_norm(x, scale, b, mean, var, _epsilon(call))


@op("BatchNormalization", since=14)
def batch_normalization(
    call: Call, x: Tensor, scale: Tensor, b: Tensor, mean: Tensor, var: Tensor
) -> Tensor | tuple[Tensor, Tensor, Tensor]:
    """Normalise with the given statistics or, with `training_mode`, with those of the batch itself."""
    x, scale, b, mean, var = common(x, scale, b, mean, var)
    _per_channel(call, x, scale=scale, B=b, input_mean=mean, input_var=var)
    if not call.get("training_mode", 0):
        if any(call.outputs_wanted[1:]):
            call.bad("running statistics are outputs of training_mode=1 only")
        return _batch_norm(x, scale, b, mean, var, _epsilon(call))
    channel_first = x if x.dim() > 1 else x[:, None]
    across = [axis for axis in range(channel_first.dim()) if axis != 1]
    # The text asks for the population variance.
    now_var, now_mean = torch.var_mean(channel_first, dim=across, correction=0)
    y = _batch_norm(x, scale, b, now_mean, now_var, _epsilon(call))
    keep = float(call.get("momentum", 0.9))
    return y, mean * keep + now_mean * (1 - keep), var * keep + now_var * (1 - keep)


def _batch_norm(x: Tensor, scale: Tensor, b: Tensor, mean: Tensor, var: Tensor, epsilon: float) -> Tensor:
    if x.dim() == 1:  # "single dimension input of size N in which case C is assumed to be 1"
        return F.batch_norm(x[:, None], mean, var, scale, b, eps=epsilon)[:, 0]
    return F.batch_norm(x, mean, var, scale, b, eps=epsilon)


def _stash(call: Call, x: Tensor) -> Tensor:
    """`x` in the precision of the first stage, which is at least the working one."""
    stash = int(call.get("stash_type", onnx.TensorProto.FLOAT))
    if stash == onnx.TensorProto.DOUBLE:
        return x.to(torch.float64)
    if stash != onnx.TensorProto.FLOAT:
        call.unsupported(f"stash_type {stash}: statistics in less than float32")
    return x


@op("LayerNormalization", since=17)
def layer_normalization(
    call: Call, x: Tensor, scale: Tensor, b: Tensor | None = None
) -> Tensor | tuple[Tensor, Typed, Typed]:
    """Normalise over the axes from `axis` on; the optional outputs are the mean and 1 / deviation."""
    axis = _positive_axis(call, int(call.get("axis", -1)), x.dim())
    y, mean, inverse = layer_norm(
        _stash(call, x), axis, scale, b, _epsilon(call), statistics=any(call.outputs_wanted[1:])
    )
    if mean is None or inverse is None:
        return y
    stash = int(call.get("stash_type", onnx.TensorProto.FLOAT))
    return y, Typed(mean, stash), Typed(inverse, stash)


def layer_norm(
    x: Tensor, axis: int, scale: Tensor, b: Tensor | None, epsilon: float, *, statistics: bool = False
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(y, mean, 1 / deviation); the statistics are None unless asked for. Scale and bias broadcast to `x`."""
    shape = x.shape[axis:]
    simple = scale.shape == shape and (b is None or b.shape == shape) and x.dtype == scale.dtype
    if simple and not statistics and shape.numel():
        return F.layer_norm(x, tuple(shape), scale, b, epsilon), None, None
    dims = tuple(range(axis, x.dim()))
    mean = x.mean(dim=dims, keepdim=True)
    centred = x - mean
    inverse = torch.rsqrt(centred.square().mean(dim=dims, keepdim=True) + epsilon)
    y = centred * inverse * scale
    return (y if b is None else y + b), mean, inverse


@op("RMSNormalization", since=23)
def rms_normalization(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    """`x` divided by its root mean square over the axes from `axis` on, times `scale`."""
    axis = _positive_axis(call, int(call.get("axis", -1)), x.dim())
    x = _stash(call, x)
    mean_square = x.square().mean(dim=tuple(range(axis, x.dim())), keepdim=True)
    return x / torch.sqrt(mean_square + _epsilon(call)) * scale


def _groups(call: Call, x: Tensor) -> int:
    groups = int(call.get("num_groups", 0))
    if x.dim() < 2 or groups < 1 or x.shape[1] % groups:
        call.bad(f"num_groups {groups} does not divide the channels of an input {list(x.shape)}")
    return groups


@op("GroupNormalization", since=18, until=20)
def group_normalization_18(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Normalise each group of channels; `scale` and `bias` have one value per group."""
    groups = _groups(call, x)
    if scale.shape != (groups,) or bias.shape != (groups,):
        call.bad(f"scale {list(scale.shape)} and bias {list(bias.shape)} for {groups} groups")
    each = x.shape[1] // groups
    return torch.group_norm(x, groups, scale.repeat_interleave(each), bias.repeat_interleave(each), _epsilon(call))


@op("GroupNormalization", since=21)
def group_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Normalise each group of channels; `scale` and `bias` have one value per channel."""
    groups = _groups(call, x)
    _per_channel(call, x, scale=scale, bias=bias)
    return torch.group_norm(_stash(call, x), groups, scale, bias, _epsilon(call))


@op("InstanceNormalization", since=6)
def instance_normalization(call: Call, x: Tensor, scale: Tensor, b: Tensor) -> Tensor:
    """Normalise each channel of each sample."""
    if x.dim() < 3:
        call.bad(f"an input of shape {list(x.shape)} has no spatial axis")
    _per_channel(call, x, scale=scale, B=b)
    return torch.group_norm(x, x.shape[1], scale, b, _epsilon(call))


@op("MeanVarianceNormalization", since=9)
def mean_variance_normalization(call: Call, x: Tensor) -> Tensor:
    """`x` minus its mean, over its deviation plus 1e-9 (from the operator's function body)."""
    axes = [_positive_axis(call, int(axis), x.dim()) for axis in call.get("axes", [0, 2, 3])]
    centred = x - x.mean(dim=axes, keepdim=True)
    return centred / (centred.square().mean(dim=axes, keepdim=True).sqrt() + 1e-9)


@op("LRN")
def lrn(call: Call, x: Tensor) -> Tensor:
    """Divide by a power of the squares summed over `size` neighbouring channels.

    An even size looks one channel further up than down: the ONNX text, unlike PyTorch.
    """
    size = int(call.get("size", 0))
    if size < 1 or x.dim() < 2:
        call.bad(f"size {size} for an input of shape {list(x.shape)}")
    below = (size - 1) // 2
    squares = F.pad(x.square().movedim(1, -1), (below, size - 1 - below)).unfold(-1, size, 1).sum(dim=-1)
    alpha, beta, bias = (
        float(call.get(name, default)) for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    return x / (bias + alpha / size * squares.movedim(-1, 1)).pow(beta)


@op("LpNormalization")
def lp_normalization(call: Call, x: Tensor) -> Tensor:
    """`x` over its norm along `axis`; 0 where the norm is 0."""
    axis = _positive_axis(call, int(call.get("axis", -1)), x.dim())
    p = int(call.get("p", 2))
    if p not in (1, 2):
        call.bad(f"p is {p}; the text knows 1 and 2")
    norm = torch.linalg.vector_norm(x, ord=p, dim=axis, keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


@op("Dropout", since=7, until=11)
def dropout_7(call: Call, x: Tensor) -> Tensor:
    """Inference: the input as it is."""
    if any(call.outputs_wanted[1:]):
        call.unsupported("the mask, which this text leaves open at inference")
    return x


@op("Dropout", since=12)
def dropout(
    call: Call, x: Tensor, ratio: Tensor | None = None, training_mode: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """The input as it is; with `training_mode` only where nothing would be dropped."""
    if training_mode is not None and bool(training_mode) and (ratio is None or float(ratio) != 0):
        call.unsupported("training_mode is true: which elements are dropped is random, and no text determines it")
    return (x, torch.ones_like(x, dtype=torch.bool)) if any(call.outputs_wanted[1:]) else x
