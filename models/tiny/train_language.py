"""Trains tiny-lm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.models.tiny.language import BYTES, Language
from sysnoise_conform.models.tiny.recipe import HELD_OUT, LANGUAGE, LANGUAGE_AGAIN, TRAINING, Recipe
from sysnoise_conform.models.tiny.stories import SORTS, held_out_items, texts
from sysnoise_conform.models.tiny.training import begin, learn

PASSED_OVER = -100


def train() -> Language:
    """The network, trained, in eval mode; no text that is held out is seen."""
    random = begin(LANGUAGE)
    net = Language()
    for number, how in enumerate((LANGUAGE, LANGUAGE_AGAIN)):
        course(net, how, random, number)
    return net


def course(net: Language, how: Recipe, random: torch.Generator, number: int) -> None:
    """One course over texts of its own; the optimiser begins anew."""
    held = frozenset(each.text for sort in SORTS for each in held_out_items(HELD_OUT, sort, how.held_out))
    rows = [(text + "\n").encode("ascii") for text in texts(TRAINING + number, how.training, without=held)]
    table = torch.full((len(rows), max(map(len, rows))), PASSED_OVER)
    for at, row in enumerate(rows):
        table[at, : len(row)] = torch.tensor(list(row))

    def loss_of(chosen: Tensor) -> Tensor:
        batch = table[chosen]
        batch = batch[:, : int((batch != PASSED_OVER).sum(1).max())]
        logits = net(batch[:, :-1].clamp(min=0))
        return F.cross_entropy(logits.reshape(-1, BYTES), batch[:, 1:].reshape(-1), ignore_index=PASSED_OVER)

    learn(net, how, random, loss_of, "tiny-lm")
