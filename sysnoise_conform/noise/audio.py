"""A speech model's front end under noises, and what they cost a sound.

    base = FrontEnd(stft=Stft(n_fft=1024, hop=256), mel=Mel(bands=80, rate=22050))
    noisy = front_end(base, {"stft_window": "hann-symmetric", "mel_scale": "htk"})
    print(costs(sound, base, noisy))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from sysnoise_conform.card import SpeechInput
from sysnoise_conform.errors import UsageError
from sysnoise_conform.noise import mel, stft
from sysnoise_conform.noise.mel import Mel
from sysnoise_conform.noise.stft import Stft

AXES = (*stft.AXES, *mel.AXES)


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontEnd:
    """From a sound to what a model reads: ln(max(bank @ |spectrum|, floor)), as Tacotron 2 and FastSpeech 2 have it."""

    stft: Stft = field(default_factory=Stft)
    mel: Mel = field(default_factory=Mel)
    floor: float = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What one front end's features are to another's, over the frames that both have.

    `magnitude` is the relative L2 difference of the magnitudes. Mean square differences: `mel_mse` of the features,
    `wave_mse` of the sounds that the base's inverse makes of both spectra.
    """

    magnitude: float
    mel_mse: float
    wave_mse: float
    frames: int
    base_frames: int


def of_card(spec: SpeechInput) -> FrontEnd:
    """The front end that a card means."""
    return FrontEnd(
        stft=Stft(
            n_fft=spec.n_fft, hop=spec.hop, length=spec.window_length, window=cast(stft.Window, spec.window),
            pad=cast(stft.Padding, spec.padding), centre=spec.centre,
        ),
        mel=Mel(
            bands=spec.bands, rate=float(spec.rate), low=spec.low, high=spec.high, scale=cast(mel.Scale, spec.scale),
            norm=cast(mel.Norm, spec.norm),
        ),
        floor=spec.floor,
    )  # fmt: skip


def front_end(base: FrontEnd, levels: Mapping[str, str]) -> FrontEnd:
    """The front end under levels of axes of audio. Raises UsageError for one that is none, or unknown."""
    for name, level in levels.items():
        axis = next((each for each in AXES if each.name == name), None)
        if axis is None:
            raise UsageError(f"{name!r} is no noise of audio", hint=", ".join(each.name for each in AXES))
        axis.level(level)
        if axis in stft.AXES:
            base = replace(base, stft=stft.change(base.stft, name, level))
        else:
            base = replace(base, mel=mel.change(base.mel, name, level))
    return base


def log_mel(sound: np.ndarray, how: FrontEnd) -> np.ndarray:
    """The features (frames, bands) of a sound (samples,). Raises BadInput."""
    return _features(stft.spectrum(sound, how.stft), how)


def costs(sound: np.ndarray, base: FrontEnd, other: FrontEnd) -> Costs:
    """What `other` makes of a sound (samples,) against `base`. Raises BadInput, also where their bins do not match."""
    one, two = stft.spectrum(sound, base.stft), stft.spectrum(sound, other.stft)
    frames = min(len(one), len(two))
    first, second = np.abs(one[:frames]).astype(np.float64), np.abs(two[:frames]).astype(np.float64)
    size = float(np.linalg.norm(first))
    difference = float(np.linalg.norm(second - first))
    waves = [stft.inverse(each[:frames], base.stft, len(sound)) for each in (one, two)]
    return Costs(
        magnitude=difference / size if size else difference,
        mel_mse=float(np.mean((_features(one[:frames], base) - _features(two[:frames], other)) ** 2)),
        wave_mse=float(np.mean((waves[0] - waves[1]) ** 2)),
        frames=len(two),
        base_frames=len(one),
    )


def _features(spectra: np.ndarray, how: FrontEnd) -> np.ndarray:
    bands = np.abs(spectra).astype(np.float64) @ mel.bank(how.mel, how.stft.n_fft).T
    return np.asarray(np.log(np.maximum(bands, how.floor)))
