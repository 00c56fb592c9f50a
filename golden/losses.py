"""Losses that appear in exported graphs: NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss."""

from __future__ import annotations

import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, op


def _likelihood_loss(call: Call, logs: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """The (weighted) negative log likelihood of `target` under `logs` (N, C, d1..dk), reduced."""
    if logs.dim() < 2 or tuple(target.shape) != (logs.shape[0], *logs.shape[2:]):
        call.bad(f"scores of shape {list(logs.shape)} with labels of shape {list(target.shape)}")
    classes = logs.shape[1]
    if weight is not None and tuple(weight.shape) != (classes,):
        call.bad(f"weights of shape {list(weight.shape)} for {classes} classes")
    target = target.to(torch.int64)
    ignored = call.get("ignore_index")
    kept = torch.ones_like(target, dtype=torch.bool) if ignored is None else target != int(ignored)
    if bool(((target < 0) | (target >= classes))[kept].any()):
        call.bad(f"a label lies outside [0, {classes})")
    safe = torch.where(kept, target, 0)
    chosen = torch.ones_like(safe, dtype=logs.dtype) if weight is None else weight[safe]
    weights = torch.where(kept, chosen, 0)
    picked = logs.gather(1, safe[:, None]).squeeze(1)
    loss = torch.where(kept, -picked * weights, 0)
    match call.get("reduction", "mean"):
        case "none":
            return loss
        case "sum":
            return loss.sum()
        case "mean":
            return loss.sum() / weights.sum()
        case other:
            call.bad(f"reduction is {other!r}; the text knows none, sum and mean")


@op("NegativeLogLikelihoodLoss", since=12)
def negative_log_likelihood_loss(call: Call, logs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The loss of `target` under log-probabilities `logs` (N, C, d1..dk)."""
    return _likelihood_loss(call, logs, target, weight)


@op("SoftmaxCrossEntropyLoss", since=12)
def softmax_cross_entropy_loss(
    call: Call, scores: Tensor, labels: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of `labels` under the softmax of `scores` (N, C, d1..dk), and the log-probabilities."""
    logs = torch.log_softmax(scores, dim=1)
    return _likelihood_loss(call, logs, labels, weights), logs
