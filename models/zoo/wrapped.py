"""A library's network as the export wants it: tensors in, tensors out, by the names that the member's card gives."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from sysnoise_conform.models.zoo.member import Member
from sysnoise_conform.models.zoo.speaking import FastSpeech2, TeacherForced

# COCO's categories have gaps; torchvision's classes are the categories' numbers, 0 the background.
_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
CATEGORIES = tuple(number for number in range(1, 91) if number not in _GAPS)


def wrapped(member: Member, module: nn.Module) -> nn.Module:
    """The module itself where it is of that kind already."""
    source = member.sources[0]
    match member.table:
        case "table3" if member.family == "RetinaNet":
            return _RetinaNet(module)
        case "table3":
            return _FasterRCNN(module)
        case "table4" if source.library == "torchvision":
            return _Out(module)
        case "table5":
            return _Logits(module)
        case "table10" if source.library == "torchaudio":
            return TeacherForced(module)
        case "table10":
            return FastSpeech2(module, int(source.arguments["room"]))
        case _:
            return module


class _Out(nn.Module):
    """Of several heads the one that is asked for."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net(x)["out"]
        return found


class _RetinaNet(nn.Module):
    """Raw scores and offsets on anchors, level by level; the card says where these lie. COCO's 80 classes alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("chosen", torch.tensor(CATEGORIES))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        net: Any = self.net
        chosen: Any = self.chosen
        maps = list(net.backbone(x).values())
        found = net.head(maps)
        return {"scores": found["cls_logits"][..., chosen], "boxes": found["bbox_regression"]}


class _FasterRCNN(nn.Module):
    """Boxes in the tensor's pixels after suppression, their scores and classes (COCO's 80, from 0)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        lookup = torch.zeros(91, dtype=torch.int64)
        lookup[list(CATEGORIES)] = torch.arange(len(CATEGORIES))
        self.register_buffer("lookup", lookup)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        from torchvision.models.detection.image_list import ImageList

        net: Any = self.net
        lookup: Any = self.lookup
        maps = net.backbone(x)
        maps = OrderedDict([("0", maps)]) if isinstance(maps, Tensor) else maps
        size = (int(x.shape[-2]), int(x.shape[-1]))
        proposals, _ = net.rpn(ImageList(x, [size]), maps)
        found = net.roi_heads(maps, proposals, [size])[0][0]
        return {"boxes": found["boxes"], "scores": found["scores"], "classes": lookup[found["labels"]]}


class _Logits(nn.Module):
    """A causal language model without its cache. What is padded behind a text is seen by nothing before it: no mask."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, input_ids: Tensor) -> Tensor:
        mask = torch.ones_like(input_ids)
        found: Tensor = self.net(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
        return found
