"""The tiny models of texts and speech through `conform noise`: what their training recorded comes out again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Conform

from sysnoise_conform.models.tiny import held_out


@pytest.mark.parametrize(
    ("place", "metric", "recorded", "most"),
    [("piqa", "acc", "piqa", 5), ("hellaswag", "acc", "hellaswag", 5), ("winogrande", "acc", "winogrande", 20),
     ("lambada", "acc", "lambada", 5)],
)  # fmt: skip
def test_tiny_lm(conform: Conform, place: str, metric: str, recorded: str, most: float) -> None:
    model, data = held_out.tiny("tiny-lm"), held_out.data("tiny-lm")

    done = conform(
        "noise", "-m", model.model, "-d", data.folder / place, "-b", "ort", "--baseline", "ort", "-x", "precision=fp16",
        "--combine", "none", "--samples", "24", "--out", "out",
    )  # fmt: skip

    found = json.loads((done.out / "noise.json").read_text())
    # Of 240 questions, 24 are asked here.
    assert found["baseline"][metric] == pytest.approx(100 * model.figures[recorded], abs=most)
    assert found["cells"][1]["value"] is not None


def test_tiny_tts(conform: Conform, tmp_path: Path) -> None:
    model, data = held_out.tiny("tiny-tts"), held_out.data("tiny-tts")

    done = conform(
        "noise", "-m", model.model, "-d", data.folder, "-b", "ort", "--baseline", "ort", "--combine", "none",
        "-x", "precision=fp16,stft=conv1d-int8,stft_window=hann-symmetric,stft_padding=constant", "--out", "out",
    )  # fmt: skip

    found = json.loads((done.out / "noise.json").read_text())
    assert found["baseline"]["mel_mse"] == pytest.approx(model.figures["mel_mse"], abs=2e-3)
    assert found["baseline"]["duration_off"] == pytest.approx(model.figures["frames_off"] * 64 / 8000, abs=1e-4)
    assert {each["status"] for each in found["cells"]} == {"measured"}
