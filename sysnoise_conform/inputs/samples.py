"""A sequence of feeds, made one at a time when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Feed = dict[str, np.ndarray]

SYNTHETIC = "synthetic"
ARRAYS = "arrays"
IMAGES = "images"


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """What the model is fed: `kind` is `arrays`, `images` or `synthetic`; `sha256` covers names and content.

    `names` are the files' names (or the number of a synthetic sample), one per sample, safe to print.
    """

    kind: str
    names: tuple[str, ...]
    sha256: str
    make: Callable[[int], Feed] = field(repr=False)
    notes: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()  # what nobody asked for: sizes, a smaller number

    def __len__(self) -> int:
        return len(self.names)

    def feed(self, number: int) -> Feed:
        """The arrays of one sample by input name, the caller's own. Raises BadInput."""
        return self.make(number)
