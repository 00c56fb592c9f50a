"""Trains tiny-det, from the backbone of tiny-cls on."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.models.tiny.networks import Classifier, Detector
from sysnoise_conform.models.tiny.recipe import DETECTOR, DETECTOR_HEADS, DETECTOR_INPUT
from sysnoise_conform.models.tiny.scenes import KINDS, Scene, several
from sysnoise_conform.models.tiny.training import begin, laid_out, learn, prepared, tensor
from sysnoise_conform.pictures.place import Placement
from sysnoise_conform.tasks.detectors import made_anchors

SURE, NONE = 0.5, 0.4  # overlaps from which an anchor is of a shape, below which it is of the ground
ALPHA, GAMMA = 0.25, 2.0  # of the focal loss; with the overlaps, those of RetinaNet (Lin et al. 2017b)
BETA = 0.1  # where the smooth L1 becomes straight
PASSED_OVER = -1


def train(base: Classifier) -> Detector:
    """The network, trained, in eval mode."""
    random = begin(DETECTOR)
    assert DETECTOR_INPUT.size is not None
    anchors = made_anchors(DETECTOR_HEADS, DETECTOR_INPUT.size)
    pictures, kinds, offsets = [], [], []
    for scene, pixels, placement in prepared(several, DETECTOR, DETECTOR_INPUT):
        own, shift = targets(anchors, _boxes(scene, placement), np.array(scene.kinds, np.int64))
        pictures.append(pixels)
        kinds.append(own)
        offsets.append(shift)
    picture, kind, offset = np.stack(pictures), torch.from_numpy(np.stack(kinds)), torch.from_numpy(np.stack(offsets))
    net = Detector()
    net.backbone.load_state_dict(base.backbone.state_dict())
    laid_out(net, torch.channels_last)

    def loss_of(chosen: Tensor) -> Tensor:
        found = net(tensor(picture[chosen.numpy()]))
        return focal(found["scores"], kind[chosen]) + smooth(found["offsets"], offset[chosen], kind[chosen] > 0)

    learn(net, DETECTOR, random, loss_of, "tiny-det")
    laid_out(net, torch.contiguous_format)
    return net


def targets(anchors: np.ndarray, boxes: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each anchor 1 + its kind, 0 for the ground or PASSED_OVER, and its offsets in units of the variances."""
    overlap = _overlaps(anchors, boxes)
    best = overlap.argmax(1)
    highest = overlap.max(1)
    favourite = overlap.argmax(0)  # every box has at least the anchor that fits it best
    best[favourite] = np.arange(len(boxes))
    highest[favourite] = 1.0
    found = np.where(highest >= SURE, kinds[best] + 1, np.where(highest < NONE, 0, PASSED_OVER))
    side, middle = anchors[:, 2:] - anchors[:, :2], (anchors[:, 2:] + anchors[:, :2]) / 2
    own = boxes[best]
    shift = ((own[:, 2:] + own[:, :2]) / 2 - middle) / side
    size = np.log((own[:, 2:] - own[:, :2]) / side)
    offsets = np.concatenate([shift, size], 1) / np.array(DETECTOR_HEADS.variances)
    return found, offsets.astype(np.float32)


def focal(scores: Tensor, kind: Tensor) -> Tensor:
    """The focal loss over all anchors that are not passed over, for each that has a shape."""
    wanted = F.one_hot(kind.clamp(min=0), len(KINDS) + 1)[..., 1:].float()
    cross = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none")
    chance = scores.sigmoid()
    wrong = chance * (1 - wanted) + (1 - chance) * wanted
    weight = ALPHA * wanted + (1 - ALPHA) * (1 - wanted)
    counted = (kind != PASSED_OVER).unsqueeze(-1)
    total: Tensor = (cross * weight * wrong**GAMMA * counted).sum()
    return total / (kind > 0).sum().clamp(min=1)


def smooth(found: Tensor, wanted: Tensor, of: Tensor) -> Tensor:
    """Smooth L1 of the offsets of the anchors that have a shape."""
    variances = torch.tensor(DETECTOR_HEADS.variances)
    return F.smooth_l1_loss(found[of] * variances, wanted[of] * variances, beta=BETA, reduction="mean") * 4


def _boxes(scene: Scene, placement: Placement) -> np.ndarray:
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    return np.asarray(np.array(scene.boxes, np.float64).reshape(-1, 4) * scale)


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), -1)
    area = [np.prod(each[:, 2:] - each[:, :2], -1) for each in (a, b)]
    found: np.ndarray = common / (area[0][:, None] + area[1][None] - common)
    return found
