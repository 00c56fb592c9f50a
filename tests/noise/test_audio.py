"""A speech front end: PyTorch, ONNX Runtime and published values as judges of the spectrum and the mel bank."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from graphs import graph
from noise.asking import ort

from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.noise import AXES
from sysnoise_conform.noise.audio import FrontEnd, costs, front_end, log_mel
from sysnoise_conform.noise.mel import Mel, bank, to_hertz, to_mel
from sysnoise_conform.noise.stft import Stft, inverse, spectrum, window_of

RATE = 22050
EXACT = Stft(kernel="fft-fp64")


def sound(samples: int = 2 * RATE) -> np.ndarray:
    """A rising tone, a decaying one, and noise."""
    t = np.arange(samples) / RATE
    noise = np.random.default_rng(0).standard_normal(samples)
    decaying = np.sin(2 * np.pi * 1330 * t) * np.exp(-t)
    return 0.3 * np.sin(2 * np.pi * 220 * t * (1 + 0.2 * t)) + 0.2 * decaying + 0.05 * noise


def torchs(x: np.ndarray, how: Stft) -> torch.Tensor:
    shape, period = how.window.split("-")
    make = torch.hann_window if shape == "hann" else torch.hamming_window
    length = how.length or how.n_fft
    window = make(length, periodic=period == "periodic", dtype=torch.float64)
    return torch.stft(
        torch.from_numpy(x), how.n_fft, how.hop, length, window, center=how.centre, pad_mode=how.pad,
        normalized=how.normalised, onesided=True, return_complex=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("window", "pad", "centre", "normalised"),
    list(product(
        ("hann-periodic", "hann-symmetric", "hamming-periodic", "hamming-symmetric"),
        ("reflect", "constant", "replicate"), (True, False), (False, True),
    )),
)  # fmt: skip
def test_the_spectrum_is_pytorchs(window: str, pad: str, centre: bool, normalised: bool) -> None:
    x = sound(5000)
    for n_fft, hop, length in ((512, 160, 400), (400, 160, 0), (63, 10, 50)):
        how = Stft(
            n_fft=n_fft, hop=hop, length=length, window=window, pad=pad, centre=centre, normalised=normalised,  # type: ignore[arg-type]
            kernel="fft-fp64",
        )  # fmt: skip
        found = spectrum(x, how)
        expected = torchs(x, how)
        np.testing.assert_allclose(found, expected.numpy().T, atol=1e-11)
        back = inverse(found, how, len(x))
        inner = slice(n_fft, (len(found) - 2) * hop)  # frames reach everything in between
        np.testing.assert_allclose(back[inner], x[inner], atol=1e-9)


@pytest.mark.parametrize("kernel", ["fft-fp32", "conv1d-fp32", "conv1d-fp16", "conv1d-int8"])
def test_a_long_sound_is_the_same_in_blocks(kernel: str) -> None:
    x, how = sound(40_000).astype(np.float32), Stft(n_fft=64, hop=8, kernel=kernel)  # type: ignore[arg-type]
    found = spectrum(x, how)
    assert found.dtype == np.complex64
    assert found.shape == (5001, 33)
    later = spectrum(x[8 * 2100 - 32 :], Stft(n_fft=64, hop=8, kernel=kernel, centre=False))  # type: ignore[arg-type]
    # Of 2,900 frames alone; a product of matrices of another height may sum in another order.
    np.testing.assert_allclose(later[:100], found[2100:2200], atol=1e-5)


def test_uncentred_frames_are_onnx_stft() -> None:
    x = sound().astype(np.float32)
    proto = graph(
        f"g (float[1,{len(x)},1] x, float[1024] w) => (float[1,169,513,2] y) <int64 step = {{256}}>"
        " { y = STFT <onesided = 1> (x, step, w) }"
    )
    how = Stft(centre=False, kernel="fft-fp64")
    (found,) = ort(proto, x[None, :, None], window_of(how).astype(np.float32))
    expected = spectrum(x.astype(np.float64), how)
    assert relative(found[0, ..., 0] + 1j * found[0, ..., 1], expected) < 1e-6


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(np.abs(found) - np.abs(expected)) / np.linalg.norm(expected))


# What each variant does to the magnitudes of such a sound; the figures hang on the sound, the order does not.
@pytest.mark.parametrize(
    ("axis", "level", "low", "high"),
    [
        ("stft", "fft-fp32", 4e-8, 3e-7),
        ("stft", "conv1d-fp32", 1e-7, 1e-6),
        ("stft", "conv1d-fp16", 1e-4, 4e-4),
        ("stft", "conv1d-int8", 2e-3, 8e-3),
        ("stft_window", "hann-symmetric", 6e-4, 1.5e-3),
        ("stft_padding", "constant", 2e-2, 9e-2),
        ("stft_window", "hamming-periodic", 5e-2, 1e-1),
    ],
)
def test_meaning_costs_more_than_arithmetic(axis: str, level: str, low: float, high: float) -> None:
    base = FrontEnd(stft=EXACT)
    found = costs(sound(), base, front_end(base, {axis: level}))
    assert low < found.magnitude < high
    assert (found.frames, found.base_frames) == (173, 173)
    assert found.mel_mse > 0


def test_uncentred_frames_are_fewer() -> None:
    base = FrontEnd(stft=EXACT)
    found = costs(sound(), base, front_end(base, {"stft_centre": "off"}))
    assert (found.frames, found.base_frames) == (169, 173)


def test_nothing_changed_costs_nothing() -> None:
    base = FrontEnd()
    same = front_end(base, {name: "card" for name, each in AXES.items() if each.stage == "audio"})
    found = costs(sound(9000), base, same)
    assert (found.magnitude, found.mel_mse, found.wave_mse) == (0.0, 0.0, 0.0)


def test_every_level_of_audio_is_another_front_end() -> None:
    for name, axis in AXES.items():
        if axis.stage == "audio":
            made = [front_end(FrontEnd(), {name: each.name}) for each in axis.levels[1:]]
            assert len(set(made)) == len(made)
            for each in made:
                assert np.isfinite(log_mel(sound(6000), each)).all()


def test_mels_are_those_that_are_published() -> None:
    # librosa's documentation of hz_to_mel and mel_to_hz; HTK's 1,000 Hz are 1,000 mel.
    np.testing.assert_allclose(to_mel(np.array([60, 110, 220, 440]), "slaney"), [0.9, 1.65, 3.3, 6.6])
    np.testing.assert_allclose(to_hertz(np.array([1, 2, 3, 4, 5]), "slaney"), np.arange(1, 6) * 200 / 3)
    np.testing.assert_allclose(to_hertz(np.array([15, 42]), "slaney"), [1000, 6400])
    assert to_mel(np.array(1000.0), "htk") == pytest.approx(1000, abs=0.02)
    hertz = np.linspace(0, 11025, 500)
    for scale in ("htk", "slaney"):
        np.testing.assert_allclose(to_hertz(to_mel(hertz, scale), scale), hertz, atol=1e-8)  # type: ignore[arg-type]


@pytest.mark.parametrize(("scale", "norm"), list(product(("htk", "slaney"), ("none", "area"))))
def test_a_bank_is_triangles_between_even_mels(scale: str, norm: str) -> None:
    how = Mel(bands=40, rate=16000, low=20, high=7600, scale=scale, norm=norm)  # type: ignore[arg-type]
    found = bank(how, 1024)
    assert found.shape == (40, 513)
    mels = to_mel(np.array([20.0, 7600.0]), how.scale)
    corners = to_hertz(np.linspace(*mels, 42), how.scale)
    for band, row in enumerate(found):
        height = 2 / (corners[band + 2] - corners[band]) if norm == "area" else 1
        expected = np.interp(np.arange(513) * 16000 / 1024, corners[band : band + 3], [0, height, 0])
        np.testing.assert_allclose(row, expected, atol=1e-12)


def test_corners_at_bins_are_those_of_a_plain_loop() -> None:
    how = Mel(bands=26, rate=16000, scale="htk", norm="none", corners="bins")
    found = bank(how, 512)
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    at = np.floor(513 * 700 * (10 ** (mels / 2595) - 1) / 16000).astype(int)
    expected = np.zeros((26, 257))
    for band in range(26):
        for each in range(at[band], at[band + 1]):
            expected[band, each] = (each - at[band]) / (at[band + 1] - at[band])
        for each in range(at[band + 1], at[band + 2]):
            expected[band, each] = (at[band + 2] - each) / (at[band + 2] - at[band + 1])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    narrow = bank(Mel(bands=80, rate=16000, scale="htk", norm="none", corners="bins"), 256)  # bands without a bin
    assert np.isfinite(narrow).all()


@pytest.mark.parametrize(
    ("x", "how", "why"),
    [
        (np.zeros(0), Stft(), "0 samples is too short"),
        (np.zeros(512), Stft(), "512 samples is too short"),
        (np.zeros(1023), Stft(centre=False), "1023 samples is too short"),
        (np.zeros((2, 4000)), Stft(), r"shape \[2, 4000\]"),
        (np.zeros(4000, np.int16), Stft(), "this is int16"),
        (np.array([0.0, np.nan] * 2000), Stft(), "finite"),
        (np.zeros(4000), Stft(length=2000), "can't be"),
        (np.zeros(4000), Stft(hop=0), "can't be"),
    ],
)
def test_a_sound_that_has_no_spectrum_is_told(x: np.ndarray, how: Stft, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        spectrum(x, how)


def test_the_shortest_sounds_have_one() -> None:
    assert spectrum(np.ones(513), Stft()).shape == (3, 513)
    assert spectrum(np.ones(1), Stft(pad="constant")).shape == (1, 513)
    assert spectrum(np.ones(1024, np.float16), Stft(centre=False)).shape == (1, 513)


def test_what_is_no_noise_of_audio_is_told() -> None:
    with pytest.raises(UsageError, match="'resize' is no noise of audio"):
        front_end(FrontEnd(), {"resize": "opencv-area"})
    with pytest.raises(UsageError, match="no level 'hann'"):
        front_end(FrontEnd(), {"stft_window": "hann"})
    with pytest.raises(BadInput, match="can't be"):
        bank(Mel(high=20000), 1024)
