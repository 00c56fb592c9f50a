"""Resize and Upsample: each axis by itself, as source indices and weights for every output element."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, op
from sysnoise_conform.graph.interpolation import (
    WHOLE,
    Axis,
    Floats,
    Scale,
    Style,
    filter_weights,
    nearest_indices,
    source_coordinates,
)


def resize(x: Any, axes: Sequence[Axis], style: Style) -> Any:
    """`x` (a tensor or, for nearest, an array of strings) resized along every axis of `axes`."""
    outside: list[tuple[int, npt.NDArray[np.bool_]]] = []
    for dim, axis in enumerate(axes):
        unchanged = axis.target == axis.size and axis.scale == 1
        if unchanged and (style.coordinates != "tf_crop_and_resize" or axis.roi == WHOLE):
            continue
        # A decision between neighbours is taken in the declared type of the scale, in both modes.
        decisive = np.float64 if isinstance(axis.scale, Fraction) else np.float32
        coordinates = source_coordinates(axis, style.coordinates, decisive)
        if style.coordinates == "tf_crop_and_resize":
            outside.append((dim, (coordinates < 0) | (coordinates > axis.size - 1)))
        if style.mode == "nearest":
            index = np.clip(nearest_indices(coordinates, style.nearest), 0, axis.size - 1)
            x = (
                np.take(x, index, axis=dim)
                if isinstance(x, np.ndarray)
                else x.index_select(dim, torch.from_numpy(index))
            )
        else:
            # Weights are continuous in the coordinate, so they carry the rounding of the mode.
            working = np.float64 if x.dtype == torch.float64 else np.float32
            indices, weights = filter_weights(axis, style, source_coordinates(axis, style.coordinates, working))
            x = _weighted(x, dim, indices, weights)
    for dim, beyond in outside:
        if beyond.any():
            x = x.index_fill(dim, torch.from_numpy(np.flatnonzero(beyond)), style.extrapolation)
    return x


def _weighted(x: Tensor, dim: int, indices: npt.NDArray[np.int64], weights: Floats) -> Tensor:
    shape = [1] * x.dim()
    shape[dim] = -1
    total: Tensor | None = None
    for tap in range(indices.shape[1]):
        weight = torch.from_numpy(np.ascontiguousarray(weights[:, tap])).to(x.dtype).reshape(shape)
        part = x.index_select(dim, torch.from_numpy(np.ascontiguousarray(indices[:, tap])))
        total = part.mul_(weight) if total is None else total.addcmul_(part, weight)
    assert total is not None, "a filter has at least two taps"
    return total


_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize")
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def _style(call: Call) -> Style:
    rules = _COORDINATES + (("tf_half_pixel_for_nn",) if call.opset < 13 else ())
    if call.opset >= 19:
        rules += ("half_pixel_symmetric",)
    style = Style(
        mode=str(call.get("mode", "nearest")),
        coordinates=str(call.get("coordinate_transformation_mode", "half_pixel")),
        nearest=str(call.get("nearest_mode", "round_prefer_floor")),
        cubic_a=float(call.get("cubic_coeff_a", -0.75)),
        exclude_outside=bool(call.get("exclude_outside", 0)),
        extrapolation=float(call.get("extrapolation_value", 0.0)),
        antialias=bool(call.get("antialias", 0)),
    )
    for name, value, known in (
        ("mode", style.mode, ("nearest", "linear", "cubic")),
        ("coordinate_transformation_mode", style.coordinates, rules),
        ("nearest_mode", style.nearest, _NEAREST),
    ):
        if value not in known:
            call.bad(f"{name} is {value!r}; opset {call.opset} knows {', '.join(known)}")
    if style.antialias and style.coordinates == "tf_crop_and_resize":
        call.unsupported("antialias with tf_crop_and_resize, whose filter width the text does not tell")
    return style


def _floats(values: Tensor | None) -> npt.NDArray[np.float32]:
    return np.zeros(0, np.float32) if values is None else values.detach().cpu().numpy().astype(np.float32).reshape(-1)


def _from_sizes(call: Call, shape: Sequence[int], axes: list[int], sizes: list[int]) -> list[tuple[int, Scale]]:
    """(target, scale) of every resized axis where `sizes` was given."""
    if len(sizes) != len(axes) or min(sizes, default=1) < 1:
        call.bad(f"sizes {sizes} for {len(axes)} axes")
    if any(shape[axis] < 1 for axis in axes):
        call.bad(f"an empty input of shape {list(shape)} can't be resized to sizes")
    scales = [Fraction(size, shape[axis]) for axis, size in zip(axes, sizes, strict=True)]
    match call.get("keep_aspect_ratio_policy", "stretch"):
        case "stretch":
            return list(zip(sizes, scales, strict=True))
        case "not_larger":
            scale = min(scales)
        case "not_smaller":
            scale = max(scales)
        case other:
            call.bad(f"keep_aspect_ratio_policy is {other!r}")
    return [(floor(scale * shape[axis] + Fraction(1, 2)), scale) for axis in axes]


def _from_scales(
    call: Call, shape: Sequence[int], axes: list[int], scales: npt.NDArray[np.float32]
) -> list[tuple[int, Scale]]:
    """(target, scale) of every resized axis where `scales` was given: floor(size * scale) in float32."""
    if len(scales) != len(axes) or not (scales > 0).all() or not np.isfinite(scales).all():
        call.bad(f"scales {scales.tolist()} for {len(axes)} axes")
    return [(int(np.floor(np.float32(shape[axis]) * scale)), scale) for axis, scale in zip(axes, scales, strict=True)]


@op("Resize", since=11)
def resize_11(
    call: Call, x: Any, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Any:
    """`x` resized by `scales` or to `sizes`, along all axes or those of the attribute `axes`."""
    style, shape = _style(call), list(x.shape)
    axes = [int(axis) for axis in call.get("axes") or range(len(shape))]
    if any(not -len(shape) <= axis < len(shape) for axis in axes) or len({a % len(shape) for a in axes}) < len(axes):
        call.bad(f"axes {axes} for an input of rank {len(shape)}")
    axes = [axis % len(shape) for axis in axes]
    factors, wanted = _floats(scales), [] if sizes is None else [int(v) for v in sizes.reshape(-1).tolist()]
    if bool(len(factors)) == bool(wanted):
        call.bad("exactly one of scales and sizes must be given")
    plans = _from_sizes(call, shape, axes, wanted) if wanted else _from_scales(call, shape, axes, factors)
    corners = _floats(roi) if style.coordinates == "tf_crop_and_resize" else np.zeros(0, np.float32)
    if style.coordinates == "tf_crop_and_resize" and len(corners) != 2 * len(axes):
        call.bad(f"roi has {len(corners)} values for {len(axes)} axes")
    resized = [Axis(size=size, target=size, scale=Fraction(1)) for size in shape]
    for place, (axis, (target, scale)) in enumerate(zip(axes, plans, strict=True)):
        span = WHOLE
        if len(corners):
            span = (corners[place], corners[place + len(axes)])
            length = np.float32(shape[axis]) * (span[1] - span[0]) * np.float32(scale)
            if not wanted and int(np.floor(length)) != target:
                call.unsupported("tf_crop_and_resize by scales, where text and runtimes differ about the output size")
        resized[axis] = Axis(size=shape[axis], target=target, scale=scale, roi=span)
    return _checked(call, x, resized, style)


def _checked(call: Call, x: Any, axes: list[Axis], style: Style) -> Any:
    if style.mode != "nearest" and not (isinstance(x, Tensor) and x.is_floating_point()):
        call.unsupported(f"mode {style.mode} on integers: the text does not tell how the result is rounded")
    if style.antialias and style.mode == "nearest":
        call.bad("antialias is for linear and cubic")
    if any(axis.size == 0 and axis.target for axis in axes):
        call.bad("an empty input can't become larger")
    if any(axis.target == 0 for axis in axes):
        shape = [axis.target for axis in axes]
        return np.empty(shape, dtype=object) if isinstance(x, np.ndarray) else x.new_zeros(shape)
    return resize(x, axes, style)


def _scaled(call: Call, x: Any, scales: npt.NDArray[np.float32]) -> Any:
    """Before opset 11: coordinates are x / scale, nearest is the element below."""
    mode = {"bilinear": "linear"}.get(str(call.get("mode", "nearest")), str(call.get("mode", "nearest")))
    if mode not in ("nearest", "linear"):
        call.bad(f"mode is {mode!r}; opset {call.opset} knows nearest and linear")
    plans = _from_scales(call, list(x.shape), list(range(len(x.shape))), scales)
    axes = [Axis(size=size, target=t, scale=s) for size, (t, s) in zip(x.shape, plans, strict=True)]
    for axis in axes:
        coordinates = source_coordinates(axis, "asymmetric", np.float32)
        if mode == "nearest" and axis.scale < 1 and (coordinates != np.floor(coordinates)).any():
            call.unsupported("nearest downsampling before opset 11 by a factor for which no text tells the rounding")
    return _checked(call, x, axes, Style(mode=mode, coordinates="asymmetric", nearest="floor"))


@op("Upsample", since=7, until=8)
def upsample_7(call: Call, x: Any) -> Any:
    """`x` enlarged by the attribute `scales`."""
    return _scaled(call, x, np.asarray(call.get("scales") or [], np.float32))


@op("Upsample", since=9, until=9)
@op("Resize", since=10, until=10)
def resize_10(call: Call, x: Any, scales: Tensor) -> Any:
    """`x` resized by the input `scales`."""
    return _scaled(call, x, _floats(scales))
