"""The spectrum of a sound in short frames, as the stacks compute it: kernel, window, padding, centring, scale.

X[m, k] = sum over n of w[n] x[m hop + n] exp(-2 pi i k n / n_fft), for k = 0 .. n_fft / 2 (torch.stft; ONNX STFT is the
same without centring). SysNoise says no more than "different operators in STFT" (its Table 10).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, assert_never

import numpy as np

from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.noise.axis import IDENTITY, Axis, Level, identity

Kernel = Literal["fft-fp64", "fft-fp32", "conv1d-fp32", "conv1d-fp16", "conv1d-int8"]
Window = Literal["hann-periodic", "hann-symmetric", "hamming-periodic", "hamming-symmetric"]
Padding = Literal["reflect", "constant", "replicate"]
_BLOCK = 2048  # frames at a time, so that memory does not grow with the sound


@dataclass(frozen=True, kw_only=True, slots=True)
class Stft:
    """How a spectrum is made. Sizes in samples; a `length` of 0 is n_fft, a shorter window lies in the middle of it.

    `centre`: frame m is about sample m hop, and the sound is padded by n_fft / 2 on both sides by the rule `pad`.
    `normalised`: divided by the root of n_fft.
    """

    n_fft: int = 1024
    hop: int = 256
    length: int = 0
    window: Window = "hann-periodic"
    centre: bool = True
    pad: Padding = "reflect"
    normalised: bool = False
    kernel: Kernel = "fft-fp32"


_TORCH = "torch.stft"
_SPEECH = ("speak",)
KERNEL = Axis(
    name="stft",
    stage="audio",
    about="how the spectrum is computed",
    paper=True,
    tasks=_SPEECH,
    levels=(
        identity("as the card says"),
        Level(name="fft-fp64", about="a fast transform in float64", imitates="NumPy", needs="scipy"),
        Level(name="fft-fp32", about="a fast transform in float32", imitates="PyTorch, ONNX Runtime's STFT",
              needs="scipy"),
        Level(name="conv1d-fp32", about="a convolution with the windowed basis", imitates="exports without an STFT"),
        Level(name="conv1d-fp16", about="the same, signal and basis in float16, sums in float32",
              imitates="accelerators", source="IEEE 754 binary16, to even"),
        Level(name="conv1d-int8", about="the same, the basis in 8 bits with one scale", imitates="quantised weights",
              source="symmetric, scale = max / 127"),
    ),
)  # fmt: skip
WINDOW = Axis(
    name="stft_window",
    stage="audio",
    about="the window of a frame",
    tasks=_SPEECH,
    levels=(
        identity("as the card says"),
        Level(name="hann-periodic", about="0.5 - 0.5 cos(2 pi n / N)", imitates="PyTorch, librosa",
              source="torch.hann_window"),
        Level(name="hann-symmetric", about="0.5 - 0.5 cos(2 pi n / (N - 1))", imitates="np.hanning, MATLAB",
              source="numpy.hanning"),
        Level(name="hamming-periodic", about="0.54 - 0.46 cos(2 pi n / N)", imitates="Kaldi-like front ends",
              source="torch.hamming_window"),
        Level(name="hamming-symmetric", about="0.54 - 0.46 cos(2 pi n / (N - 1))", imitates="np.hamming, Kaldi",
              source="numpy.hamming"),
    ),
)  # fmt: skip
PADDING = Axis(
    name="stft_padding",
    stage="audio",
    about="what lies before and behind the sound when frames are centred",
    tasks=_SPEECH,
    levels=(
        identity("as the card says"),
        Level(name="reflect", about="the sound, mirrored", imitates="PyTorch", source=f"{_TORCH} pad_mode"),
        Level(name="constant", about="silence", imitates="librosa since 0.10", source="librosa.stft pad_mode"),
        Level(name="replicate", about="the first and last sample again", source=f"{_TORCH} pad_mode"),
    ),
)
CENTRE = Axis(
    name="stft_centre",
    stage="audio",
    about="whether frames are centred on their time",
    tasks=_SPEECH,
    levels=(
        identity("as the card says"),
        Level(name="on", about="the sound is padded by half a frame", imitates="PyTorch, librosa", source=_TORCH),
        Level(name="off", about="frames begin at their time; the last samples may be in none",
              imitates="ONNX STFT, TensorFlow", source="ONNX STFT, opset 17"),
    ),
)  # fmt: skip
SCALE = Axis(
    name="stft_scale",
    stage="audio",
    about="whether the spectrum is divided by the root of its length",
    tasks=_SPEECH,
    mistake=True,
    levels=(
        identity("as the card says"),
        Level(name="none", about="it is not", imitates="PyTorch's default", source=f"{_TORCH} normalized=False"),
        Level(name="normalised", about="it is", source=f"{_TORCH} normalized=True"),
    ),
)
AXES = (KERNEL, WINDOW, PADDING, CENTRE, SCALE)


def change(how: Stft, axis: str, level: str) -> Stft:
    """The spectrum at a level of one of these axes."""
    if level == IDENTITY:
        return how
    changes: dict[str, Any]
    match axis:
        case "stft":
            changes = {"kernel": level}
        case "stft_window":
            changes = {"window": level}
        case "stft_padding":
            changes = {"pad": level}
        case "stft_centre":
            changes = {"centre": level == "on"}
        case "stft_scale":
            changes = {"normalised": level == "normalised"}
        case _:
            raise AssertionError(axis)
    return replace(how, **changes)


def window_of(how: Stft) -> np.ndarray:
    """The window, float64, (n_fft,)."""
    length = how.length or how.n_fft
    shape, period = how.window.split("-")
    turns = 2 * np.pi * np.arange(length) / max(length if period == "periodic" else length - 1, 1)
    found = 0.5 - 0.5 * np.cos(turns) if shape == "hann" else 0.54 - 0.46 * np.cos(turns)
    if length == 1:
        found = np.ones(1)
    before = (how.n_fft - length) // 2
    return np.pad(found, (before, how.n_fft - length - before))


def spectrum(sound: np.ndarray, how: Stft) -> np.ndarray:
    """The spectrum of a sound (samples,), (frames, n_fft // 2 + 1): complex128 with fft-fp64, else complex64.

    Raises BadInput for a sound that is not one row of finite numbers, or too short, and for impossible sizes;
    UsageError where a kernel needs a package that is not there.
    """
    frames = _frames(_checked(sound, how), how)
    return np.concatenate([_transformed(each, how) for each in _blocks(frames)])


def inverse(spectra: np.ndarray, how: Stft, samples: int) -> np.ndarray:
    """The sound, float64, (samples,), whose spectrum is nearest in the least squares; zero where no window reaches.

    Griffin & Lim 1984, equation 6. `spectra` is (frames, n_fft // 2 + 1) as `spectrum` gives it under `how`.
    """
    window = window_of(how)
    frames = np.fft.irfft(spectra.astype(np.complex128), n=how.n_fft, axis=1) * window
    if how.normalised:
        frames *= np.sqrt(how.n_fft)
    total, weight = (np.zeros((len(frames) - 1) * how.hop + how.n_fft) for _ in range(2))
    for at, frame in enumerate(frames):
        place = slice(at * how.hop, at * how.hop + how.n_fft)
        total[place] += frame
        weight[place] += window**2
    found = np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-11)
    found = found[how.n_fft // 2 :] if how.centre else found
    return np.pad(found[:samples], (0, max(0, samples - len(found))))


def _checked(sound: np.ndarray, how: Stft) -> np.ndarray:
    length = how.length or how.n_fft
    if how.n_fft < 1 or how.hop < 1 or not 0 < length <= how.n_fft:
        raise BadInput(
            f"a spectrum of n_fft {how.n_fft}, hop {how.hop}, window {length} can't be", hint="1 <= length <= n_fft"
        )
    if sound.ndim != 1 or not np.issubdtype(sound.dtype, np.floating) or not np.isfinite(sound).all():
        raise BadInput(
            f"a sound is one row of finite float samples, this is {sound.dtype} of shape {list(sound.shape)}",
            hint="mix the channels, and scale integers to -1..1",
        )
    half = how.n_fft // 2
    least = 1 if how.centre and how.pad != "reflect" else half + 1 if how.centre else how.n_fft
    if len(sound) < least:
        raise BadInput(
            f"a sound of {len(sound)} samples is too short for frames of {how.n_fft}",
            hint=f"{'centred and padded by ' + how.pad if how.centre else 'uncentred'} it needs at least {least}",
        )
    return sound


def _frames(sound: np.ndarray, how: Stft) -> np.ndarray:
    """A view (frames, n_fft) of the padded sound."""
    if how.centre:
        half = how.n_fft // 2
        match how.pad:
            case "reflect":
                sound = np.pad(sound, half, mode="reflect")
            case "constant":
                sound = np.pad(sound, half)
            case "replicate":
                sound = np.pad(sound, half, mode="edge")
            case _:
                assert_never(how.pad)
    return np.lib.stride_tricks.sliding_window_view(sound, how.n_fft)[:: how.hop]


def _blocks(frames: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(frames), _BLOCK):
        yield frames[start : start + _BLOCK]


def _transformed(frames: np.ndarray, how: Stft) -> np.ndarray:
    scale = 1 / np.sqrt(how.n_fft) if how.normalised else 1.0
    window = window_of(how)
    match how.kernel:
        case "fft-fp64" | "fft-fp32":
            try:
                from scipy import fft  # NumPy 1 transforms in float64 alone
            except ImportError as err:
                raise UsageError("scipy is not installed", hint="pip install 'sysnoise-conform[noise]'") from err
            working = np.float64 if how.kernel == "fft-fp64" else np.float32
            found = fft.rfft(frames.astype(working) * window.astype(working), axis=1)
            return np.asarray(found * working(scale))
        case "conv1d-fp32":
            real, imaginary = (each.astype(np.float32) for each in _basis(window * scale))
            rows = frames.astype(np.float32)
        case "conv1d-fp16":
            real, imaginary = (each.astype(np.float16).astype(np.float32) for each in _basis(window * scale))
            rows = frames.astype(np.float16).astype(np.float32)
        case "conv1d-int8":
            both = _basis(window * scale)
            step = max(float(np.abs(each).max()) for each in both) / 127 or 1.0
            real, imaginary = ((np.rint(each / step) * step).astype(np.float32) for each in both)
            rows = frames.astype(np.float32)
        case _:
            assert_never(how.kernel)
    return np.asarray((rows @ real) + 1j * (rows @ imaginary), np.complex64)


def _basis(window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The windowed cosines and negative sines, (n_fft, bins) each. k n is taken modulo n_fft: the angle stays exact."""
    n = np.arange(len(window))
    turns = 2 * np.pi / len(window) * (np.outer(n, np.arange(len(window) // 2 + 1)) % len(window))
    return np.cos(turns) * window[:, None], -np.sin(turns) * window[:, None]
