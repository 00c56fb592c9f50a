"""Trains tiny-cls."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.models.tiny.networks import Classifier
from sysnoise_conform.models.tiny.recipe import CLASSIFIER, CLASSIFIER_INPUT
from sysnoise_conform.models.tiny.scenes import single
from sysnoise_conform.models.tiny.training import begin, laid_out, learn, prepared, tensor

SMOOTHING = 0.05  # of the labels


def train() -> Classifier:
    """The network, trained, in eval mode."""
    random = begin(CLASSIFIER)
    found = [(scene.label, pixels) for scene, pixels, _ in prepared(single, CLASSIFIER, CLASSIFIER_INPUT)]
    labels = torch.tensor([label for label, _ in found])
    pictures = np.stack([pixels for _, pixels in found])
    assert CLASSIFIER_INPUT.size is not None
    side = CLASSIFIER_INPUT.size[0]
    net = Classifier()
    laid_out(net, torch.channels_last)

    def loss_of(chosen: Tensor) -> Tensor:
        top, left, flip = (
            int(torch.randint(0, bound, (1,), generator=random))
            for bound in (CLASSIFIER.margin + 1, CLASSIFIER.margin + 1, 2)
        )
        cut = pictures[chosen.numpy()][:, top : top + side, left : left + side]
        logits = net(tensor(np.ascontiguousarray(cut[:, :, ::-1] if flip else cut)))
        return F.cross_entropy(logits, labels[chosen], label_smoothing=SMOOTHING)

    learn(net, CLASSIFIER, random, loss_of, "tiny-cls")
    laid_out(net, torch.contiguous_format)
    return net
