"""uint64 arithmetic on the int64 tensors that hold it modulo 2**64, where signed arithmetic differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sysnoise_conform.golden.op import Call
from sysnoise_conform.golden.types import T

_TOP_BIT = -(2**63)


def has_uint64(call: Call) -> bool:
    """Whether one of the node's inputs is declared UINT64."""
    return T.UINT64 in call.input_types


def ordered(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whose signed order is the unsigned order of `tensor`; its own inverse."""
    return tensor ^ _TOP_BIT


def by_numpy(function: Callable[..., Any], *tensors: torch.Tensor) -> torch.Tensor:
    """`function` of the tensors as numpy uint64 arrays, its uint64 result as an int64 tensor."""
    with np.errstate(all="ignore"):
        result = function(*(each.contiguous().numpy().view(np.uint64) for each in tensors))
    return torch.from_numpy(np.ascontiguousarray(result).view(np.int64).reshape(np.shape(result)).copy())


def to_float(tensor: torch.Tensor) -> torch.Tensor:
    """The unsigned values as float64, each rounded once."""
    return torch.from_numpy(np.asarray(tensor.contiguous().numpy().view(np.uint64).astype(np.float64)).copy())


def from_float(tensor: torch.Tensor) -> torch.Tensor:
    """Floating-point values, truncated, modulo 2**64."""
    high = tensor >= 2.0**63
    return torch.where(high, (tensor - 2.0**63).to(torch.int64) ^ _TOP_BIT, tensor.to(torch.int64))
