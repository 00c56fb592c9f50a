"""Colour conversion: cameras, video decoders and image units hand over YUV, and each makes its own RGB of it.

The picture goes RGB -> YUV -> RGB, uint8 each; what differs is the matrix (BT.601, BT.709), the range (narrow 16..235,
full 0..255), how chroma is subsampled and brought back, and whether the way back is in floating point or in integers.
Equations 5 to 7 of the SysNoise paper are `bt601-narrow`; its Eq. 6 lost the B row, which is restored from Eq. 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sysnoise_conform.errors import BadInput
from sysnoise_conform.noise.axis import Axis, Level, identity
from sysnoise_conform.pictures.opencv import opencv

Siting = Literal["centre", "left"]  # MPEG-1 / JPEG; MPEG-2, H.264, most video
Upsampling = Literal["nearest", "linear"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """Luma weights of ITU-R BT.601-7 2.5.1 or BT.709-6 3.2, and the range of the codes."""

    red: float
    blue: float
    full: bool

    def forward(self) -> tuple[np.ndarray, np.ndarray]:
        """(3, 3) from R, G, B of 0..255 to Y, U, V codes, and the offsets to add."""
        green = 1 - self.red - self.blue
        luma = np.array([self.red, green, self.blue])
        u = (np.array([0, 0, 1.0]) - luma) / (2 * (1 - self.blue))
        v = (np.array([1.0, 0, 0]) - luma) / (2 * (1 - self.red))
        y_scale, c_scale = (1.0, 1.0) if self.full else (219 / 255, 224 / 255)
        offset = np.array([0.0 if self.full else 16.0, 128.0, 128.0])
        return np.stack([luma * y_scale, u * c_scale, v * c_scale]), offset

    def backward(self) -> tuple[np.ndarray, np.ndarray]:
        """(3, 3) from Y, U, V codes, without the offsets, to R, G, B, and the offsets to take away first."""
        forward, offset = self.forward()
        return np.linalg.inv(forward), offset


BT601_NARROW = Matrix(red=0.299, blue=0.114, full=False)
BT601_FULL = Matrix(red=0.299, blue=0.114, full=True)
BT709_NARROW = Matrix(red=0.2126, blue=0.0722, full=False)
BT709_FULL = Matrix(red=0.2126, blue=0.0722, full=True)

_AT_ONCE = 8192  # pixels

# Numerators over 256 as image units hold them, for Y, U, V -> R, G, B: SysNoise Eq. 7, and JPEG's full range.
INTEGER = {
    BT601_NARROW: ((298, 0, 409), (298, -100, -208), (298, 516, 0)),
    BT601_FULL: ((256, 0, 359), (256, -88, -183), (256, 454, 0)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """RGB -> YUV by `matrix`, chroma kept at full size or halved, and back by `back` (the same unless they disagree).

    `integer` takes the way back in Eq. 7's integers. `siting` and `upsampling` say where a halved chroma sample lies
    and how it is spread again.
    """

    matrix: Matrix
    back: Matrix | None = None
    subsampled: bool = False
    integer: bool = False
    siting: Siting = "centre"
    upsampling: Upsampling = "nearest"


def to_yuv(rgb: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Y, U, V codes (height, width, 3), uint8, each rounded to nearest even, of RGB in uint8. Eq. 5."""
    weights, offset = matrix.forward()
    return _mixed(rgb, weights.astype(np.float32), offset.astype(np.float32), after=True)


def to_rgb(yuv: np.ndarray, matrix: Matrix, *, integer: bool = False) -> np.ndarray:
    """RGB in uint8 of Y, U, V codes: Eq. 6, or Eq. 7 with `integer`. Raises KeyError where no integer form is known."""
    if integer:
        offset = np.array([0 if matrix.full else 16, 128, 128], np.int32)
        return _mixed(yuv, np.array(INTEGER[matrix], np.int32), -offset, after=False)
    weights, offsets = matrix.backward()
    return _mixed(yuv, weights.astype(np.float32), -offsets.astype(np.float32), after=False)


