"""What a difference looks like: hypotheses fitted to one sample's error, each with what it leaves unexplained.

A reading is a measurement, not a verdict: `residual` is rms(error left under the hypothesis) /
rms(error), and only hypotheses that leave less than half are named. Those that predict values go
first (best first, the simplest first when two explain equally well), then those that only say where
the error lies, then the number formats, which only say how large it is.

Number formats: a tensor reads as bfloat16 (float16) when its values, but not the golden's, are
representable in that format, and the error is no larger than a network computed in the format makes
it (`FORMAT_REACH` unit roundoffs of the tensor's rms). Its residual is the larger of the share of
values that are not representable and the part of the error beyond that reach.

An error that a few elements carry, (sum e²)² / sum e⁴ < `CARRIERS`, is fitted by nearly everything: of such
only clipping and formats are told, which each element witnesses by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import numpy as np

from sysnoise_conform.compare.codes import read_codes
from sysnoise_conform.compare.tensors import GoldenTensorLike
from sysnoise_conform.compare.ulp import FORMATS
from sysnoise_conform.outcome import Reading
from sysnoise_conform.report import elem_type_name

Array = np.ndarray[Any, Any]

EXPLAINS = 0.5  # a hypothesis that leaves more of the error's rms than this is not named
TIE = 0.05  # residuals closer than this are equally good
FEWEST = 16  # elements: below, a fitted constant explains noise too well (R^2 > 3/4 by chance)
CARRIERS = FEWEST / 3  # of that many elements with a normal error; (sum e²)² / sum e⁴ is a third of them
MOST = 1 << 18  # elements looked at: leading items, then leading channels, of a larger tensor
WITHIN = 0.25  # of the error's rms must lie within channels, for a scale with a constant to each of them
FORMAT_REACH = 8.0  # unit roundoffs: 8 * 2**-8 = 3 %; bfloat16 networks measured 0.3 to 2.5 %
MOST_SHIFTED = 1 << 15  # elements: there are 24 shifts to try, and a few planes tell one
MOST_PERMUTED = 4  # channels: grey, RGB, RGBA

_KNOWN_ORDERS: dict[tuple[int, ...], str] = {
    (0, 2, 3, 1): "NCHW read as NHWC",
    (0, 3, 1, 2): "NHWC read as NCHW",
    (0, 1, 3, 2): "H and W exchanged",
    (1, 0): "rows and columns exchanged",
}
_AXIS_WORDS = {-2: ("up", "down"), -1: ("to the left", "to the right")}


def read(golden: GoldenTensorLike, got: Array) -> tuple[Reading, ...]:
    """The hypotheses that explain `got - golden`; none for random noise or no error at all."""
    if golden.data.dtype.kind in "iu":
        return read_codes(np.asarray(golden.data), np.asarray(got))
    if elem_type_name(golden.elem_type) not in FORMATS or np.iscomplexobj(golden.data):
        return ()
    g, a = np.asarray(golden.data), np.asarray(got)
    if g.shape != a.shape:
        return tuple(_other_shape(g, a))
    g, a = _part(g), _part(a).astype(np.float64)
    hidden = list(_nan_hidden(g, a))
    both = np.isfinite(g) & np.isfinite(a)
    if not np.array_equal(np.isfinite(g), np.isfinite(a)):
        return tuple(hidden)  # what is left of the numbers is not what the difference is about
    if not both.all():
        g, a = np.where(both, g, 0.0), np.where(both, a, 0.0)
    error = a - g
    total = _rms(error)
    if g.size < FEWEST or not 0 < total < math.inf:
        return tuple(hidden)
    found = hidden
    groups = (_PREDICT, _LOCATE, (_formats,)) if _carriers(error) >= CARRIERS else ((_clipped, _formats),)
    for group in groups:
        named = [
            (round(each.residual / TIE), rank, each)
            for rank, hypothesis in enumerate(group)
            for each in hypothesis(g, a, error, total)
            if each.residual < EXPLAINS
        ]
        found.extend(each for *_, each in sorted(named, key=lambda item: item[:2]))
    return tuple(found)


def _rms(x: Array) -> float:
    # No dot product: BLAS hands one of this size to all cores, and on a busy machine waits a hundred times as long.
    return math.sqrt(float(np.square(x).sum()) / x.size) if x.size else 0.0


def _carriers(error: Array) -> float:
    """How many elements carry the error: all where it is even, 1 where one outweighs the rest."""
    powers = np.square(error / np.abs(error).max()).reshape(-1)
    return float(powers.sum()) ** 2 / float(np.dot(powers, powers))


def _part(x: Array, most: int = MOST) -> Array:
    """At most `most` elements, keeping whole planes: fewer items of the batch first, then fewer channels."""
    axis = 0
    while x.size > most and axis < x.ndim:
        keep = max(1, most * x.shape[axis] // x.size)
        x = x[(slice(None),) * axis + (slice(0, keep),)]
        axis += 1
    return np.ascontiguousarray(x)


def _nan_hidden(g: Array, a: Array) -> Iterator[Reading]:
    bad = ~np.isfinite(g)
    count = int(np.count_nonzero(bad))
    if count:
        kept = int(np.count_nonzero(bad & ~np.isfinite(a)))
        if kept < EXPLAINS * count:
            yield Reading(kind="nan_hidden", residual=kept / count, value=f"{count - kept} of {count}")


# Hypotheses that predict values. Each takes the golden, the backend's tensor, the error and its rms.


def _constant(_g: Array, a: Array, error: Array, total: float) -> Iterator[Reading]:
    value = float(a.reshape(-1)[0])
    if np.ptp(a) <= 1e-6 * abs(value) and float(np.ptp(error)) > 0:
        yield Reading(kind="constant", residual=float(a.std()) / total, value=f"{value:.6g}")


def _sign_flip(g: Array, a: Array, _error: Array, total: float) -> Iterator[Reading]:
    yield Reading(kind="sign_flip", residual=_rms(a + g) / total)


def _scale(g: Array, a: Array, _error: Array, total: float) -> Iterator[Reading]:
    x, y = g.reshape(-1), a.reshape(-1)
    energy = float(np.dot(x, x))
    if energy > 0:
        slope = float(np.dot(x, y)) / energy
        if slope > 0:
            yield Reading(kind="scale", residual=_rms(y - slope * x) / total, value=f"{slope:.5g}")


def _scales(g: Array, a: Array, error: Array, total: float) -> Iterator[Reading]:
    """One scale, of the values or of what they were before a bias; the latter where it explains clearly more."""
    plain, before = (next(each(g, a, error, total), None) for each in (_scale, _scale_before_bias))
    if before is not None and (plain is None or before.residual < plain.residual - TIE):
        plain = before
    if plain is not None:
        yield plain


def _scale_before_bias(g: Array, _a: Array, error: Array, total: float) -> Iterator[Reading]:
    """The error as the values go, in each channel from a constant of its own: products scaled, a bias that is not."""
    axis = 1 if g.ndim >= 3 else g.ndim - 1
    if g.ndim < 2 or g.size < FEWEST * g.shape[axis] or g.shape[axis] == g.size:
        return
    others = tuple(each for each in range(g.ndim) if each != axis)
    x = g - g.mean(axis=others, keepdims=True)
    y = error - error.mean(axis=others, keepdims=True)
    energy = float(np.square(x).sum())
    slope = float((x * y).sum()) / energy if energy > 0 else 0.0
    size = _rms(y)
    # What lies between channels, the constants explain for free: of a shifted bias there is nothing else.
    if slope > -1 and size > WITHIN * total:
        value = f"{1 + slope:.5g} before a bias is added"
        yield Reading(kind="scale", residual=_rms(y - slope * x) / size, value=value)


def _offset(_g: Array, _a: Array, error: Array, total: float) -> Iterator[Reading]:
    mean = float(error.mean())
    yield Reading(kind="offset", residual=float(error.std()) / total, value=f"{mean:+.4g}")


def _clipped(g: Array, a: Array, _error: Array, total: float) -> Iterator[Reading]:
    low, high = float(a.min()), float(a.max())
    below = bool(np.count_nonzero(a == low) > 1 and np.count_nonzero(g < low) > 1)
    above = bool(np.count_nonzero(a == high) > 1 and np.count_nonzero(g > high) > 1)
    if low < high and (below or above):
        bounds = ((above, high, "above"), (below, low, "below"))
        words = [f"at {bound:.6g} {side}" for hit, bound, side in bounds if hit]
        left = np.clip(g, low if below else None, high if above else None)
        yield Reading(kind="clipped", residual=_rms(a - left) / total, value=", ".join(words))


def _channels_swapped(g: Array, a: Array, _error: Array, total: float) -> Iterator[Reading]:
    for axis in sorted({1, g.ndim - 1}) if g.ndim >= 2 else ():
        channels = g.shape[axis]
        if not 2 <= channels <= MOST_PERMUTED or g.size < FEWEST * channels:
            continue
        x = np.moveaxis(g, axis, 0).reshape(channels, -1)
        y = np.moveaxis(a, axis, 0).reshape(channels, -1)
        distance = [[_rms(y[i] - x[j]) ** 2 for j in range(channels)] for i in range(channels)]
        best = min(permutations(range(channels)), key=lambda p: sum(distance[i][j] for i, j in enumerate(p)))
        if best != tuple(range(channels)):
            left = math.sqrt(sum(distance[i][j] for i, j in enumerate(best)) / channels)
            value = f"{', '.join(map(str, best))} along dimension {axis}"
            yield Reading(kind="channels_swapped", residual=left / total, value=value)


def _transposed(g: Array, a: Array, _error: Array, total: float) -> Iterator[Reading]:
    best = None
    for order in _orders(g.ndim):
        turned = g.transpose(order).reshape(g.shape)  # the same memory, read in another order
        left = _rms(a - turned) / total
        if best is None or left < best.residual:
            best = Reading(kind="transposed", residual=left, value=_order_words(order))
    if best is not None:
        yield best


def _other_shape(g: Array, a: Array) -> Iterator[Reading]:
    """A backend that answers with the golden's dimensions in another order."""
    if sorted(g.shape) != sorted(a.shape) or not g.size:
        return
    size = _rms(np.where(np.isfinite(g), g, 0.0))
    for order in _orders(g.ndim):
        turned = g.transpose(order)
        if turned.shape == a.shape and size > 0:
            left = np.where(np.isfinite(turned), a - turned, 0.0)
            if _rms(np.ascontiguousarray(left)) < EXPLAINS * size:
                yield Reading(kind="transposed", residual=_rms(left) / size, value=_order_words(order))
                return


