"""Resize: which coordinate an output pixel has, which neighbour is nearest, and how wide a filter is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from sysnoise_conform.probe.arrays import Array, f32, i64
from sysnoise_conform.probe.case import Kind, ProbeCase, Trigger, Values, case
from sysnoise_conform.probe.node import Node
from sysnoise_conform.probe.rounding import U32

_HALF = Fraction(1, 2)
_WIDE, _MODES = (15, 17), ("coordinate_transformation_mode", "mode")
_NEAREST = (*_MODES, "nearest_mode")


def _coordinate(how: str, index: int, size: int, length: int, scale: Fraction) -> Fraction:
    """Where output pixel `index` lies in the input, exactly."""
    half_pixel = (index + _HALF) / scale - _HALF
    match how:
        case "half_pixel":
            return half_pixel
        case "half_pixel_symmetric":
            return half_pixel + Fraction(size, 2) * (1 - length / (scale * size))
        case "pytorch_half_pixel":
            return half_pixel if length > 1 else Fraction(0)
        case "align_corners":
            return Fraction(index * (size - 1), length - 1) if length > 1 else Fraction(0)
        case "asymmetric":
            return index / scale
        case _:
            raise ValueError(how)


_NEAREST_OF: dict[str, Callable[[Fraction], int]] = {
    "round_prefer_floor": lambda x: math.ceil(x - _HALF),
    "round_prefer_ceil": lambda x: math.floor(x + _HALF),
    "floor": math.floor,
    "ceil": math.ceil,
}


def _linear(distance: float) -> float:
    return max(0.0, 1 - abs(distance))


def _cubic(a: float) -> Callable[[float], float]:
    def weight(distance: float) -> float:
        d = abs(distance)
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0

    return weight


def _matrix(
    size: int, length: int, scale: Fraction, how: str, *, nearest: str = "",
    filtered: Callable[[float], float] = _linear, reach: int = 1, antialias: bool = False,
    exclude_outside: bool = False,
) -> Array:  # fmt: skip
    """The weights of one axis, output pixels by input pixels; a pixel outside is the edge's."""
    weights = np.zeros((length, size))
    for index in range(length):
        x = _coordinate(how, index, size, length, scale)
        if nearest:
            weights[index, min(max(_NEAREST_OF[nearest](x), 0), size - 1)] = 1
            continue
        stretch = max(1.0, float(1 / scale)) if antialias else 1.0
        taps = range(math.floor(x - reach * stretch), math.ceil(x + reach * stretch) + 1)
        row = {each: filtered(float(each - x) / stretch) for each in taps}
        if exclude_outside:
            row = {each: weight for each, weight in row.items() if 0 <= each < size}
        total = sum(row.values())
        for each, weight in row.items():
            weights[index, min(max(each, 0), size - 1)] += weight / total
    return weights


def resize(
    x: Array, sizes: Sequence[int], how: str, *, scales: Sequence[Fraction] | None = None, **style: Any
) -> Array:
    """The last two axes of `x` resized to `sizes`; a scale is the exact ratio unless it is given."""
    y = x.astype(np.float64)
    for axis, length in enumerate(sizes, start=2):
        scale = scales[axis - 2] if scales is not None else Fraction(length, x.shape[axis])
        weights = _matrix(x.shape[axis], length, scale, how, **style)
        y = np.moveaxis(np.tensordot(weights, y, (1, axis)), 0, axis)
    return y


def _interpolated(y: Array, x: Array) -> Values:
    """A coordinate in float32 is off by some roundings of the size; a value by that, times the steepest slope."""
    slope = max(float(np.abs(np.diff(x.astype(np.float64), axis=axis)).max()) for axis in (2, 3))
    size = max(x.shape[2:])
    return Values(
        arrays={"y": y},
        allowed=8 * U32 * (size * slope + float(np.abs(x).max())),
        why=f"coordinates up to {size} in float32, times the steepest slope",
    )


def _scales(node: Node) -> list[Fraction] | None:
    """The scales of a node's axes, as far as its constants and shapes tell."""
    sizes, shape = node.constant(3), node.shape()
    if sizes is not None and sizes.size:
        lengths = [int(each) for each in sizes.ravel()]
        if shape is None or len(shape) != len(lengths) or None in shape:
            return None
        return [Fraction(length, size) for length, size in zip(lengths, shape, strict=True) if size]
    scales = node.constant(2)
    return None if scales is None or not scales.size else [Fraction(float(each)) for each in scales.ravel()]


def _uneven(node: Node) -> bool:
    """Whether a scale is known, and is neither a whole number nor one part of it: those are exact everywhere."""
    return any(each.numerator != 1 and each.denominator != 1 for each in _scales(node) or [])


