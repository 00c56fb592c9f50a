"""Signals: DFT, STFT, window functions, and the mel filter bank."""

from __future__ import annotations

from math import pi

import onnx
import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, Typed, op

T = onnx.TensorProto
_FLOATS = (T.FLOAT, T.DOUBLE, T.FLOAT16, T.BFLOAT16)


def _complex(call: Call, x: Tensor) -> Tensor:
    """The last axis, of size 1 (real) or 2, as complex numbers."""
    if x.dim() < 2 or x.shape[-1] not in (1, 2):
        call.bad(f"an input of shape {list(x.shape)}: its last axis must be 1 (real) or 2 (complex)")
    if x.shape[-1] == 1:
        return torch.complex(x[..., 0], torch.zeros_like(x[..., 0]))
    return torch.complex(x[..., 0], x[..., 1])


def _length(call: Call, value: Tensor | None, default: int) -> int:
    length = default if value is None else int(value.reshape(-1)[0])
    if length < 1:
        call.bad(f"a transform of length {length}")
    return length


def _transform(call: Call, x: Tensor, dft_length: Tensor | None, axis: int) -> Tensor:
    rank = x.dim()
    if not (-rank <= axis <= -2 or 0 <= axis <= rank - 2):
        call.bad(f"axis {axis} of an input of rank {rank}")
    axis = axis % rank
    inverse, onesided = bool(call.get("inverse", 0)), bool(call.get("onesided", 0))
    size = x.shape[axis]
    if inverse and onesided:
        if x.shape[-1] != 2:
            call.bad("a one-sided inverse transform takes a complex input")
        length = _length(call, dft_length, 2 * (size - 1))
        signal: Tensor = torch.fft.irfft(_complex(call, x), n=length, dim=axis)
        return signal.unsqueeze(-1)
    length = _length(call, dft_length, size)
    if onesided:
        if x.shape[-1] != 1:
            call.bad("a one-sided transform takes a real input")
        return torch.view_as_real(torch.fft.rfft(x[..., 0], n=length, dim=axis))
    run = torch.fft.ifft if inverse else torch.fft.fft
    return torch.view_as_real(run(_complex(call, x), n=length, dim=axis))


@op("DFT", since=17, until=19)
def dft_17(call: Call, x: Tensor, dft_length: Tensor | None = None) -> Tensor:
    """The discrete Fourier transform along the attribute `axis`."""
    return _transform(call, x, dft_length, int(call.get("axis", 1)))


@op("DFT", since=20)
def dft(call: Call, x: Tensor, dft_length: Tensor | None = None, axis: Tensor | None = None) -> Tensor:
    """The discrete Fourier transform along the input `axis`."""
    return _transform(call, x, dft_length, -2 if axis is None else int(axis.reshape(-1)[0]))


@op("STFT", since=17)
def stft(
    call: Call, signal: Tensor, frame_step: Tensor, window: Tensor | None = None, frame_length: Tensor | None = None
) -> Tensor:
    """Spectra (batch, frames, bins, 2) of windowed frames of `signal` (batch, length, 1 or 2)."""
    if signal.dim() != 3:
        call.bad(f"a signal of shape {list(signal.shape)}")
    step = _length(call, frame_step, 1)
    length = _length(call, frame_length, signal.shape[1] if window is None else window.shape[0])
    if length > signal.shape[1] or (window is not None and tuple(window.shape) != (length,)):
        call.bad(
            f"frames of {length} from a signal of {signal.shape[1]}"
            + ("" if window is None else f" with a window of {list(window.shape)}")
        )
    frames = signal.movedim(1, -1).unfold(-1, length, step)  # (batch, 1 or 2, frames, length)
    if window is not None:
        frames = frames * window
    if not call.get("onesided", 1):
        imaginary = frames[:, 1] if frames.shape[1] == 2 else torch.zeros_like(frames[:, 0])
        return torch.view_as_real(torch.fft.fft(torch.complex(frames[:, 0], imaginary)))
    if frames.shape[1] != 1:
        call.bad("a one-sided transform takes a real signal")
    return torch.view_as_real(torch.fft.rfft(frames[:, 0]))


def _cosine_window(call: Call, size: Tensor, *terms: float) -> Typed:
    """The sum of terms[k] * cos(2 pi k n / N), N = size (periodic) or size - 1 (symmetric)."""
    length = int(size.reshape(-1)[0])
    if length < 0:
        call.bad(f"a window of length {length}")
    elem_type = int(call.get("output_datatype", T.FLOAT))
    if elem_type not in _FLOATS:
        call.unsupported("a window of integers: the text does not tell how it is rounded")
    period = length if call.get("periodic", 1) else length - 1
    if period == 0 and length:
        call.unsupported("a symmetric window of one sample, which the text leaves open")
    turns = torch.arange(length, dtype=torch.float64) * (2 * pi / max(period, 1))
    total = sum((term * torch.cos(k * turns) for k, term in enumerate(terms)), torch.zeros_like(turns))
    return Typed(total, elem_type)


@op("HannWindow", since=17)
def hann_window(call: Call, size: Tensor) -> Typed:
    """A Hann window of `size` samples."""
    return _cosine_window(call, size, 0.5, -0.5)


@op("HammingWindow", since=17)
def hamming_window(call: Call, size: Tensor) -> Typed:
    """A Hamming window with the exact coefficients 25/46 and 21/46."""
    return _cosine_window(call, size, 25 / 46, -21 / 46)


@op("BlackmanWindow", since=17)
def blackman_window(call: Call, size: Tensor) -> Typed:
    """A Blackman window of `size` samples."""
    return _cosine_window(call, size, 0.42, -0.5, 0.08)


@op("MelWeightMatrix", since=17)
def mel_weight_matrix(
    call: Call, bins: Tensor, dft_length: Tensor, sample_rate: Tensor, lower: Tensor, upper: Tensor
) -> Typed:
    """Triangles on the mel scale: (dft_length // 2 + 1, bins).

    The text leaves open how the corners meet the spectrum's bins; as in ONNX's own test they are
    (dft_length + 1) * hertz / sample_rate, rounded down, at bins + 2 points of which the last stays one
    step short of `upper`.
    """
    count, length, rate = (int(each.reshape(-1)[0]) for each in (bins, dft_length, sample_rate))
    if min(count, length, rate) < 1:
        call.bad(f"{count} bins of a transform of length {length} at {rate} Hz")
    elem_type = int(call.get("output_datatype", T.FLOAT))
    if elem_type not in _FLOATS:
        call.unsupported("a matrix of integers: the text does not tell how it is rounded")
    low, high = (2595 * torch.log10(1 + each.reshape(-1)[0].to(torch.float64) / 700) for each in (lower, upper))
    mel = low + (high - low) / (count + 2) * torch.arange(count + 2, dtype=torch.float64)
    hertz = 700 * (torch.pow(10.0, mel / 2595) - 1)
    corners = torch.floor((length + 1) * hertz / rate)
    bin_of = torch.arange(length // 2 + 1, dtype=torch.float64)[:, None]
    if bool((corners < 0).any()) or bool((corners >= bin_of.shape[0]).any()):
        call.bad("a mel band lies beyond the spectrum")
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = torch.where(centre > left, (bin_of - left) / (centre - left), 1.0)
    falling = torch.where(right > centre, (right - bin_of) / (right - centre), 0.0)
    up, down = (bin_of >= left) & (bin_of <= centre), (bin_of > centre) & (bin_of < right)
    return Typed(torch.where(up, rising, torch.where(down, falling, 0.0)), elem_type)
