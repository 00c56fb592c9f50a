"""Which library decodes the picture. What moves pixels most is how it spreads the halved chroma of a 4:2:0 JPEG."""

from __future__ import annotations

from dataclasses import replace

from sysnoise_conform.card import ImageInput
from sysnoise_conform.noise.axis import Axis, Level, identity

_TURBO = {"needs": "simplejpeg", "package": "simplejpeg"}
_FFMPEG = {"needs": "av", "package": "av"}

AXIS = Axis(
    name="decoder",
    stage="decode",
    about="the library that decodes the picture, and what it is told",
    paper=True,
    levels=(
        identity("the card's decoder"),
        Level(name="pillow", about="Pillow, libjpeg-turbo: accurate iDCT, smooth chroma",
              imitates="torchvision's default loader", source="ITU-T T.81; libjpeg's fancy upsampling"),
        Level(name="opencv", about="OpenCV's imdecode, not turned", imitates="cv2.imread in C++ and Python services",
              source="IMREAD_COLOR | IMREAD_IGNORE_ORIENTATION", needs="cv2", package="opencv-python-headless"),
        Level(name="ffmpeg", about="FFmpeg, swscale's bilinear", imitates="video pipelines, PyAV",
              source="PyAV to_ndarray('rgb24')", **_FFMPEG),
        Level(name="ffmpeg-point", about="FFmpeg, swscale's point: each chroma sample repeated",
              imitates="-sws_flags neighbor", source="swscale SWS_POINT", **_FFMPEG),
        Level(name="ffmpeg-bicubic", about="FFmpeg, swscale's bicubic", imitates="the ffmpeg command line",
              source="swscale SWS_BICUBIC", **_FFMPEG),
        Level(name="turbo-fast-dct", about="libjpeg-turbo, fast integer iDCT, smooth chroma",
              imitates="embedded decoders with 8-bit multiplications", source="TJFLAG_FASTDCT", **_TURBO),
        Level(name="turbo-fast-upsample", about="libjpeg-turbo, accurate iDCT, each chroma sample repeated",
              imitates="nvJPEG and DALI on a GPU (a stand-in for them: their chroma is repeated too)",
              source="TJFLAG_FASTUPSAMPLE; NVIDIA/DALI#3610", **_TURBO),
        Level(name="turbo-fast", about="libjpeg-turbo, fast iDCT and each chroma sample repeated",
              imitates="hardware decoders of small devices", source="TJFLAG_FASTDCT | TJFLAG_FASTUPSAMPLE", **_TURBO),
        Level(name="float-idct", about="libjpeg-turbo 2.1, iDCT in floating point, smooth chroma",
              imitates="decoders that compute the transform as it is defined",
              source="SysNoise Eq. 1 and 2; JDCT_FLOAT", needs="jpeglib", package="jpeglib"),
        Level(name="dali", about="DALI's fn.decoders.image, not turned; on the GPU where there is one",
              imitates="training pipelines on DALI", source="NVIDIA DALI 2.4, device cpu or mixed",
              package="conform env create dali", elsewhere="dali"),
        Level(name="learned", about="Pillow's pixels through a learned codec, bit stream and back",
              imitates="pictures that a learned codec has stored", package="conform env create compressai",
              source="SysNoise, Appendix B (Cheng, Sun et al. 2020); compressai 1.2.8, weights of one's own",
              elsewhere="compressai"),
    ),
)  # fmt: skip


def change(spec: ImageInput, level: str) -> ImageInput:
    """How pictures are prepared at a level."""
    return replace(spec, decoder=level) if level != AXIS.levels[0].name else spec
