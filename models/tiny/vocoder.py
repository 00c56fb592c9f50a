"""From log-mel features back to a sound: the spectrum that they may come from, its phases by Griffin and Lim (1984)."""

from __future__ import annotations

import numpy as np

from sysnoise_conform.models.tiny.recipe import SPECTRUM
from sysnoise_conform.noise.audio import FrontEnd
from sysnoise_conform.noise.mel import bank
from sysnoise_conform.noise.stft import inverse, spectrum

ROUNDS = 32


def waveform(mel: np.ndarray, how: FrontEnd = SPECTRUM, *, rounds: int = ROUNDS) -> np.ndarray:
    """The sound (samples,), float64, of features (frames, bands). The same features give the same sound.

    `how` is the front end that the synthesiser believes in: another one than that of the features is a noise.
    """
    weights = bank(how.mel, how.stft.n_fft)
    magnitudes = np.clip(np.exp(mel.astype(np.float64)) @ np.linalg.pinv(weights).T, 0, None)
    samples = (len(mel) - 1) * how.stft.hop
    spectra: np.ndarray = magnitudes.astype(np.complex128)
    for _ in range(rounds):
        found = spectrum(inverse(spectra, how.stft, samples), how.stft)[: len(mel)]
        size = np.abs(found)
        phases = np.divide(found, size, out=np.ones_like(found), where=size > 0)
        spectra = magnitudes * phases
    return inverse(spectra, how.stft, samples)
