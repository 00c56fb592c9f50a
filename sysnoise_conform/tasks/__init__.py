"""Figures that a user of the model would notice, without labels: the golden's decisions against a backend's."""

from __future__ import annotations

from sysnoise_conform.card import Card
from sysnoise_conform.tasks.classify import Classify
from sysnoise_conform.tasks.detect import Detect
from sysnoise_conform.tasks.embed import Embed
from sysnoise_conform.tasks.meter import Meter
from sysnoise_conform.tasks.pixels import TEXT_THRESHOLD, Pixels

__all__ = ["Meter", "task_meter"]


def task_meter(card: Card | None) -> Meter | None:
    """A new meter for the card's task; None without a card or a task, or where a hook decodes."""
    if card is None or card.hook:  # hooks are called by `conform noise` alone
        return None
    match card.task:
        case "classify":
            return Classify(card)
        case "detect":
            return Detect(card)
        case "segment":
            return Pixels(card, threshold=None)
        case "text-detect":
            return Pixels(card, threshold=TEXT_THRESHOLD if card.threshold is None else card.threshold)
        case "embed":
            return Embed(card)
        case _:
            return None
