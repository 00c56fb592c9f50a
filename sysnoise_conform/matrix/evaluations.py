"""Which evaluation a task and a card come to."""

from __future__ import annotations

from sysnoise_conform.card import Card
from sysnoise_conform.datasets import DataSet
from sysnoise_conform.errors import UsageError
from sysnoise_conform.tasks.evaluate_boxes import Detections
from sysnoise_conform.tasks.evaluate_classes import Classes
from sysnoise_conform.tasks.evaluate_decisions import Decisions
from sysnoise_conform.tasks.evaluate_pixels import Pixels
from sysnoise_conform.tasks.evaluation import Evaluation


def evaluation_of(task: str, card: Card, data: DataSet) -> Evaluation:
    """The evaluation of a task over a data set; `agree` is about what the card's own task decides.

    Raises UsageError for a card whose task decides nothing.
    """
    match task:
        case "classify":
            return Classes(card, data, labelled=True)
        case "detect":
            return Detections(card, data, labelled=True)
        case "segment":
            return Pixels(card, data)
        case _:
            return _unlabelled(card, data)


def _unlabelled(card: Card, data: DataSet) -> Evaluation:
    """Agreement with the baseline, in what the card's own task decides."""
    match card.task:
        case "classify" | "agree" | None:
            return Classes(card, data, labelled=False)
        case "detect":
            return Detections(card, data, labelled=False)
        case "segment" | "text-detect":
            return Decisions(card, data)
        case _:
            raise UsageError(
                f"a model of task {card.task} decides nothing that could agree",
                hint="compare its numbers with conform run",
            )
