"""The networks of pictures: a small ResNet, and the same with a pyramid for boxes or enlarged again for pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sysnoise_conform.models.tiny.scenes import CLASSES, KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTHS = (16, 32, 64)
BLOCKS = (2, 2, 1)
PYRAMID = 32  # channels of every level of the pyramid
RATIOS = 3  # anchors at a place
ENLARGED = 32  # channels of what is enlarged


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """What a backbone is made of. The models that come with the project are of the one that nothing is changed in."""

    widths: tuple[int, int, int] = WIDTHS  # channels of each stage; the stem has the first's
    blocks: tuple[int, int, int] = BLOCKS
    stem: Literal["pool", "stride"] = "pool"  # what halves the map behind the first convolution
    block: Literal["residual", "inverted"] = "residual"


AS_DELIVERED = Design()
WIDER = 4  # times as many channels between an inverted block's two ends


def _convolution(
    inputs: int, outputs: int, size: int, stride: int = 1, spread: int = 1, groups: int = 1
) -> nn.Sequential:
    pad = size // 2 * spread
    layer = nn.Conv2d(inputs, outputs, size, stride, pad, dilation=spread, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class _Block(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int, spread: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, 3, stride, spread)
        self.second = _convolution(outputs, outputs, 3, 1, spread)
        same = inputs == outputs and stride == 1
        self.shortcut: nn.Module = nn.Identity() if same else _convolution(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(F.relu(self.first(x)))
        return F.relu(y + self.shortcut(x))


class _InvertedBlock(nn.Module):
    """MobileNetV2's (Sandler et al. 2018): wide between its ends, each channel convolved by itself, a straight end."""

    def __init__(self, inputs: int, outputs: int, stride: int, spread: int) -> None:
        super().__init__()
        wide = WIDER * inputs
        self.widen = _convolution(inputs, wide, 1)
        self.each = _convolution(wide, wide, 3, stride, spread, groups=wide)
        self.narrow = _convolution(wide, outputs, 1)
        self.same = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.narrow(F.relu6(self.each(F.relu6(self.widen(x)))))
        return x + y if self.same else y


class Backbone(nn.Module):
    """A ResNet: a convolution of stride 2, MaxPool 3x3 of stride 2, three stages, the last of stride 2 or spread."""

    def __init__(self, *, spread: bool = False, design: Design = AS_DELIVERED) -> None:
        super().__init__()
        first = design.widths[0]
        self.stem = _convolution(3, first, 3, 2)
        self.pool = _halving(design, first)
        strides, spreads = (1, 2, 1 if spread else 2), (1, 1, 2 if spread else 1)
        self.stages = nn.ModuleList()
        block = _Block if design.block == "residual" else _InvertedBlock
        inputs = first
        for width, count, stride, space in zip(design.widths, design.blocks, strides, spreads, strict=True):
            begin = block(inputs, width, stride, space)
            self.stages.append(nn.Sequential(begin, *(block(width, width, 1, space) for _ in range(count - 1))))
            inputs = width

    def forward(self, x: Tensor) -> list[Tensor]:
        """What each stage gives."""
        x = self.pool(F.relu(self.stem(x)))
        found = []
        for each in self.stages:
            x = each(x)
            found.append(x)
        return found


def _halving(design: Design, channels: int) -> nn.Module:
    match design.stem:
        case "pool":
            return nn.MaxPool2d(3, 2, 1)
        case "stride":
            return nn.Sequential(_convolution(channels, channels, 3, 2), nn.ReLU())
        case _:
            assert_never(design.stem)


class Classifier(nn.Module):
    """(N, 3, 64, 64) to the logits of the classes, through the mean over all places."""

    def __init__(self, design: Design = AS_DELIVERED) -> None:
        super().__init__()
        self.backbone = Backbone(design=design)
        self.head = nn.Linear(design.widths[-1], len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.head(self.backbone(x)[-1].mean((2, 3)))
        return logits


class Detector(nn.Module):
    """(N, 3, 92, 92) to `scores` (N, anchors, kinds) before the sigmoid and `offsets` (N, anchors, 4).

    A feature pyramid of strides 8, 16 and 32 whose maps are doubled by nearest (Lin et al. 2017a) under RetinaNet's
    heads (Lin et al. 2017b), of one convolution each. At 92 pixels the maps have 12, 6 and 3 rows, and still 12 behind
    a MaxPool that rounds up, to 24 rows in place of 23: the decoder's anchors fit either.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.narrow = nn.ModuleList(nn.Conv2d(width, PYRAMID, 1) for width in WIDTHS[1:])
        self.coarse = _convolution(PYRAMID, PYRAMID, 3, 2)
        self.smooth = nn.ModuleList(_convolution(PYRAMID, PYRAMID, 3) for _ in range(2))
        self.tell = _convolution(PYRAMID, PYRAMID, 3)
        self.place = _convolution(PYRAMID, PYRAMID, 3)
        self.scores = nn.Conv2d(PYRAMID, RATIOS * len(KINDS), 3, padding=1)
        self.offsets = nn.Conv2d(PYRAMID, RATIOS * 4, 3, padding=1)
        nn.init.constant_(self.scores.bias, -4.0)  # type: ignore[arg-type]  # RetinaNet: at first nothing is anything
        for each in (self.scores, self.offsets):
            nn.init.normal_(each.weight, std=0.01)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """`scores` and `offsets`."""
        _, fine, middle = self.backbone(x)
        p4 = self.narrow[1](middle)
        p5 = self.coarse(p4)
        p4 = p4 + F.interpolate(p5, scale_factor=2.0, mode="nearest")
        p3 = self.narrow[0](fine) + F.interpolate(p4, scale_factor=2.0, mode="nearest")
        levels = (self.smooth[0](p3), self.smooth[1](p4), p5)
        scores = [self.scores(F.relu(self.tell(F.relu(each)))) for each in levels]
        offsets = [self.offsets(F.relu(self.place(F.relu(each)))) for each in levels]
        return {"scores": _rows(scores, len(KINDS)), "offsets": _rows(offsets, 4)}


def _rows(maps: Sequence[Tensor], last: int) -> Tensor:
    """Maps as one table: level by level, row by row, at each place its anchors."""
    return torch.cat([each.permute(0, 2, 3, 1).reshape(each.shape[0], -1, last) for each in maps], 1)


class Segmenter(nn.Module):
    """(N, 3, 96, 96) to (N, 1 + kinds, 96, 96), class 0 is the ground.

    DeepLab's way (Chen et al. 2017): the last stage keeps the size and is spread; a mean over all places and two
    convolutions beside each other, enlarged twice by straight lines.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone(spread=True)
        self.near = _convolution(WIDTHS[-1], ENLARGED, 1)
        self.far = _convolution(WIDTHS[-1], ENLARGED, 3, 1, 3)
        self.whole = nn.Conv2d(WIDTHS[-1], ENLARGED, 1)
        self.refine = _convolution(ENLARGED, ENLARGED, 3)
        self.head = nn.Conv2d(ENLARGED, 1 + len(KINDS), 1)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of every pixel."""
        size = x.shape[-1]
        deep = self.backbone(x)[-1]
        y = F.relu(self.near(deep) + self.far(deep) + self.whole(deep.mean((2, 3), keepdim=True)))
        y = F.interpolate(y, size=(size // 4, size // 4), mode="bilinear", align_corners=False)
        y = self.head(F.relu(self.refine(y)))
        return F.interpolate(y, size=(size, size), mode="bilinear", align_corners=False)
