"""One class for each pixel: PNG masks beside the pictures, as CamVid and Cityscapes lay them out.

- CamVid: `images/a.png` and `labels/a.png` (or `<split>` and `<split>annot`), masks of one channel that hold classes;
- Cityscapes: `leftImg8bit/.../a_leftImg8bit.png` and `gtFine/.../a_gtFine_labelTrainIds.png`.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from sysnoise_conform.datasets.facts import DataSet, Picture, Problems, pictures_below
from sysnoise_conform.errors import BadInput
from sysnoise_conform.files import open_regular, read_regular
from sysnoise_conform.pictures.guard import MAX_FILE_BYTES, examine, in_words
from sysnoise_conform.printable import one_line

UNSCORED = 255  # the class of pixels that do not count
_CITYSCAPES = ("leftImg8bit", "gtFine", "_leftImg8bit", "_gtFine_labelTrainIds")


def read(folder: Path, labels: Path | None, problems: Problems) -> DataSet:
    """See `datasets.read_data`."""
    if (folder / _CITYSCAPES[0]).is_dir():
        layout, images, masks = "cityscapes", folder / _CITYSCAPES[0], labels or folder / _CITYSCAPES[1]
    else:
        layout, images = "camvid", folder / "images" if (folder / "images").is_dir() else folder
        beside = [folder / "labels", folder / "masks", Path(f"{folder}annot")]
        masks = labels or next((each for each in beside if each.is_dir()), beside[0])
    if not masks.is_dir():
        raise BadInput(
            f"the data {one_line(folder, 200)!r} has no folder of masks", hint="name it with --labels"
        )
    pictures, used = [], set[Path]()
    for path in pictures_below(images, problems):
        if path.is_relative_to(masks):  # the masks lie among the pictures
            continue
        name = str(path.relative_to(images))
        mask = masks / path.relative_to(images).with_suffix(".png")
        if layout == "cityscapes":
            mask = mask.with_name(mask.name.replace(_CITYSCAPES[2], _CITYSCAPES[3]))
        if not mask.is_file():
            problems.add(name, f"no mask {one_line(mask.name, 80)!r} lies in {one_line(masks.name, 40)!r}")
            continue
        used.add(mask)
        if problems.stays(images, path, name) and problems.stays(masks, mask, f"{masks.name}/{name}"):
            pictures.append(Picture(path=path, name=name, mask=mask))
    for mask in pictures_below(masks, problems):
        if mask not in used and (layout == "camvid" or mask.stem.endswith(_CITYSCAPES[3])):
            problems.add(str(mask.relative_to(masks)), "a mask without a picture")
    if not pictures:
        raise BadInput(f"the data {one_line(folder, 200)!r} has no picture with a mask")
    return DataSet(
        layout=layout, pictures=tuple(pictures), classes=_names(folder), problems=tuple(problems.found)
    )


def read_mask(path: Path, classes: int) -> np.ndarray:
    """Classes (height, width), uint8; those from `classes` on, and 255, become `UNSCORED`. Raises BadInput."""
    shown = one_line(path.name, 120)
    with open_regular(path, what="the mask", error=BadInput, limit=MAX_FILE_BYTES) as stream:
        header = examine(stream, shown)
        if header.mode not in ("L", "P", "1"):
            raise BadInput(f"the mask {shown!r} has colours ({header.mode}), not one class a pixel")
        stream.seek(0)
        with in_words(shown), Image.open(stream) as picture:
            found = np.asarray(picture, np.uint8).copy()
    found[found >= classes] = UNSCORED
    return found


def _names(folder: Path) -> tuple[str, ...]:
    """The scored classes of `classes.csv` (index, name, scored), where it is there."""
    place = folder / "classes.csv"
    if not place.is_file():
        return ()
    text = read_regular(place, what="the classes", error=BadInput, limit=1 << 20).decode("utf-8-sig", "replace")
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as err:
        raise BadInput(f"the classes 'classes.csv' are no CSV: {one_line(err, 80)}") from err
    return tuple(one_line(row.get("name") or "", 80) for row in rows if row.get("scored", "1") != "0")
