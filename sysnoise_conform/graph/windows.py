"""The sliding windows of Conv and of poolings along one axis: how many there are, and how far they reach.

The ONNX text of opset 22 (MaxPool, AveragePool) and PyTorch: with ceil_mode a last window that would begin in the
padding behind the input is none. onnx's own shape inference counts it at opset 12 (onnx/onnx#5741).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from sysnoise_conform.graph.rewrite import integer, integers, text


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A window along one axis; sizes and pads in elements."""

    size: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int

    @property
    def extent(self) -> int:
        """How many elements one window spans."""
        return self.dilation * (self.kernel - 1) + 1

    def count(self, *, ceil: bool) -> int:
        """How many windows there are; 0 where not one fits."""
        room = self.size + self.begin + self.end - self.extent
        if room < 0:
            return 0
        found = room // self.stride + 1
        if ceil and room % self.stride and found * self.stride < self.size + self.begin:
            found += 1
        return found

    def same_total(self) -> int:
        """The padding that SAME_UPPER and SAME_LOWER share between both sides: ceil(size / stride) windows fit."""
        return max(0, (-(-self.size // self.stride) - 1) * self.stride + self.extent - self.size)


def halves(total: int, *, extra_first: bool) -> tuple[int, int]:
    """A padding shared between both sides; SAME_LOWER has the odd element in front."""
    small = total // 2
    return (total - small, small) if extra_first else (small, total - small)


def windows_of(node: NodeProto, shape: Sequence[int], kernel: Sequence[int]) -> tuple[Window, ...]:
    """A Conv's or pooling's windows over an input of this shape, one per spatial axis, with the pads that it has there.

    `kernel` stands in for a kernel_shape that the node leaves out. Empty where attributes and shape do not fit.
    """
    sizes = tuple(shape[2:])
    ones = (1,) * len(sizes)
    extents = integers(node, "kernel_shape", kernel)
    strides, dilations = integers(node, "strides", ones), integers(node, "dilations", ones)
    pads = integers(node, "pads", (0,) * 2 * len(sizes))
    if not sizes or {len(extents), len(strides), len(dilations)} != {len(sizes)} or len(pads) != 2 * len(sizes):
        return ()
    if min((*sizes, *extents, *strides, *dilations)) < 1:
        return ()
    auto = text(node, "auto_pad", "NOTSET")
    found = []
    for axis, (size, extent, stride, dilation) in enumerate(zip(sizes, extents, strides, dilations, strict=True)):
        bare = Window(size=size, kernel=extent, stride=stride, dilation=dilation, begin=0, end=0)
        begin, end = pads[axis], pads[axis + len(sizes)]
        if auto.startswith("SAME"):
            begin, end = halves(bare.same_total(), extra_first=auto == "SAME_LOWER")
        elif auto == "VALID":
            begin, end = 0, 0
        found.append(Window(size=size, kernel=extent, stride=stride, dilation=dilation, begin=begin, end=end))
    return tuple(found)


def has_ceil(node: NodeProto) -> bool:
    """Whether the node counts with ceil_mode; auto_pad leaves it without a meaning."""
    return bool(integer(node, "ceil_mode", 0)) and text(node, "auto_pad", "NOTSET") == "NOTSET"
