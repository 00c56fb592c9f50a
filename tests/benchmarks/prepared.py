"""The model, the weights and the inputs that the benchmarks share, made once in a scratch folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

NODES = 69  # of the ResNet-18; each makes one tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A folder with model.onnx, weights.pt and inputs/*.npy."""

    folder: Path

    @property
    def model(self) -> Path:
        """The ResNet-18."""
        return self.folder / "model.onnx"

    @property
    def inputs(self) -> Path:
        """The folder of pictures, one .npy each."""
        return self.folder / "inputs"


@contextmanager
def prepared(samples: int, *, side: int = 224) -> Iterator[Prepared]:
    """The folder, with so many pictures of `side` x `side`, for the length of the block."""
    import resnet
    import torch

    with TemporaryDirectory(prefix="conform-bench-") as name:
        made = Prepared(folder=Path(name))
        module = resnet.seeded()
        torch.save(module.state_dict(), made.folder / "weights.pt")
        resnet.to_onnx(module, made.model, side=side)
        made.inputs.mkdir()
        for number in range(samples):
            picture = np.random.default_rng(number).random((1, 3, side, side), dtype=np.float32)
            np.save(made.inputs / f"{number:03}.npy", picture)
        yield made