def _halves(node: Node) -> bool:
    """Whether a scale is known to be a half, a quarter, ...: then half-pixel coordinates are ties."""
    return any(each.numerator == 1 and each.denominator % 2 == 0 for each in _scales(node) or [])


def _shrinks(node: Node) -> bool:
    return any(each < 1 for each in _scales(node) or [])


def _to_one(node: Node) -> bool:
    """Whether an axis is known to become one pixel, out of several."""
    sizes, shape = node.constant(3), node.shape()
    if sizes is None or shape is None or len(shape) != sizes.size:
        return False
    return any(length == 1 and size != 1 for length, size in zip(sizes.ravel(), shape, strict=True))


def _case(
    name: str, about: str, kind: Kind, why: str, x: Array, truth: Values | Array, *, sizes: Sequence[int] | None = None,
    scales: Array | None = None, opset: int = 19, trigger: Trigger | None = None, **attributes: Any,
) -> ProbeCase:  # fmt: skip
    return case(
        f"resize-{name}", "Resize", about, kind, why,
        {
            "x": x, "roi": None, "scales": None if sizes is not None else scales,
            **({"sizes": i64([*x.shape[:2], *sizes])} if sizes is not None else {}),
        },
        truth, constants=("scales", "sizes"), attributes=attributes, opset=opset, trigger=trigger,
    )  # fmt: skip


def _nearest(
    name: str, kind: Kind, why: str, size: int, length: int, how: str, rounding: str, *, scale: float | None = None,
    also: Callable[[Node], bool] | None = None,
) -> ProbeCase:  # fmt: skip
    """A row of `size` pixels, each with its own number, to `length` pixels."""
    x = np.arange(size, dtype=np.float32).reshape(1, 1, 1, size)
    scales = None if scale is None else f32([1, 1, 1, scale])
    exact = None if scales is None else [Fraction(1), Fraction(float(scales[3]))]
    y = resize(x, (1, length), how, scales=exact, nearest=rounding).astype(np.float32)
    return _case(
        name, f"nearest, {how}, {rounding}, {size} to {length}", kind, why, x, y, opset=13,
        sizes=(1, length) if scales is None else None, scales=scales, trigger=Trigger(attributes=_NEAREST, also=also),
        mode="nearest", coordinate_transformation_mode=how, nearest_mode=rounding,
    )  # fmt: skip