def _orders(rank: int) -> list[tuple[int, ...]]:
    """Orders of the dimensions other than as they are; the batch stays first from rank 4 on."""
    if not 2 <= rank <= 5:
        return []
    fixed = (0,) if rank >= 4 else ()
    moved = range(len(fixed), rank)
    return [(*fixed, *order) for order in permutations(moved) if order != tuple(moved)]


def _order_words(order: tuple[int, ...]) -> str:
    return _KNOWN_ORDERS.get(order, "dimensions " + ", ".join(map(str, order)))


def _shift(g: Array, a: Array, error: Array, total: float) -> Iterator[Reading]:
    """By one or half a pixel along H, W or both, for planes in the last two dimensions or NHWC."""
    layouts = [[g, a, error]]
    if g.ndim == 4:
        layouts.append([np.moveaxis(x, 3, 1) for x in (g, a, error)])
    best = None
    for layout in layouts if g.ndim >= 3 else ():
        x, y, e = (_part(each, MOST_SHIFTED) for each in layout)
        if min(x.shape[-2:]) < 8:
            continue
        size = _rms(np.ascontiguousarray(e[..., 1:-1, 1:-1]))
        if size < total * EXPLAINS:  # an error at the border is not a shift
            continue
        for down in (0, 1, -1, 0.5, -0.5):
            for right in (0, 1, -1, 0.5, -0.5):
                if not down and not right:
                    continue
                moved = _moved(_moved(x, -2, down), -1, right)
                left = _rms(np.ascontiguousarray(y[..., 1:-1, 1:-1] - moved)) / size
                if best is None or left < best.residual - 1e-9:
                    best = Reading(kind="shift", residual=left, value=_shift_words(down, right))
    if best is not None:
        yield best


