"""EXIF orientation: cameras store the picture as the sensor saw it, and say how to turn it; not every decoder looks."""

from __future__ import annotations

from dataclasses import replace

from sysnoise_conform.card import ImageInput
from sysnoise_conform.noise.axis import Axis, Level, identity

AXIS = Axis(
    name="exif",
    stage="exif",
    about="whether the picture is turned as its EXIF orientation says",
    levels=(
        identity("as the card's exif says"),
        Level(
            name="ignore", about="not turned", imitates="Pillow, FFmpeg and simplejpeg without further ado",
            source="EXIF 2.32 tag 0x0112",
        ),
        Level(
            name="apply", about="turned", imitates="OpenCV's IMREAD_COLOR and DALI's adjust_orientation by default",
            source="EXIF 2.32 tag 0x0112",
        ),
    ),
)  # fmt: skip


def change(spec: ImageInput, level: str) -> ImageInput:
    """How pictures are prepared at a level."""
    return spec if level == AXIS.levels[0].name else replace(spec, exif=level == "apply")