def cases() -> tuple[ProbeCase, ...]:
    """All of them."""
    rng = np.random.default_rng(21)
    image = rng.random((1, 3, *_WIDE), dtype=np.float32)
    framed = np.zeros((1, 2, 24, 24), np.float32)  # zeros all around: how a filter ends at an edge is not asked
    framed[:, :, 8:16, 8:16] = rng.random((1, 2, 8, 8))
    found = [
        _nearest(
            "nearest-tie-ceil", Kind.BUG, "coordinates 4.5 and 14.5 are ties, which go up", 20, 6, "half_pixel",
            "round_prefer_ceil", also=_uneven,
        ),
        _nearest(
            "nearest-half-pixel-ceil", Kind.SEMANTICS,
            "half-pixel centres: PyTorch's `nearest` is asymmetric and rounds down, which is another picture",
            26, 64, "half_pixel", "round_prefer_ceil", scale=64 / 26, also=_uneven,
        ),
        _nearest(
            "nearest-exact-coordinate", Kind.BUG, "output 32 has the coordinate 13 exactly", 26, 64, "asymmetric",
            "floor", also=_uneven,
        ),
        _nearest(
            "nearest-exact", Kind.CONTROL, "what PyTorch calls nearest-exact", 26, 64, "half_pixel",
            "round_prefer_floor", also=_uneven,
        ),
        _nearest(
            "nearest-tie-floor", Kind.CONTROL, "every coordinate is a tie, which goes down", 8, 4, "half_pixel",
            "round_prefer_floor", also=_halves,
        ),
        _nearest("nearest-twice", Kind.CONTROL, "what PyTorch calls nearest", 5, 10, "asymmetric", "floor", scale=2.0),
        _nearest(
            "nearest-ceil", Kind.CONTROL, "the neighbour to the right", 7, 12, "asymmetric", "ceil", also=_uneven
        ),
        _nearest(
            "nearest-align-corners", Kind.CONTROL, "the corners lie on each other", 9, 14, "align_corners",
            "round_prefer_floor", also=_uneven,
        ),
        _case(
            "linear-asymmetric", "linear, asymmetric", Kind.SEMANTICS,
            "the attribute's: PyTorch's bilinear has half-pixel centres instead", image,
            _interpolated(resize(image, (31, 40), "asymmetric"), image),
            sizes=(31, 40), mode="linear", coordinate_transformation_mode="asymmetric",
            trigger=Trigger(attributes=_MODES),
        ),
        _case(
            "linear-pytorch-to-one", "linear, pytorch_half_pixel, to 1x1", Kind.SEMANTICS,
            "the text has coordinate 0 for an axis of one pixel; PyTorch takes the centre", image,
            np.ascontiguousarray(image[:, :, :1, :1]),
            sizes=(1, 1), mode="linear", coordinate_transformation_mode="pytorch_half_pixel",
            trigger=Trigger(attributes=_MODES, also=_to_one),
        ),
        _case(
            "linear-antialias", "linear, antialias=1", Kind.BUG, "a filter as wide as the pixels that it joins", framed,
            _interpolated(resize(framed, (9, 8), "half_pixel", antialias=True), framed),
            sizes=(9, 8), mode="linear", coordinate_transformation_mode="half_pixel", antialias=1, opset=18,
            trigger=Trigger(attributes=("antialias", "mode"), also=_shrinks),
        ),
        _case(
            "cubic-antialias", "cubic, antialias=1", Kind.BUG, "a filter as wide as the pixels that it joins", framed,
            _interpolated(
                resize(framed, (9, 8), "half_pixel", antialias=True, filtered=_cubic(-0.75), reach=2), framed
            ),
            sizes=(9, 8), mode="cubic", coordinate_transformation_mode="half_pixel", antialias=1, opset=18,
            trigger=Trigger(attributes=("antialias", "mode"), also=_shrinks),
        ),
        _case(
            "cubic-coefficient", "cubic, cubic_coeff_a=-0.5", Kind.SEMANTICS, "the attribute's: PyTorch has -0.75",
            image, _interpolated(resize(image, (31, 40), "half_pixel", filtered=_cubic(-0.5), reach=2), image),
            sizes=(31, 40), mode="cubic", coordinate_transformation_mode="half_pixel", cubic_coeff_a=-0.5, opset=18,
            trigger=Trigger(attributes=(*_MODES, "cubic_coeff_a")),
        ),
        _case(
            "half-pixel-symmetric", "linear, half_pixel_symmetric", Kind.UNSUPPORTED, "half-pixel centres", image,
            _interpolated(resize(image, (31, 40), "half_pixel_symmetric"), image),
            sizes=(31, 40), mode="linear", coordinate_transformation_mode="half_pixel_symmetric",
            trigger=Trigger(attributes=_MODES),
        ),
        *(
            _case(
                f"linear-{how.replace('_', '-')}", f"linear, {how}", Kind.CONTROL, "as its formula says", image,
                _interpolated(resize(image, (31, 40), how), image),
                sizes=(31, 40), mode="linear", coordinate_transformation_mode=how, trigger=Trigger(attributes=_MODES),
            )
            for how in ("half_pixel", "pytorch_half_pixel", "align_corners")
        ),
        _case(
            "linear-to-one", "linear, half_pixel, to 1x1", Kind.CONTROL, "the centre", image,
            _interpolated(resize(image, (1, 1), "half_pixel"), image),
            sizes=(1, 1), mode="linear", coordinate_transformation_mode="half_pixel",
            trigger=Trigger(attributes=_MODES, also=_to_one),
        ),
        _case(
            "cubic", "cubic, half_pixel", Kind.CONTROL, "with the coefficient -0.75", image,
            _interpolated(resize(image, (31, 40), "half_pixel", filtered=_cubic(-0.75), reach=2), image),
            sizes=(31, 40), mode="cubic", coordinate_transformation_mode="half_pixel", opset=18,
            trigger=Trigger(attributes=(*_MODES, "cubic_coeff_a")),
        ),
        _case(
            "cubic-exclude-outside", "cubic, exclude_outside=1", Kind.CONTROL, "only pixels of the input have weight",
            image,
            _interpolated(
                resize(image, (31, 40), "half_pixel", filtered=_cubic(-0.75), reach=2, exclude_outside=True), image
            ),
            sizes=(31, 40), mode="cubic", coordinate_transformation_mode="half_pixel", exclude_outside=1, opset=18,
            trigger=Trigger(attributes=(*_MODES, "exclude_outside")),
        ),
        *(
            _case(
                f"linear-scale-{word}", f"linear, half_pixel, scales={scale}", Kind.CONTROL,
                "the given scale counts, not the ratio of the sizes", image,
                _interpolated(
                    resize(
                        image, [math.floor(size * scale) for size in _WIDE], "half_pixel",
                        scales=[Fraction(float(f32(scale)))] * 2,
                    ),
                    image,
                ),
                scales=f32([1, 1, scale, scale]), mode="linear", coordinate_transformation_mode="half_pixel",
                opset=13, trigger=Trigger(attributes=_MODES, also=_uneven),
            )
            for word, scale in (("up", 1.5), ("down", 0.6))
        ),
    ]  # fmt: skip
    return tuple(found)
