"""A small detector, samples for it and its ranges: what conversions to int8 are held against other tools on."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader
from precision_models import Feed, calibrated, opened

from sysnoise_conform.graph.intake import Model
from sysnoise_conform.precision.observed import Ranges

Detector = tuple[Model, list[Feed], Ranges]


class Reader(CalibrationDataReader):
    """Feeds, as onnxruntime's quantiser asks for them."""

    def __init__(self, feeds: list[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def detector_in(folder: Path) -> Detector:
    """Convolutions with Sigmoid gates, additions, resizes; and samples for it."""
    proto = networks.exported(networks.fpn(), torch.zeros(1, 3, 32, 32), folder / "net.onnx")
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.normal(0, 1, (1, 3, 32, 32)).astype(np.float32)} for _ in range(3)]
    model = opened(proto, folder)
    return model, feeds, calibrated(model, feeds)
