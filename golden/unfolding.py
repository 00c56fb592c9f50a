"""A convolution as matrix products of its own making: rows of input patches times columns of kernels."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call
from sysnoise_conform.golden.sliding import window

Product = Callable[[Tensor, Tensor, int], Tensor]


def convolve_by(call: Call, x: Tensor, w: Tensor, product: Product, *, fill: float = 0.0) -> Tensor:
    """The convolution that the node's attributes describe, each sum made by `product`.

    `x` is (N, C, D1..Dn), padded with `fill`; `w` is (M, C/group, k1..kn). `product(rows, columns, group)` gets one
    row for each output position, (N * D1..Dn, k * C/group), and one column for each kernel, (k * C/group, M/group); the
    summed axis runs over kernel positions, and over the channels within one, which are the faster.
    """
    axes, groups = x.dim() - 2, int(call.get("group", 1))
    if axes < 1 or w.dim() != x.dim() or groups < 1 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        call.bad(f"group {groups} does not divide an input {list(x.shape)} and a weight {list(w.shape)}")
    over = window(call, tuple(x.shape[2:]), tuple(w.shape[2:]))
    padded = over.padded(x, value=fill)
    spans = list(zip(padded.shape[2:], over.extents, over.strides, strict=True))
    if any(size < extent for size, extent, _ in spans):
        call.bad(f"a kernel that spans {list(over.extents)} is larger than the padded input")
    sizes = tuple((size - extent) // stride + 1 for size, extent, stride in spans)
    inner, outer = w.shape[1], w.shape[0] // groups
    positions = list(itertools.product(*(range(k) for k in over.kernel)))
    patches = torch.stack([_met(padded, at, over.strides, over.dilations, sizes) for at in positions], dim=-1)
    parts = []
    for group in range(groups):
        # (N, C/group, D1..Dn, k) -> (N, D1..Dn, k, C/group)
        rows = patches[:, group * inner : (group + 1) * inner].movedim(1, -1).reshape(-1, len(positions) * inner)
        kernels = w[group * outer : (group + 1) * outer].reshape(outer, inner, len(positions))
        columns = kernels.transpose(1, 2).reshape(outer, -1).T
        parts.append(product(rows, columns, group).reshape(x.shape[0], prod(sizes), outer).movedim(-1, 1))
    return torch.cat(parts, dim=1).reshape(x.shape[0], w.shape[0], *sizes)


def _met(
    x: Tensor, at: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...], sizes: tuple[int, ...]
) -> Tensor:
    """The elements that one kernel position meets, one per output position."""
    cut = tuple(
        slice(k * dilation, k * dilation + (size - 1) * stride + 1, stride)
        for k, dilation, stride, size in zip(at, dilations, strides, sizes, strict=True)
    )
    return x[(slice(None), slice(None), *cut)]
