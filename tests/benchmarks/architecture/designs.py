"""The networks that are compared: tiny-cls with one thing changed each, trained with several seeds."""

from __future__ import annotations

from collections.abc import Mapping

from sysnoise_conform.models.tiny.networks import AS_DELIVERED, Classifier, Design

DELIVERED = "delivered"
DESIGNS: Mapping[str, Design] = {
    DELIVERED: AS_DELIVERED,
    "half": Design(widths=(8, 16, 32)),
    "double": Design(widths=(32, 64, 128)),
    "shallow": Design(blocks=(1, 1, 1)),
    "deep": Design(blocks=(4, 4, 2)),
    "stride": Design(stem="stride"),
    "mobile": Design(stem="stride", block="inverted"),
}
IN_WORDS: Mapping[str, str] = {
    DELIVERED: "tiny-cls",
    "half": "half as wide",
    "double": "twice as wide",
    "shallow": "3 blocks for 5",
    "deep": "10 blocks for 5",
    "stride": "a convolution of stride 2 for the MaxPool",
    "mobile": "the same, of inverted blocks (MobileNetV2's)",
}
POOLED = tuple(name for name, each in DESIGNS.items() if each.stem == "pool")
SEEDS = (0, 1)


def parameters(design: Design) -> int:
    """How many numbers are learnt."""
    return sum(each.numel() for each in Classifier(design).parameters())
