"""Pictures without labels: what can be asked is whether the answer stays the same."""

from __future__ import annotations

from pathlib import Path

from sysnoise_conform.datasets.facts import DataSet, OnBad, Picture, pictures_below
from sysnoise_conform.errors import BadInput
from sysnoise_conform.printable import one_line


def read(folder: Path, labels: Path | None, on_bad: OnBad) -> DataSet:
    """See `datasets.read_data`; there are no labels that could be wrong."""
    pictures = tuple(Picture(path=each, name=str(each.relative_to(folder))) for each in pictures_below(folder))
    if not pictures:
        raise BadInput(f"the data {one_line(folder, 200)!r} holds no picture", hint="name the folder of the pictures")
    return DataSet(layout="pictures", pictures=pictures)
