"""The sliding window of convolutions and poolings: kernel, strides, dilations and padding per axis."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.op import Call


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A window over the spatial axes; every tuple has one entry per axis, pads are in elements."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    auto_pad: str = "NOTSET"

    @property
    def extents(self) -> tuple[int, ...]:
        """How many input elements one window spans."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def symmetric(self) -> bool:
        """Whether each axis is padded by the same amount on both sides."""
        return self.begin == self.end

    def padded(self, x: Tensor, value: float = 0.0, end: tuple[int, ...] | None = None) -> Tensor:
        """`x` padded by `begin` and `end` (a negative pad crops)."""
        after = self.end if end is None else end
        if not any(self.begin) and not any(after):
            return x
        # F.pad lists the last axis first.
        pairs = [pad for axis in zip(reversed(self.begin), reversed(after), strict=True) for pad in axis]
        return F.pad(x, pairs, value=value)


def per_axis(call: Call, name: str, axes: int, *, least: int) -> tuple[int, ...]:
    """The attribute's values, one per spatial axis; 1 (or `least` where that is 0) where it is absent.

    Raises `BadModel` for a wrong count or a value below `least`.
    """
    values = call.get(name)
    if values is None:
        return (max(least, 0),) * axes
    if len(values) != axes:
        call.bad(f"{name} has {len(values)} values for {axes} spatial axes")
    if min(values, default=least) < least:
        call.bad(f"{name} {list(values)} has a value below {least}")
    return tuple(int(v) for v in values)


def explicit_pads(call: Call, axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The attribute `pads` as (begin, end), zeros where it is absent."""
    pads = call.get("pads")
    if pads is None:
        return (0,) * axes, (0,) * axes
    if len(pads) != 2 * axes:
        call.bad(f"pads has {len(pads)} values for {axes} spatial axes")
    if min(pads, default=0) < 0:
        call.bad(f"pads {list(pads)} has a negative value")
    return tuple(pads[:axes]), tuple(pads[axes:])


def split_padding(total: int, *, extra_first: bool) -> tuple[int, int]:
    """`total` shared between both sides; the odd one goes to the beginning or to the end."""
    small = total // 2
    return (total - small, small) if extra_first else (small, total - small)


def window(call: Call, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> Window:
    """The window that a node's attributes describe over spatial axes of these `sizes`.

    With `auto_pad` SAME_UPPER or SAME_LOWER the output has ceil(size / stride) elements. Raises
    `BadModel` for attributes that contradict each other or the rank.
    """
    axes = len(sizes)
    declared = call.get("kernel_shape")
    if declared is not None and tuple(declared) != kernel:
        call.bad(f"kernel_shape {list(declared)} is not the weight's {list(kernel)}")
    if len(kernel) != axes:
        call.bad(f"a kernel of {len(kernel)} axes for an input with {axes} spatial axes")
    if min(kernel, default=1) < 1:
        call.bad(f"kernel_shape {list(kernel)} has a value below 1")
    strides = per_axis(call, "strides", axes, least=1)
    dilations = per_axis(call, "dilations", axes, least=1)
    auto_pad = str(call.get("auto_pad", "NOTSET") or "NOTSET")
    bare = Window(
        kernel=kernel, strides=strides, dilations=dilations, begin=(0,) * axes, end=(0,) * axes, auto_pad=auto_pad
    )
    match auto_pad:
        case "NOTSET":
            begin, end = explicit_pads(call, axes)
        case "VALID":
            begin, end = bare.begin, bare.end
        case "SAME_UPPER" | "SAME_LOWER":
            pairs = [
                split_padding(
                    max(0, (-(-size // stride) - 1) * stride + extent - size), extra_first=auto_pad == "SAME_LOWER"
                )
                for size, stride, extent in zip(sizes, strides, bare.extents, strict=True)
            ]
            begin, end = tuple(b for b, _ in pairs), tuple(e for _, e in pairs)
        case _:
            call.bad(f"auto_pad is {auto_pad!r}; the text knows NOTSET, SAME_UPPER, SAME_LOWER and VALID")
    return Window(kernel=kernel, strides=strides, dilations=dilations, begin=begin, end=end, auto_pad=auto_pad)