def _mixed(codes: np.ndarray, weights: np.ndarray, offset: np.ndarray, *, after: bool) -> np.ndarray:
    """Three codes of each pixel, weighted (3, 3), rounded and clipped; `offset` is added before, or `after` rounding.

    Weights of int32 are over 256. Some thousand pixels at a time, which stay in the cache, and without BLAS, whose
    threads would wait for cores that are at work on other pictures, and whose order of summing is the machine's.
    """
    flat = codes.reshape(-1, 3)
    mixed = np.empty_like(flat)
    most = min(len(flat), _AT_ONCE)
    planes, total, term = (np.empty((rows, most), weights.dtype) for rows in (3, 1, 1))
    for start in range(0, len(flat), _AT_ONCE):
        part = flat[start : start + _AT_ONCE]
        wide, one, other = planes[:, : len(part)], total[0, : len(part)], term[0, : len(part)]
        wide[...] = part.T
        if not after:
            wide += offset[:, None]
        for to, row in enumerate(weights):
            np.multiply(wide[0], row[0], out=one)
            for at in (1, 2):
                one += np.multiply(wide[at], row[at], out=other)
            if weights.dtype == np.int32:
                one += 128
                one >>= 8
            else:
                np.rint(one, out=one)
            if after:
                one += offset[to]
            mixed[start : start + _AT_ONCE, to] = np.clip(one, 0, 255, out=one)
    return mixed.reshape(codes.shape)


def halve(chroma: np.ndarray, siting: Siting) -> np.ndarray:
    """(height, width, ...) uint8 at half the size, odd sizes rounded up by repeating the edge.

    `centre`: the mean of 2 x 2 samples. `left`: the mean of two rows, of columns the even one weighted 1 2 1.
    """
    wide = np.pad(chroma, [(0, size % 2) for size in chroma.shape[:2]] + [(0, 0)] * (chroma.ndim - 2), mode="edge")
    tall = wide[0::2].astype(np.int32) + wide[1::2]
    if siting == "centre":
        return np.asarray(((tall[:, 0::2] + tall[:, 1::2] + 2) >> 2).astype(np.uint8))
    even = tall[:, 0::2]
    after = tall[:, 1::2]
    before = np.concatenate([even[:, :1], after[:, :-1]], axis=1)
    return np.asarray(((before + 2 * even + after + 4) >> 3).astype(np.uint8))


def spread(chroma: np.ndarray, size: tuple[int, int], siting: Siting, upsampling: Upsampling) -> np.ndarray:
    """Half-size chroma at `size` (height, width): each sample twice, or interpolated between where samples lie."""
    if upsampling == "nearest":
        return chroma.repeat(2, axis=0).repeat(2, axis=1)[: size[0], : size[1]]
    rows = _between(chroma, size[0], axis=0, shift=0.25)
    both = _between(rows, size[1], axis=1, shift=0.25 if siting == "centre" else 0.0)
    return np.asarray(np.clip(np.rint(both), 0, 255).astype(np.uint8))


def _between(samples: np.ndarray, length: int, *, axis: int, shift: float) -> np.ndarray:
    """Linear interpolation at (x / 2 - shift), the edge repeated."""
    at = np.clip(np.arange(length) / 2 - shift, 0, samples.shape[axis] - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, samples.shape[axis] - 1)
    part = (at - low).astype(np.float32)
    part = part.reshape([-1 if each == axis else 1 for each in range(samples.ndim)])
    first, second = samples.take(low, axis), samples.take(high, axis)
    return np.asarray(first + part * (second.astype(np.float32) - first))


def round_trip(rgb: np.ndarray, how: Conversion) -> np.ndarray:
    """The picture after `how`: uint8, the same shape (height, width, 3)."""
    if not rgb.size:
        return rgb
    yuv = to_yuv(rgb, how.matrix)
    if how.subsampled:
        chroma = halve(yuv[:, :, 1:], how.siting)
        yuv[:, :, 1:] = spread(chroma, rgb.shape[:2], how.siting, how.upsampling)
    return to_rgb(yuv, how.back or how.matrix, integer=how.integer)


def _said(name: str, how: Conversion, about: str, imitates: str, source: str = "") -> tuple[Level, Conversion]:
    return Level(name=name, about=about, imitates=imitates, source=source), how


