"""The noises: every axis on which a deployment can differ from training, in the order in which a picture meets them.

To add one, write a module with an `AXIS` (or several in `AXES`) and the function of its stage, and name it here.
"""

from __future__ import annotations

from collections.abc import Mapping

from sysnoise_conform.errors import UsageError
from sysnoise_conform.noise import audio, boxes, colour, decoder, exif, geometry, graphs, normalise, resize, scores
from sysnoise_conform.noise.axis import IDENTITY, STAGES, Axis, Level, Stage, by_name
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

__all__ = ["AXES", "IDENTITY", "STAGES", "Axis", "Level", "Stage", "axis"]

AXES: Mapping[str, Axis] = by_name(
    (
        decoder.AXIS, exif.AXIS, colour.AXIS, resize.AXIS, *geometry.AXES, colour.INPUT_AXIS, *normalise.AXES,
        *graphs.AXES, *boxes.AXES, *scores.AXES, *audio.AXES,
    )
)  # fmt: skip


def axis(name: str) -> Axis:
    """Raises UsageError with the nearest names for one that is not there."""
    if name not in AXES:
        raise UsageError(f"no noise is called {one_line(name, 60)!r}", hint=nearest(name, AXES))
    return AXES[name]
