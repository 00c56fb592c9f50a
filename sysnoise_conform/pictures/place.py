"""A decoded picture made into an input tensor as a card says: resized, placed, in the card's colours and units."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sysnoise_conform.card import ImageInput
from sysnoise_conform.errors import BadInput
from sysnoise_conform.pictures.guard import MAX_PIXELS
from sysnoise_conform.pictures.resize import resize

MAX_SIDE = 16_384  # of the tensor

Fixed = tuple[int | None, int | None]  # height and width that the model fixes

# How a side that follows from the ratio becomes whole, and where an odd rest of a crop goes. torchvision truncates the
# long side and rounds the crop's offset half to even; over all sizes these differ from `round` in half of the cases.
_WHOLE: dict[str, Callable[[float], int]] = {"round": round, "floor": math.floor, "ceil": math.ceil}


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a picture went: a pixel at (x, y) of it is at (x * scale_x + left, y * scale_y + top) of the tensor."""

    scale_y: float
    scale_x: float
    top: float
    left: float
    height: int  # of the picture
    width: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Pixels at the tensor's size (height, width, 3), uint8, or float32 where bars or the resize made them so."""

    pixels: np.ndarray
    placement: Placement


def prepare(rgb: np.ndarray, spec: ImageInput, fixed: Fixed) -> np.ndarray:
    """A float32 tensor with a batch dimension of 1, from a decoded picture.

    `fixed` are the height and width that the model fixes. Raises BadInput where they contradict the card.
    """
    return normalise(place(rgb, spec, fixed).pixels, spec)


def normalise(pixels: np.ndarray, spec: ImageInput) -> np.ndarray:
    """Pixels in RGB (height, width, 3) as float32 with a batch dimension of 1, in the card's colours, units, layout."""
    if spec.colour == "GRAY":
        # ITU-R BT.601 luma, as Pillow's L and OpenCV's GRAY
        grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        pixels = np.rint(grey)[:, :, None]
    elif spec.colour == "BGR":
        pixels = pixels[:, :, ::-1]
    # Plane by plane: numpy is slow along an axis of three. The operations and their order are the same.
    planes = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
    planes *= np.float32(spec.scale)
    means, stds = (_by_channel(each, len(planes)) for each in (spec.mean, spec.std))
    for plane, mean, std in zip(planes, means, stds, strict=True):
        plane -= mean
        plane /= std
    ordered = planes if spec.layout == "NCHW" else planes.transpose(1, 2, 0)
    return np.ascontiguousarray(ordered[None])


def _by_channel(values: float | tuple[float, ...], channels: int) -> np.ndarray:
    return np.broadcast_to(np.array(values, np.float32), (channels,))


def place(rgb: np.ndarray, spec: ImageInput, fixed: Fixed) -> Placed:
    """The picture at the tensor's size, and where its pixels went. Raises BadInput where model and card contradict."""
    height, width = rgb.shape[:2]
    size = _target(spec, fixed)
    if spec.resize_dtype == "float32":
        rgb = rgb.astype(np.float32)
    whole = _WHOLE[spec.long_side]
    match spec.resize:
        case "squash":
            return _resized(rgb, _whole(size, spec), spec)
        case "squash+crop":
            wanted = _whole(size, spec)
            side = spec.shorter or min(wanted)
            return _middle(rgb, (max(wanted[0], side), max(wanted[1], side)), wanted, spec)
        case "shorter+crop":
            wanted = _whole(size, spec)
            side = spec.shorter or min(wanted)
            ratio = side / min(height, width)
            # The shorter side is what was asked for, whatever a product of floating point makes of it.
            tall, wide = (side, whole(width * ratio)) if height <= width else (whole(height * ratio), side)
            return _middle(rgb, (max(wanted[0], tall), max(wanted[1], wide)), wanted, spec)
        case "letterbox":
            wanted = _whole(size, spec)
            ratio = min(wanted[0] / height, wanted[1] / width)
            inner = (
                min(wanted[0], max(1, whole(height * ratio))),
                min(wanted[1], max(1, whole(width * ratio))),
            )
            corner = ((wanted[0] - inner[0]) // 2, (wanted[1] - inner[1]) // 2)
            return _on_canvas(rgb, wanted, inner, corner, spec)
        case "height+pad" | "height+grow":
            natural = max(1, -(-width * (size[0] or 1) // height))
            grows = spec.resize == "height+grow" and fixed[1] is None
            wanted = _whole((size[0], max(size[1] or 0, natural) if grows else size[1]), spec)
            return _on_canvas(rgb, wanted, (wanted[0], min(wanted[1], natural)), (0, 0), spec)
        case _:
            return _resized(rgb, _sane(_multiples(height, width, spec, fixed)), spec)


def _resized(rgb: np.ndarray, size: tuple[int, int], spec: ImageInput, top: int = 0, left: int = 0) -> Placed:
    height, width = rgb.shape[:2]
    placement = Placement(
        scale_y=size[0] / height, scale_x=size[1] / width, top=top, left=left, height=height, width=width
    )
    return Placed(resize(rgb, size, spec.filter), placement)


def _middle(rgb: np.ndarray, scaled: tuple[int, int], wanted: tuple[int, int], spec: ImageInput) -> Placed:
    """Resized to `scaled`, then the middle of size `wanted`."""
    top, left = (
        round((big - small) / 2) if spec.crop == "round" else (big - small) // 2
        for big, small in zip(scaled, wanted, strict=True)
    )
    big = _resized(rgb, _sane(scaled), spec, -top, -left)
    return Placed(big.pixels[top : top + wanted[0], left : left + wanted[1]], big.placement)


def _on_canvas(
    rgb: np.ndarray, wanted: tuple[int, int], inner: tuple[int, int], corner: tuple[int, int], spec: ImageInput
) -> Placed:
    small = _resized(rgb, inner, spec, *corner)
    canvas = np.full((*wanted, 3), spec.pad, np.float32)
    canvas[corner[0] : corner[0] + inner[0], corner[1] : corner[1] + inner[1]] = small.pixels
    return Placed(canvas, small.placement)


def _multiples(height: int, width: int, spec: ImageInput, fixed: Fixed) -> tuple[int, int]:
    if spec.resize == "max_side":
        ratio = min(1.0, max(spec.size or (960, 960)) / max(height, width))
    else:
        ratio = max(1.0, (spec.shorter or 1) / min(height, width))
    step = spec.multiple
    free = (max(step, round(side * ratio / step) * step) for side in (height, width))
    tall, wide = (a if a is not None else b for a, b in zip(fixed, free, strict=True))
    return tall, wide


def _target(spec: ImageInput, fixed: Fixed) -> Fixed:
    card = spec.size or (None, None)
    for axis, wanted, given in zip(("height", "width"), fixed, card, strict=True):
        least_only = spec.resize in ("max_side", "multiple_of")
        if wanted is not None and given is not None and wanted != given and not least_only:
            raise BadInput(
                f"the card makes images of {axis} {given}, the model takes {wanted}", hint="correct the card's size"
            )
    return fixed[0] or card[0], fixed[1] or card[1]


def _whole(size: Fixed, spec: ImageInput) -> tuple[int, int]:
    if size[0] is None or size[1] is None:
        raise BadInput(
            f"the card's resize {spec.resize!r} needs a size, and the model fixes none",
            hint="add size = [height, width] to the card, or give --shape",
        )
    return _sane((size[0], size[1]))


def _sane(size: tuple[int, int]) -> tuple[int, int]:
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise BadInput(f"an image would have to be resized to {size[0]} x {size[1]} pixels", hint="crop it first")
    return size
