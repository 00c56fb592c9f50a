"""The pictures of a matrix, for a page that is asked to show some: made anew when they are looked at, none is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sysnoise_conform.card import ImageInput
from sysnoise_conform.datasets import DataSet
from sysnoise_conform.errors import BadInput
from sysnoise_conform.matrix.facts import Flip, Levels
from sysnoise_conform.noise import AXES, STAGES
from sysnoise_conform.noise.preparation import Preparation, prepared
from sysnoise_conform.pictures.place import Fixed

# The stages whose noises can be seen in a picture at the network's size.
_SEEN = STAGES[: STAGES.index("normalise")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """Where the pictures lie and how they are prepared; `most` of those whose answer changed are shown."""

    most: int
    paths: Mapping[str, Path]  # by the picture's name, in the order of the data set
    spec: ImageInput
    fixed: Fixed

    def changed(self, flips: Sequence[Flip]) -> list[str]:
        """The names of at most `most` pictures, those first whose answer changed in the most cells."""
        counts = Counter(each.picture for each in flips if each.picture in self.paths)
        return [name for name, _ in counts.most_common(self.most)]

    def original(self, name: str) -> np.ndarray | None:
        """The picture as the card decodes it, upright: (height, width, 3), uint8; None where it can't be read."""
        way = prepared(self.spec, {})
        try:
            return way.coloured(way.decoded(self.paths[name]))
        except BadInput:
            return None

    def placed(self, name: str, levels: Levels) -> np.ndarray | None:
        """The picture at the network's size under `levels`: (height, width, 3), float32, 0..255.

        None where it can't be read, or where a level is of a stage that no picture shows.
        """
        if any(AXES[axis].stage not in _SEEN for axis, _ in levels):
            return None
        way = prepared(self.spec, dict(levels))
        try:
            return self._pixels(way, self.paths[name])
        except BadInput:
            return None

    def _pixels(self, way: Preparation, path: Path) -> np.ndarray:
        placed = way.placed(way.coloured(way.decoded(path)), self.fixed)
        return way.pixels(placed).astype(np.float32)


def gallery_of(data: DataSet, spec: ImageInput, fixed: Fixed, *, most: int) -> Gallery | None:
    """The gallery of a data set; None where no picture is to be shown."""
    if not most:
        return None
    return Gallery(most=most, paths={each.name: each.path for each in data.pictures}, spec=spec, fixed=fixed)
