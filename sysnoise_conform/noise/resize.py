"""Which library resizes, and by which kernel. What differs most is whether the picture is smoothed where it shrinks."""

from __future__ import annotations

from dataclasses import replace

from sysnoise_conform.card import ImageInput
from sysnoise_conform.noise.axis import Axis, Level, identity

_PAPER = (
    ("pillow-bilinear", "triangle, widened where it shrinks"),
    ("pillow-nearest", "the pixel at the centre"),
    ("pillow-box", "mean of the pixels below"),
    ("pillow-hamming", "Hamming-windowed, widened where it shrinks"),
    ("pillow-bicubic", "cubic with a = -0.5, widened where it shrinks"),
    ("pillow-lanczos", "Lanczos of 3 lobes, widened where it shrinks"),
    ("opencv-nearest", "INTER_NEAREST: half a pixel off the centre"),
    ("opencv-bilinear", "INTER_LINEAR: two pixels a side, however much it shrinks"),
    ("opencv-area", "INTER_AREA: mean of the area where it shrinks"),
    ("opencv-bicubic", "INTER_CUBIC: cubic with a = -0.75, four pixels a side"),
    ("opencv-lanczos", "INTER_LANCZOS4: eight pixels a side"),
)
_MORE = (
    ("opencv-nearest-exact", "INTER_NEAREST_EXACT: the pixel at the centre", "", ""),
    ("opencv-bilinear-exact", "INTER_LINEAR_EXACT: the same on every machine, bit for bit", "", ""),
    ("torch-nearest", "interpolate(mode='nearest')", "tensors resized in PyTorch", "PyTorch F.interpolate"),
    ("torch-nearest-exact", "interpolate(mode='nearest-exact')", "", "PyTorch F.interpolate"),
    ("torch-bilinear", "interpolate(mode='bilinear', align_corners=False)", "resize layers in the graph",
     "PyTorch F.interpolate"),
    ("torch-bilinear-antialias", "the same with antialias=True", "torchvision v2 on tensors", "PyTorch F.interpolate"),
    ("torch-bicubic", "interpolate(mode='bicubic'), a = -0.75", "", "PyTorch F.interpolate"),
    ("torch-bicubic-antialias", "the same with antialias=True, a = -0.5", "torchvision v2 on tensors",
     "PyTorch F.interpolate"),
    ("tf-nearest", "half-pixel centres", "tf.image.resize, method nearest", "TensorFlow 2 half_pixel_centers"),
    ("tf-bilinear", "half-pixel centres, no smoothing", "tf.image.resize, antialias=False",
     "TensorFlow 2 half_pixel_centers"),
)  # fmt: skip
_DALI = (
    ("dali-nearest", "INTERP_NN"),
    ("dali-linear", "INTERP_LINEAR, widened where it shrinks"),
    ("dali-linear-sharp", "INTERP_LINEAR with antialias=False"),
    ("dali-cubic", "INTERP_CUBIC, widened where it shrinks"),
    ("dali-lanczos", "INTERP_LANCZOS3, widened where it shrinks"),
    ("dali-triangular", "INTERP_TRIANGULAR"),
)


def _needs(name: str) -> dict[str, str]:
    return {"needs": "cv2", "package": "opencv-python-headless"} if name.startswith("opencv") else {}


AXIS = Axis(
    name="resize",
    stage="resize",
    about="the library and kernel that resize the picture; its geometry stays the card's",
    paper=True,
    levels=(
        identity("the card's filter"),
        *(
            Level(name=name, about=about, imitates="one of the paper's eleven", source="SysNoise 3.2", **_needs(name))
            for name, about in _PAPER
        ),
        *(
            Level(name=name, about=about, imitates=imitates, source=source, **_needs(name))
            for name, about, imitates, source in _MORE
        ),
        *(
            Level(name=name, about=about, imitates="training pipelines on DALI", source="NVIDIA DALI 2.4, fn.resize",
                  package="conform env create dali", elsewhere="dali")
            for name, about in _DALI
        ),
    ),
)
PAPER_LEVELS = tuple(name for name, _ in _PAPER)


def change(spec: ImageInput, level: str) -> ImageInput:
    """How pictures are prepared at a level."""
    return replace(spec, filter=level) if level != AXIS.levels[0].name else spec
