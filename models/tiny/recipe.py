"""What determines a model and its data: seeds, counts, sizes. Frozen before any noise was measured on the models."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sysnoise_conform.card import Heads, ImageInput
from sysnoise_conform.models.tiny.speech import HOP, RATE
from sysnoise_conform.noise.audio import FrontEnd
from sysnoise_conform.noise.mel import Mel
from sysnoise_conform.noise.stft import Stft

TRAINING, HELD_OUT = 20260101, 20260202  # seeds of the data

MEAN, STD = (0.45, 0.45, 0.45), (0.25, 0.25, 0.25)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a model is trained: AdamW, a cosine behind a straight rise, one thread."""

    training: int  # how many pictures, or items
    held_out: int
    rounds: int  # how often each is seen
    batch: int
    rate: float
    decay: float
    seed: int = 0
    margin: int = 0  # pictures are prepared so many pixels larger on each side, and cut anew each time they are seen


CLASSIFIER = Recipe(training=3600, held_out=960, rounds=16, batch=48, rate=3e-3, decay=0.05, margin=8)
DETECTOR = Recipe(training=2400, held_out=320, rounds=14, batch=16, rate=2e-3, decay=0.05)
SEGMENTER = Recipe(training=2400, held_out=240, rounds=14, batch=16, rate=3e-3, decay=0.05)

CLASSIFIER_INPUT = ImageInput(size=(64, 64), resize="shorter+crop", shorter=72, mean=MEAN, std=STD)
DETECTOR_INPUT = ImageInput(size=(92, 92), resize="squash", mean=MEAN, std=STD)
SEGMENTER_INPUT = ImageInput(size=(96, 96), resize="squash", mean=MEAN, std=STD)

DETECTOR_HEADS = Heads(
    boxes="offsets", scores="scores", activation="sigmoid", strides=(8, 16, 32), sizes=((18.0,), (30.0,), (46.0,)),
    ratios=(0.5, 1.0, 2.0), variances=(0.1, 0.1, 0.2, 0.2), iou=0.45,
)  # fmt: skip
LANGUAGE = Recipe(training=24000, held_out=240, rounds=3, batch=32, rate=3e-3, decay=0.05)
LANGUAGE_AGAIN = replace(LANGUAGE, rounds=2, rate=2e-3)  # a second course, over other texts
SPEAKER = Recipe(training=960, held_out=96, rounds=16, batch=16, rate=2e-3, decay=0.01)

SPECTRUM = FrontEnd(stft=Stft(n_fft=256, hop=HOP), mel=Mel(bands=40, rate=RATE))