_ISP = "image signal processors and video decoders that hand over YUV"
_TABLE = (
    _said(
        "bt601-narrow-444", Conversion(matrix=BT601_NARROW), "YUV 4:4:4, BT.601, 16..235, back in floating point",
        "OpenCV and Ascend units on a still picture", "SysNoise Eq. 5 and 6",
    ),
    _said(
        "bt601-narrow-444-integer", Conversion(matrix=BT601_NARROW, integer=True),
        "the same, back in integers over 256", "Ascend AIPP, fixed-point image units", "SysNoise Eq. 5 and 7",
    ),
    _said("bt601-full-444", Conversion(matrix=BT601_FULL), "YUV 4:4:4, BT.601, 0..255", "JPEG's own colour space",
          "ITU-T T.871 clause 7"),
    _said("bt601-full-444-integer", Conversion(matrix=BT601_FULL, integer=True), "the same, back in integers over 256",
          "Ascend AIPP's JPEG mode"),
    _said("bt709-narrow-444", Conversion(matrix=BT709_NARROW), "YUV 4:4:4, BT.709, 16..235", "HD video",
          "ITU-R BT.709-6 3.2"),
    _said("bt709-full-444", Conversion(matrix=BT709_FULL), "YUV 4:4:4, BT.709, 0..255", "HD video, full range"),
    _said(
        "bt601-narrow-nv12", Conversion(matrix=BT601_NARROW, subsampled=True),
        "YUV 4:2:0 (NV12 and I420 hold the same samples), chroma sited between, each sample repeated", _ISP,
        "OpenCV's COLOR_YUV2RGB_NV12 repeats samples",
    ),
    _said(
        "bt601-narrow-nv12-integer", Conversion(matrix=BT601_NARROW, subsampled=True, integer=True),
        "the same, back in integers over 256", "Ascend AIPP behind a video decoder", "SysNoise Eq. 7",
    ),
    _said(
        "bt601-narrow-nv12-left", Conversion(matrix=BT601_NARROW, subsampled=True, siting="left", upsampling="linear"),
        "YUV 4:2:0, chroma sited left as in MPEG-2 and H.264, interpolated", "swscale, GPU video pipelines",
        "ITU-T H.264 figure 6-1",
    ),
    _said(
        "bt601-narrow-nv12-linear", Conversion(matrix=BT601_NARROW, subsampled=True, upsampling="linear"),
        "YUV 4:2:0, chroma sited between, interpolated", "decoders with smooth chroma",
    ),
    _said("bt709-narrow-nv12", Conversion(matrix=BT709_NARROW, subsampled=True),
          "YUV 4:2:0, BT.709, 16..235, each chroma sample repeated", "HD video decoders"),
    _said("bt601-full-nv12", Conversion(matrix=BT601_FULL, subsampled=True),
          "YUV 4:2:0, BT.601, 0..255, each chroma sample repeated", "camera pipelines in full range, nvJPEG's output"),
    _said("range-full-as-narrow", Conversion(matrix=BT601_FULL, back=BT601_NARROW),
          "written in full range and read as narrow", "a missing range flag: contrast grows by 16 %"),
    _said("range-narrow-as-full", Conversion(matrix=BT601_NARROW, back=BT601_FULL),
          "written in narrow range and read as full", "a missing range flag: the picture is washed out"),
    _said("matrix-709-as-601", Conversion(matrix=BT709_NARROW, back=BT601_NARROW),
          "written by BT.709 and read by BT.601", "HD video through an SD path"),
    _said("matrix-601-as-709", Conversion(matrix=BT601_NARROW, back=BT709_NARROW),
          "written by BT.601 and read by BT.709", "stills through an HD path"),
)  # fmt: skip

_CONVERSIONS = {level.name: how for level, how in _TABLE}
_OPENCV = Level(
    name="opencv-i420",
    about="YUV 4:2:0 by OpenCV's own conversion, there and back; an odd picture loses its last row or column",
    imitates="pipelines that move I420 between processes with OpenCV",
    source="OpenCV COLOR_RGB2YUV_I420 and COLOR_YUV2RGB_I420: BT.601, 16..235",
    needs="cv2",
    package="opencv-python-headless",
)
_LEVELS = (identity("no conversion"), *(level for level, _ in _TABLE), _OPENCV)

AXIS = Axis(
    name="colour",
    stage="colour",
    about="RGB through YUV and back at the picture's own size, as cameras and video decoders do it",
    paper=True,
    levels=_LEVELS,
)
INPUT_AXIS = Axis(
    name="input_colour",
    stage="input",
    about="RGB through YUV and back at the network's size, as image units do it that feed NV12 to the network",
    levels=_LEVELS,
)


def convert(rgb: np.ndarray, level: str) -> np.ndarray:
    """`rgb` (height, width, 3), uint8, after the conversion of a level; itself for the identity.

    The shape stays, but for OpenCV's own conversion, which takes even sizes alone.
    """
    if level == _OPENCV.name:
        return _with_opencv(rgb)
    return round_trip(rgb, _CONVERSIONS[level]) if level in _CONVERSIONS else rgb


def _with_opencv(rgb: np.ndarray) -> np.ndarray:
    cv2 = opencv()
    if cv2 is None:
        raise BadInput("the conversion opencv-i420 was asked for, and OpenCV is not installed")
    height, width = (max(size - size % 2, 2) for size in rgb.shape[:2])
    even = np.pad(rgb, [(0, max(0, 2 - size)) for size in rgb.shape[:2]] + [(0, 0)], mode="edge")[:height, :width]
    yuv = cv2.cvtColor(np.ascontiguousarray(even), cv2.COLOR_RGB2YUV_I420)
    return np.asarray(cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB_I420))
