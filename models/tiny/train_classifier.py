"""Trains tiny-cls, and classifiers of other designs on the same pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.models.tiny.networks import AS_DELIVERED, Classifier, Design
from sysnoise_conform.models.tiny.recipe import CLASSIFIER, CLASSIFIER_INPUT, Recipe
from sysnoise_conform.models.tiny.scenes import single
from sysnoise_conform.models.tiny.training import begin, laid_out, learn, prepared, tensor

SMOOTHING = 0.05  # of the labels


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """The pictures of the training, with the margin around them, and their classes."""

    pictures: np.ndarray
    labels: Tensor


def examples(recipe: Recipe = CLASSIFIER) -> Examples:
    """As many as the recipe says."""
    found = [(scene.label, pixels) for scene, pixels, _ in prepared(single, recipe, CLASSIFIER_INPUT)]
    labels = torch.tensor([label for label, _ in found])
    return Examples(pictures=np.stack([pixels for _, pixels in found]), labels=labels)


def train() -> Classifier:
    """tiny-cls, trained, in eval mode."""
    return trained(AS_DELIVERED, CLASSIFIER, examples(), "tiny-cls")


def trained(design: Design, recipe: Recipe, seen: Examples, name: str) -> Classifier:
    """A network of a design, trained as the recipe says, in eval mode."""
    random = begin(recipe)
    assert CLASSIFIER_INPUT.size is not None
    side = CLASSIFIER_INPUT.size[0]
    net = Classifier(design)
    laid_out(net, torch.channels_last)

    def loss_of(chosen: Tensor) -> Tensor:
        top, left, flip = (
            int(torch.randint(0, bound, (1,), generator=random))
            for bound in (recipe.margin + 1, recipe.margin + 1, 2)
        )
        cut = seen.pictures[chosen.numpy()][:, top : top + side, left : left + side]
        logits = net(tensor(np.ascontiguousarray(cut[:, :, ::-1] if flip else cut)))
        return F.cross_entropy(logits, seen.labels[chosen], label_smoothing=SMOOTHING)

    learn(net, recipe, random, loss_of, name)
    laid_out(net, torch.contiguous_format)
    return net
