"""The real model and pictures that noises are measured with: EfficientNet-Lite0, exported once into .demo/."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from cold import ROOT, conform
from real_models import CARDS, test_data

MODEL = ROOT / ".demo" / "efficientnet-lite0.onnx"
FACTORY = "sysnoise_conform.models.efficientnet_lite:lite0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A model, its card, and pictures with labels."""

    model: Path
    card: Path
    data: Path


def classifier() -> Labelled:
    """EfficientNet-Lite0 and 100 pictures of ImageNet. Raises SystemExit without CONFORM_TEST_DATA."""
    data = test_data() / "imagenet-sample"
    if not MODEL.is_file():
        MODEL.parent.mkdir(exist_ok=True)
        subprocess.run(
            conform("export", "--torch", FACTORY, "--shape", "x=1,3,224,224", "--out", MODEL), check=True,
            capture_output=True,
        )  # fmt: skip
    return Labelled(model=MODEL, card=CARDS / "efficientnet-lite0.toml", data=data)