def _moved(x: Array, axis: int, by: float) -> Array:
    """The planes moved `by` pixels towards higher indices, without the outermost pixel on either side."""

    def at(offset: int) -> Array:
        index: list[Any] = [slice(None)] * x.ndim
        index[axis] = slice(1 + offset, x.shape[axis] - 1 + offset)
        return np.asarray(x[tuple(index)])

    if by in (0, 1, -1):
        return at(-int(by))
    return (at(0) + at(-1 if by > 0 else 1)) / 2


def _shift_words(down: float, right: float) -> str:
    parts = []
    for axis, by in ((-2, down), (-1, right)):
        if by:
            size = "1 pixel" if abs(by) == 1 else "half a pixel"
            parts.append(f"{size} {_AXIS_WORDS[axis][by > 0]}")
    return "by " + " and ".join(parts)


# Hypotheses that say where the error lies.


def _one_channel(g: Array, _a: Array, error: Array, _total: float) -> Iterator[Reading]:
    for axis in sorted({1, g.ndim - 1}) if g.ndim >= 2 else ():
        channels = g.shape[axis]
        others = tuple(each for each in range(g.ndim) if each != axis)
        if channels < 3 or g.size < FEWEST * channels:
            continue
        energy = np.square(error).sum(axis=others)
        # Relative to the channel's own size: rounding is larger where the values are.
        size = np.square(g).sum(axis=others)
        relative = energy / np.maximum(size, 1e-6 * size.mean() or 1.0)
        worst = int(energy.argmax())
        left = max(1 - float(each[worst]) / float(each.sum()) for each in (energy, relative))
        value = f"channel {worst} of {channels} along dimension {axis}"
        yield Reading(kind="one_channel", residual=math.sqrt(max(0.0, left)), value=value)


