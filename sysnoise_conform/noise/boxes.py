"""How boxes are made of a detector's outputs: the places where code means x2 - x1 + 1, rounding, suppression."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sysnoise_conform.noise.axis import Axis, Level, identity
from sysnoise_conform.tasks.decoding import Decoding

_FLAG = "SysNoise 3.3, United-Perception's ALIGNED_FLAG"
_PLACES = {
    "decode_tail": ("offset_decode_tail", "corners end a pixel earlier: x2 = centre + width / 2 - 1"),
    "anchors": ("offset_anchors", "anchors end a pixel earlier"),
    "nms": ("offset_nms", "areas and overlaps of suppression count a pixel more"),
    "clip": ("offset_clip", "boxes end at width - 1"),
    "xyxy2xywh": ("offset_xyxy2xywh", "the width that is handed on is x2 - x1 + 1"),
}
_DETECT = ("detect",)

OFFSET = Axis(
    name="box_offset",
    stage="output",
    about="a pixel more or less, where a box's side is meant as x2 - x1 + 1",
    paper=True,
    tasks=_DETECT,
    levels=(
        identity("x2 - x1, everywhere"),
        *(Level(name=name, about=about, imitates="code of before 2020", source=_FLAG)
          for name, (_, about) in _PLACES.items()),
        Level(name="all", about="all of these places together", imitates="code of before 2020", source=_FLAG),
    ),
)  # fmt: skip
ROUNDING = Axis(
    name="box_rounding",
    stage="output",
    about="corners as whole pixels",
    tasks=_DETECT,
    levels=(
        identity("as they are computed"),
        Level(name="floor", about="down", imitates="a cast to int"),
        Level(name="ceil", about="up"),
        Level(name="round", about="to nearest, half to even"),
        Level(name="outer", about="the first corner down, the second up", imitates="code that must not cut an object"),
    ),
)
EXP_CLAMP = Axis(
    name="exp_clamp",
    stage="output",
    about="the bound on logarithmic sizes",
    tasks=_DETECT,
    levels=(
        identity("at ln(1000 / 16)"),
        Level(name="off", about="none", imitates="decoders written anew", source="torchvision BBOX_XFORM_CLIP"),
    ),
)
SUPPRESSION = Axis(
    name="nms",
    stage="output",
    about="the rule of non-maximum suppression",
    tasks=_DETECT,
    levels=(
        identity("class by class, an overlap greater than the threshold suppresses, of equal scores the first stays"),
        Level(name="at_least", about="an overlap equal to the threshold suppresses, too", imitates="cv2.dnn.NMSBoxes"),
        Level(name="class_agnostic", about="boxes of other classes suppress, too", imitates="YOLO's agnostic_nms"),
        Level(name="tie_last", about="of equal scores the last is kept", imitates="an unstable or reversed sort"),
        Level(name="iou_50", about="a threshold of 0.5", imitates="another default"),
        Level(name="iou_65", about="a threshold of 0.65", imitates="another default"),
    ),
)
CLIP = Axis(
    name="box_clip",
    stage="output",
    about="whether boxes end at the picture's border",
    tasks=_DETECT,
    levels=(
        identity("as the card says"),
        Level(name="on", about="they do"),
        Level(name="off", about="they may stick out"),
    ),
)
SCORE = Axis(
    name="score_threshold",
    stage="output",
    about="the comparison with the least score",
    tasks=_DETECT,
    levels=(
        identity("greater"),
        Level(name="at_least", about="equal is kept, too"),
    ),
)
AXES = (OFFSET, ROUNDING, EXP_CLAMP, SUPPRESSION, CLIP, SCORE)

_NMS: dict[str, dict[str, Any]] = {
    "at_least": {"nms_at_least": True},
    "class_agnostic": {"class_aware": False},
    "tie_last": {"tie": "last"},
    "iou_50": {"iou": 0.5},
    "iou_65": {"iou": 0.65},
}


def change(how: Decoding, axis: str, level: str) -> Decoding:
    """The decoding at a level of an axis."""
    if level == OFFSET.levels[0].name:
        return how
    changes: dict[str, Any] = {}
    match axis:
        case "box_offset":
            changes = {field: True for name, (field, _) in _PLACES.items() if level in ("all", name)}
        case "box_rounding":
            changes = {"coordinates": level}
        case "exp_clamp":
            changes = {"exp_clamp": False}
        case "nms":
            changes = dict(_NMS[level])
        case "box_clip":
            changes = {"clip": level == "on"}
        case "score_threshold":
            changes = {"score_at_least": True}
        case _:
            raise AssertionError(axis)
    return replace(how, **changes)
