"""Pictures without labels: what can be asked is whether the answer stays the same."""

from __future__ import annotations

from pathlib import Path

from sysnoise_conform.datasets.facts import DataSet, Picture, Problems, pictures_below
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.printable import one_line


def read(folder: Path, labels: Path | None, problems: Problems) -> DataSet:
    """See `datasets.read_data`. Raises UsageError for labels, which would be passed over."""
    if labels is not None:
        raise UsageError("pictures are compared without labels", hint="leave out --labels, or --task agree")
    pictures = []
    for path in pictures_below(folder, problems):
        name = str(path.relative_to(folder))
        if problems.stays(folder, path, name):
            pictures.append(Picture(path=path, name=name))
    if not pictures:
        raise BadInput(f"the data {one_line(folder, 200)!r} holds no picture", hint="name the folder of the pictures")
    return DataSet(layout="pictures", pictures=tuple(pictures), problems=tuple(problems.found))
