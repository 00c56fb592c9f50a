"""Filters of equal width to the ear: a spectrum's bins gathered into mel bands, as the stacks draw the triangles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from sysnoise_conform.errors import BadInput
from sysnoise_conform.noise.axis import IDENTITY, Axis, Level, identity

Scale = Literal["htk", "slaney"]
Norm = Literal["none", "area"]
Corners = Literal["exact", "bins"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mel:
    """A bank of triangles. `rate`, `low` and `high` in hertz; a `high` of 0 is half the rate."""

    bands: int = 80
    rate: float = 22050.0
    low: float = 0.0
    high: float = 0.0
    scale: Scale = "slaney"
    norm: Norm = "area"
    corners: Corners = "exact"


_SPEECH = ("speak",)
SCALE = Axis(
    name="mel_scale",
    stage="audio",
    about="the formula of the mel",
    tasks=_SPEECH,
    levels=(
        identity("as the card says"),
        Level(name="htk", about="2595 log10(1 + f / 700)", imitates="HTK, torchaudio's default, TensorFlow, ONNX",
              source="O'Shaughnessy 1987; HTK Book 5.4"),
        Level(name="slaney", about="linear below 1 kHz, 27 steps for a factor of 6.4 above", imitates="librosa",
              source="Slaney, Auditory Toolbox 1998"),
    ),
)  # fmt: skip
NORM = Axis(
    name="mel_norm",
    stage="audio",
    about="the height of the triangles",
    tasks=_SPEECH,
    levels=(
        identity("as the card says"),
        Level(name="none", about="1", imitates="torchaudio's default, HTK"),
        Level(name="area", about="2 / width in hertz: equal areas", imitates="librosa", source="librosa norm='slaney'"),
    ),
)
CORNERS = Axis(
    name="mel_corners",
    stage="audio",
    about="where the triangles' corners lie between the spectrum's bins",
    tasks=_SPEECH,
    levels=(
        identity("as the card says"),
        Level(name="exact", about="at their frequency", imitates="librosa, torchaudio"),
        Level(name="bins", about="at the bin floor((n_fft + 1) f / rate)", imitates="python_speech_features",
              source="python_speech_features get_filterbanks"),
    ),
)
AXES = (SCALE, NORM, CORNERS)


def change(how: Mel, axis: str, level: str) -> Mel:
    """The bank at a level of one of these axes."""
    if level == IDENTITY:
        return how
    fields = {SCALE.name: "scale", NORM.name: "norm", CORNERS.name: "corners"}
    changes: dict[str, Any] = {fields[axis]: level}
    return replace(how, **changes)


def to_mel(hertz: np.ndarray, scale: Scale) -> np.ndarray:
    """Mels of frequencies; 1 kHz is 999.99 (HTK) or 15 (Slaney)."""
    hertz = np.asarray(hertz, np.float64)
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    above = 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    return np.where(hertz < 1000, hertz * 3 / 200, above)


def to_hertz(mel: np.ndarray, scale: Scale) -> np.ndarray:
    """The inverse of `to_mel`."""
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return np.asarray(700 * (10 ** (mel / 2595) - 1))
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) * np.log(6.4) / 27))


def bank(how: Mel, n_fft: int) -> np.ndarray:
    """The weights, float64, (bands, n_fft // 2 + 1). Raises BadInput for impossible bounds."""
    high = how.high or how.rate / 2
    if how.bands < 1 or not 0 <= how.low < high <= how.rate / 2 or n_fft < 1:
        raise BadInput(
            f"{how.bands} mel bands from {how.low:g} to {high:g} Hz at {how.rate:g} Hz can't be",
            hint="0 <= low < high <= rate / 2",
        )
    ends = to_mel(np.array([how.low, high]), how.scale)
    hertz = to_hertz(np.linspace(ends[0], ends[1], how.bands + 2), how.scale)
    if how.corners == "bins":
        corners, step = np.floor((n_fft + 1) * hertz / how.rate), 1.0
    else:
        corners, step = hertz, how.rate / n_fft
    places = np.arange(n_fft // 2 + 1) * step
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    # Corners in one bin leave a side without width: nothing lies strictly within it.
    with np.errstate(divide="ignore", invalid="ignore"):
        rising = np.where(places < centre, (places - left) / (centre - left), 1.0)
        falling = np.where(places > centre, (right - places) / (right - centre), 1.0)
    found = np.clip(np.minimum(rising, falling), 0, None)
    if how.corners == "bins":  # python_speech_features: a triangle without width is none
        found = np.where((places >= left) & (places < right), found, 0.0)
    return np.asarray(found * (2 / (hertz[2:] - hertz[:-2]))[:, None] if how.norm == "area" else found)