def _border(g: Array, _a: Array, error: Array, _total: float) -> Iterator[Reading]:
    if g.ndim < 3 or min(g.shape[-2:]) < 8:
        return
    power = np.square(error).reshape(-1, *g.shape[-2:]).sum(axis=0)
    total = float(power.sum())
    sides = {
        "top": float(power[0].sum()),
        "bottom": float(power[-1].sum()),
        "left": float(power[:, 0].sum()),
        "right": float(power[:, -1].sum()),
    }
    inside = float(power[1:-1, 1:-1].sum())
    share = (g.shape[-2] - 2) * (g.shape[-1] - 2) / (g.shape[-2] * g.shape[-1])
    if inside < EXPLAINS**2 * share * total:  # far less than an even spread would leave inside
        named = [name for name, energy in sides.items() if energy > 0.1 * total]
        where = "all sides" if len(named) == len(sides) else ", ".join(named)
        yield Reading(kind="border", residual=math.sqrt(inside / total), value=where)


# Number formats.


def _formats(g: Array, a: Array, _error: Array, total: float) -> Iterator[Reading]:
    import ml_dtypes

    size = _rms(g)
    telling = (a != 0) & (g != 0)
    if not size or np.count_nonzero(telling) < FEWEST:
        return
    values, truth = a[telling], g[telling]
    with np.errstate(over="ignore"):
        for kind, dtype, roundoff in (("bfloat16", ml_dtypes.bfloat16, 2.0**-8), ("float16", np.float16, 2.0**-11)):
            outside = _share_outside(values, dtype)
            if _share_outside(truth.astype(np.float32), dtype) < EXPLAINS:
                return  # the golden is of this format itself
            beyond = math.sqrt(max(0.0, 1 - (FORMAT_REACH * roundoff * size / total) ** 2))
            if outside < EXPLAINS:
                yield Reading(kind=kind, residual=max(outside, beyond))
                return  # what is representable in bfloat16 is so in float16, too


def _share_outside(values: Array, dtype: Any) -> float:
    return float(np.mean(values.astype(np.float32).astype(dtype).astype(np.float64) != values))


_Hypothesis = Callable[[Array, Array, Array, float], Iterator[Reading]]

# In order of simplicity.
_PREDICT: tuple[_Hypothesis, ...] = (
    _constant, _sign_flip, _scales, _offset, _clipped, _channels_swapped, _transposed, _shift,
)  # fmt: skip
_LOCATE: tuple[_Hypothesis, ...] = (_one_channel, _border)
