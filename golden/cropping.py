"""CenterCropPad: cut to a size, or filled up to it with zeros, around the centre."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.op import Call, op


@op("CenterCropPad", since=18, moves=True)
def center_crop_pad(call: Call, x: Any, shape: Tensor) -> Any:
    """`x` with the `axes` (all by default) cropped or padded to `shape`; the odd element is at the end."""
    rank, wanted = len(x.shape), [int(v) for v in shape.tolist()]
    axes = [int(axis) for axis in call.get("axes") or range(rank)]
    if len(wanted) != len(axes) or min(wanted, default=0) < 0 or any(not -rank <= axis < rank for axis in axes):
        call.bad(f"shape {wanted} for the axes {axes} of an input of rank {rank}")
    pads = [(0, 0)] * rank
    for axis, target in zip(axes, wanted, strict=True):
        size = x.shape[axis]
        spare = abs(target - size)
        first, last = spare // 2, spare - spare // 2
        pads[axis] = (first, last) if target > size else (-first, -last)
    if isinstance(x, np.ndarray):
        if any(first > 0 or last > 0 for first, last in pads):
            call.unsupported("padding strings: the text says zero")
        return x[tuple(slice(-first, size + last) for (first, last), size in zip(pads, x.shape, strict=True))]
    return F.pad(x, [pad for pair in reversed(pads) for pad in pair])
