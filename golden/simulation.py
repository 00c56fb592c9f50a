"""What a correct float32 runtime could have computed: the float64 run, every operator off by an error of its sigma.

PyTorch's own float32 run is one such computation, and a good one: it sums in blocks. A runtime that adds one
element after the other is correct as well, and what it is off by then goes through the rest of the network like any
error. So each result y of an operator with a derived sigma becomes y * (1 + s*r), with r uniform of variance 1 and
s = sigma / rms(y), and everything behind it is computed from that. Several such runs also tell what a tensor of few
elements would say if it had more of them.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sysnoise_conform.golden.types import FLOATS, T
from sysnoise_conform.golden.values import Value, settle

# As many runs as compute this many elements, within bounds: a large network's tensors are large themselves.
ELEMENTS = 1 << 23
MOST_RUNS = 8

PERIOD = 1 << 18  # random numbers that are drawn once; each part of a tensor takes them from another place on

_SPREAD = math.sqrt(3)  # of a uniform number of variance 1


def runs_for(elements: int) -> int:
    """How many simulated runs a network gets whose tensors have so many elements together."""
    return max(1, min(MOST_RUNS, ELEMENTS // max(1, elements)))


class Disturbed:
    """The disturbance of one run: the same model, feeds and number give the same errors."""

    def __init__(self, relative: Mapping[str, float], feeds: Mapping[str, np.ndarray], number: int) -> None:
        self._relative = relative  # tensor -> sigma / rms
        seed = number
        for name in sorted(feeds):
            array = feeds[name]
            content = repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
            seed = zlib.crc32(content, seed)
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrets

    def __call__(self, name: str, value: Value) -> Value:
        """The tensor with its operator's error."""
        size = self._relative.get(name, 0.0)
        if not size or value.elem_type not in FLOATS:
            return value
        exact = value.data.to(torch.float64).contiguous()
        disturbed = torch.empty_like(exact)
        flat, into, noise = exact.view(-1), disturbed.view(-1), _noise()
        for start in range(0, flat.numel(), PERIOD):
            part = flat[start : start + PERIOD]
            place = self._random.randrange(PERIOD)
            errors, factor = noise[place : place + part.numel()], size
            if size * _SPREAD > 1:  # a sign is never lost: what lies near 0 for a reason stays on its side
                errors, factor = (errors * size).clamp(min=-1), 1.0
            torch.addcmul(part, part, errors, value=factor, out=into[start : start + PERIOD])
        if value.elem_type == T.FLOAT:
            return Value(disturbed.to(value.data.dtype), T.FLOAT)
        return Value(settle(disturbed, value.elem_type, torch.float64), value.elem_type)


@lru_cache(maxsize=1)
def _noise() -> Tensor:
    """Uniform numbers of variance 1, and once more: any PERIOD of them in a row are all of them, in turn."""
    numbers = torch.from_numpy(np.random.default_rng(0).uniform(-_SPREAD, _SPREAD, PERIOD))
    return torch.cat([numbers, numbers])
