"""How raw outputs become an answer, with every choice in it that deployments make differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rounding = Literal["none", "floor", "ceil", "round", "outer"]
Arithmetic = Literal["fp32", "fp16", "bf16"]
Tie = Literal["first", "last"]

EXP_LIMIT = 4.135166556742356  # ln(1000 / 16): torchvision's and Detectron's bound of dw and dh


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """The choices of one decoding. All are those of training unless a noise changes them.

    The five `offset_` flags are the places outside the graph where "a box of width x2 - x1 + 1" can be meant instead
    of "x2 - x1" (SysNoise's ALIGNED_FLAG; the two other places, RoIAlign and the choice of a pyramid level, lie in the
    graph).
    """

    offset_decode_tail: bool = False  # corners: x2 = centre + width / 2 - 1
    offset_anchors: bool = False  # anchors end a pixel earlier
    offset_nms: bool = False  # areas and overlaps of suppression count a pixel more
    clip: bool | None = None  # boxes end at the picture's border; None: as the card says
    offset_clip: bool = False  # that border is width - 1, not width
    offset_xyxy2xywh: bool = False  # the width that is handed on is x2 - x1 + 1
    coordinates: Rounding = "none"  # of the corners, in pixels of the picture
    exp_clamp: bool = True  # of the logarithmic sizes, at EXP_LIMIT
    arithmetic: Arithmetic = "fp32"  # of exp, sigmoid and softmax
    nms_at_least: bool = False  # an overlap equal to the threshold suppresses, too
    class_aware: bool = True  # boxes of other classes don't suppress
    tie: Tie = "first"  # of boxes of equal score the first or the last comes first
    iou: float | None = None  # of suppression; None: the card's
    score: float | None = None  # the least score; None: the card's
    score_at_least: bool = False  # a score equal to the least is kept, too
    argmax: Tie = "first"  # of equal classes
    softmax_first: bool = False  # scores go through a softmax in `arithmetic` before the largest is looked for
