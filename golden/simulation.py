"""What a correct float32 runtime could have computed: the float64 run, every operator off by an error of its sigma.

PyTorch's own float32 run is one such computation, and a good one: it sums in blocks. A runtime that adds one
element after the other is correct as well, and what it is off by then goes through the rest of the network like any
error. So each result y of an operator with a derived sigma becomes y * (1 + s*r), with r uniform of variance 1 and
s = sigma / rms(y), and everything behind it is computed from that. Several such runs also tell what a tensor of few
elements would say if it had more of them.

Where an operator gives codes of 8 bits, a value that lies next to the boundary of two is the one or the other by a
float32's rounding. Such codes are few (5 in a million at the first layers of an EfficientNet-Lite0, on four runtimes),
and in a small network none may be among them by luck; but one moves everything behind it. So FLIPPED of them, chosen
at random, are off by one. And where many values lie on a boundary exactly (0 + 3, in steps of 6 / 255, is 127.5 of
them), a kernel that counts in codes as it adds may bring all of them to either side: what nobody but a quantiser reads
is off by BLURRED, so that a run decides each anew.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import onnx
import torch
from torch import Tensor

from sysnoise_conform.golden.types import FLOATS, INTEGER_RANGE, T
from sysnoise_conform.golden.values import Value, settle
from sysnoise_conform.graph import walk

# As many runs as compute this many elements, within bounds: a large network's tensors are large themselves.
ELEMENTS = 1 << 23
MOST_RUNS = 8

PERIOD = 1 << 18  # random numbers that are drawn once; each part of a tensor takes them from another place on

FLIPPED = 1e-4  # of an operator's codes: 20 times as many as correct arithmetic was seen to flip
BLURRED = 2.0**-20  # of a value, which is 2**-12 of a code at the end of 8 bits: half an ulp of a sum of 2**11 codes
_CODES = ("QuantizeLinear", "QLinearConv", "QLinearMatMul")

_SPREAD = math.sqrt(3)  # of a uniform number of variance 1


def runs_for(elements: int) -> int:
    """How many simulated runs a network gets whose tensors have so many elements together."""
    return max(1, min(MOST_RUNS, ELEMENTS // max(1, elements)))


def gives_codes(node: onnx.NodeProto, value: Value) -> bool:
    """Whether an operator rounds to integers what float32 may have left on either side of a boundary."""
    return node.op_type in _CODES and value.elem_type in INTEGER_RANGE


def quantised_only(graph: onnx.GraphProto) -> frozenset[str]:
    """The tensors that quantisers read and nobody else."""
    read = {name for node in graph.node for name in node.input if name and node.op_type == "QuantizeLinear"}
    others = {name for node in graph.node for name in walk.reads(node) if node.op_type != "QuantizeLinear"}
    return frozenset(read - others - {each.name for each in graph.output})


class Disturbed:
    """The disturbance of one run: the same model, feeds and number give the same errors."""

    def __init__(self, relative: Mapping[str, float], feeds: Mapping[str, np.ndarray], number: int) -> None:
        self._relative = relative  # tensor -> sigma / rms; of codes the share that flips
        seed = number
        for name in sorted(feeds):
            array = feeds[name]
            content = repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
            seed = zlib.crc32(content, seed)
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrets

    def __call__(self, name: str, value: Value) -> Value:
        """The tensor with its operator's error."""
        size = self._relative.get(name, 0.0)
        if size and value.elem_type in INTEGER_RANGE:
            return self._flipped(value, size)
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


    def _flipped(self, value: Value, share: float) -> Value:
        low, high = INTEGER_RANGE[value.elem_type]
        flat = value.data.contiguous().clone().view(-1)
        expected = share * flat.numel()
        for _ in range(math.floor(expected + self._random.random())):
            place = self._random.randrange(flat.numel())
            flat[place] = min(max(int(flat[place]) + self._random.choice((-1, 1)), low), high)
        return Value(flat.view(value.data.shape), value.elem_type)


@lru_cache(maxsize=1)
def _noise() -> Tensor:
    """Uniform numbers of variance 1, and once more: any PERIOD of them in a row are all of them, in turn."""
    numbers = torch.from_numpy(np.random.default_rng(0).uniform(-_SPREAD, _SPREAD, PERIOD))
    return torch.cat([numbers, numbers])
