"""Where the picture's pixels go: the policy of the resize, and how sizes and offsets become whole numbers.

Kept apart from the kernels: a change of geometry is no change of kernel, and no figure mixes the two.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sysnoise_conform.card import ImageInput
from sysnoise_conform.noise.axis import Axis, Level, identity

POLICY = Axis(
    name="resize_policy",
    stage="geometry",
    about="what becomes of the picture's ratio",
    mistake=True,
    levels=(
        identity("the card's resize"),
        Level(name="squash", about="to the size, the ratio is lost", imitates="cv2.resize straight to the input"),
        Level(name="squash+crop", about="to a square of the shorter side's length, then the middle",
              imitates="the released SysNoise code's validation path", source="imagenet_s_gen"),
        Level(name="shorter+crop", about="the shorter side, then the middle",
              imitates="torchvision's Resize + CenterCrop"),
        Level(name="letterbox", about="the ratio kept, bars on both sides", imitates="YOLO's loaders"),
    ),
)  # fmt: skip
LONG_SIDE = Axis(
    name="long_side",
    stage="geometry",
    about="how the longer side, which follows from the ratio, becomes a whole number",
    levels=(
        identity("the card's long_side"),
        Level(name="round", about="to nearest, half to even", imitates="Pillow-based loaders"),
        Level(name="floor", about="cut off", imitates="torchvision", source="int(size * long / short)"),
        Level(name="ceil", about="up", imitates="loaders that must not fall below the crop"),
    ),
)
CROP = Axis(
    name="crop",
    stage="geometry",
    about="where the middle begins when half a pixel is left over",
    levels=(
        identity("the card's crop"),
        Level(name="floor", about="cut off", imitates="most C++ loaders"),
        Level(name="round", about="to nearest, half to even", imitates="torchvision", source="round((H - h) / 2)"),
    ),
)
DTYPE = Axis(
    name="resize_dtype",
    stage="geometry",
    about="the type of the pixels while they are resized",
    levels=(
        identity("the card's resize_dtype"),
        Level(name="uint8", about="rounded to 8 bits after the resize", imitates="Pillow, OpenCV on pictures"),
        Level(name="float32", about="not rounded", imitates="tensors resized on the device"),
    ),
)
AXES = (POLICY, LONG_SIDE, CROP, DTYPE)
_FIELDS = {POLICY.name: "resize", LONG_SIDE.name: "long_side", CROP.name: "crop", DTYPE.name: "resize_dtype"}


def change(spec: ImageInput, axis: str, level: str) -> ImageInput:
    """How pictures are prepared at a level of an axis."""
    if level == POLICY.levels[0].name:
        return spec
    changed: dict[str, Any] = {_FIELDS[axis]: level}
    return replace(spec, **changed)
