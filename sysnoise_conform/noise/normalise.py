"""Mistakes in handing the pixels over: channels the wrong way round, another mean and deviation than in training."""

from __future__ import annotations

from dataclasses import replace

from sysnoise_conform.card import ImageInput
from sysnoise_conform.noise.axis import Axis, Level, identity

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of pixels in 0..1, as torchvision has them
IMAGENET_STD = (0.229, 0.224, 0.225)

CHANNELS = Axis(
    name="channels",
    stage="normalise",
    about="the order of the colour channels",
    mistake=True,
    levels=(
        identity("the card's colour"),
        Level(name="swapped", about="RGB for BGR, or BGR for RGB", imitates="cv2.imread handed over as it is"),
    ),
)
NORMALISATION = Axis(
    name="normalisation",
    stage="normalise",
    about="the units of the pixels",
    mistake=True,
    levels=(
        identity("the card's scale, mean and std"),
        Level(name="unit", about="pixels in 0..1, no mean, no deviation", imitates="a forgotten Normalize"),
        Level(name="symmetric", about="pixels in -1..1", imitates="TensorFlow's convention on a PyTorch model"),
        Level(name="imagenet", about="ImageNet's mean and deviation", imitates="PyTorch's convention on another model",
              source="torchvision.transforms"),
        Level(name="raw", about="pixels in 0..255", imitates="a forgotten division by 255"),
    ),
)  # fmt: skip
AXES = (CHANNELS, NORMALISATION)

_UNITS = {
    "unit": (1 / 255, (0.0,), (1.0,)),
    "symmetric": (1 / 127.5, (1.0,), (1.0,)),
    "imagenet": (1 / 255, IMAGENET_MEAN, IMAGENET_STD),
    "raw": (1.0, (0.0,), (1.0,)),
}


def change(spec: ImageInput, axis: str, level: str) -> ImageInput:
    """How pixels become the tensor at a level of an axis; a grey input has no channels to swap, and one mean."""
    if axis == CHANNELS.name and level == "swapped" and spec.colour in ("RGB", "BGR"):
        return replace(spec, colour="BGR" if spec.colour == "RGB" else "RGB")
    if level not in _UNITS:
        return spec
    scale, mean, std = _UNITS[level]
    if spec.colour == "BGR":
        mean, std = mean[::-1], std[::-1]
    if spec.colour == "GRAY":
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return replace(spec, scale=scale, mean=mean, std=std)
