"""Trains tiny-seg, from the backbone of tiny-cls on."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.models.tiny.networks import Classifier, Segmenter
from sysnoise_conform.models.tiny.recipe import SEGMENTER, SEGMENTER_INPUT
from sysnoise_conform.models.tiny.scenes import several
from sysnoise_conform.models.tiny.training import begin, laid_out, learn, prepared, tensor


def train(base: Classifier) -> Segmenter:
    """The network, trained, in eval mode."""
    random = begin(SEGMENTER)
    assert SEGMENTER_INPUT.size is not None
    pictures, masks = [], []
    for scene, pixels, _ in prepared(several, SEGMENTER, SEGMENTER_INPUT):
        assert scene.mask is not None
        pictures.append(pixels)
        masks.append(nearest(scene.mask, SEGMENTER_INPUT.size))
    picture, mask = np.stack(pictures), torch.from_numpy(np.stack(masks))
    net = Segmenter()
    net.backbone.load_state_dict(base.backbone.state_dict())
    laid_out(net, torch.channels_last)

    def loss_of(chosen: Tensor) -> Tensor:
        return F.cross_entropy(net(tensor(picture[chosen.numpy()])), mask[chosen].long())

    learn(net, SEGMENTER, random, loss_of, "tiny-seg")
    laid_out(net, torch.contiguous_format)
    return net


def nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask at another size: of each place the pixel that its middle lies in."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, mask.shape, strict=True))
    found: np.ndarray = mask[rows][:, columns]
    return found
