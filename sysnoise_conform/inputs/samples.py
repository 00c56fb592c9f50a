"""A sequence of feeds, made one at a time when they are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
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
        """The arrays of one sample by input name, read-only. Raises BadInput."""
        return dict(self.make(number))


# Feeds that are kept: the golden's thread, the header's and each variant's want the same one within a moment.
KEPT = 2


def kept(make: Callable[[int], Feed]) -> Callable[[int], Feed]:
    """`make`, which is called once where several threads want the same feed after one another."""
    lock = threading.Lock()
    made: OrderedDict[int, Feed] = OrderedDict()

    def feed(number: int) -> Feed:
        with lock:
            if number not in made:
                fresh = make(number)
                for array in fresh.values():
                    array.flags.writeable = False
                made[number] = fresh
                if len(made) > KEPT:
                    made.popitem(last=False)
            made.move_to_end(number)
            return made[number]

    return feed
