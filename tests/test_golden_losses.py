from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_oracle import run

from sysnoise_conform.errors import BadModel


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [None, 1, -100])
def test_losses_are_torchs(reduction: str, weighted: bool, ignored: int | None) -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((3, 5, 2, 4)).astype(np.float32)
    labels = rng.integers(0, 5, (3, 2, 4))
    if ignored is not None:
        labels[0, 0, 0] = ignored
    weight = rng.random(5).astype(np.float32) if weighted else None
    node = {"opset": 13, "reduction": reduction} | ({} if ignored is None else {"ignore_index": ignored})
    wide, target = torch.from_numpy(scores).double(), torch.from_numpy(labels)
    given = None if weight is None else torch.from_numpy(weight).double()
    absent = -1000 if ignored is None else ignored

    loss, logs = run("SoftmaxCrossEntropyLoss", {"x": scores, "t": labels, "w": weight}, outputs=2, **node)
    expected = F.cross_entropy(wide, target, given, reduction=reduction, ignore_index=absent)
    np.testing.assert_allclose(loss, expected.numpy(), rtol=1e-9)
    np.testing.assert_allclose(logs, torch.log_softmax(wide, 1).numpy(), rtol=1e-9)

    (loss,) = run("NegativeLogLikelihoodLoss", {"x": scores, "t": labels, "w": weight}, **node)
    expected = F.nll_loss(wide, target, given, reduction=reduction, ignore_index=absent)
    np.testing.assert_allclose(loss, expected.numpy(), rtol=1e-9)


def test_a_label_outside_the_classes_is_bad() -> None:
    feeds = {"x": np.zeros((2, 3), np.float32), "t": np.array([0, 3])}
    with pytest.raises(BadModel, match="label"):
        run("NegativeLogLikelihoodLoss", feeds, opset=13)
