"""Boxes in COCO's JSON: `instances*.json` beside the pictures, in `annotations/`, or given."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sysnoise_conform.datasets.facts import DataSet, Picture, Problems, inside, pictures_below, plain
from sysnoise_conform.errors import BadInput
from sysnoise_conform.files import read_regular
from sysnoise_conform.printable import one_line

MAX_BYTES = 1 << 30
LARGEST = 1e9  # of a box's numbers, in pixels
OUTSIDE = 1.0  # pixels that a box may stick out; COCO's own stick out by its rounding


def read(folder: Path, labels: Path | None, problems: Problems) -> DataSet:
    """See `datasets.read_data`."""
    there = pictures_below(folder, problems)
    place = labels or _instances(folder)
    shown = one_line(place.name, 120)
    table = _table(place)
    categories = _categories(table, shown)
    below = _base(folder, table["images"])
    pictures, sizes, ids, files = [], {}, set[int](), set[str]()
    for at, image in enumerate(table["images"]):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or not _whole(image.get("id")):
            problems.add(f"{shown}, image {at}", "it has no file_name or no whole id")
            continue
        name = plain(image["file_name"])
        if image["id"] in ids or name in files:
            files.add(name)
            problems.add(name, "its id or name stands twice among the images")
            continue
        ids.add(image["id"])
        files.add(name)
        path = inside(below, name, problems)
        if path is not None:
            pictures.append(Picture(path=path, name=name, id=image["id"]))
            sizes[image["id"]] = (image.get("width"), image.get("height"))
    for path in there:
        name = str(path.relative_to(below)) if path.is_relative_to(below) else str(path.relative_to(folder))
        if name not in files:
            problems.add(name, f"{shown} does not list it")
    if not pictures:
        raise BadInput(f"the labels {shown!r} name no picture that is there")
    kept: list[dict[str, Any]] = []
    seen = set[int]()
    for at, box in enumerate(table["annotations"]):
        where = f"{shown}, annotation {at}"
        why = _wrong(box, sizes, categories, seen)
        if why:
            of = box.get("image_id") if isinstance(box, dict) else None
            if not (_whole(of) and of in ids and of not in sizes):
                problems.add(where, why)  # that of a picture which is left out goes with it
            continue
        seen.add(box["id"])
        x, y, width, height = map(float, box["bbox"])
        kept.append({
            "id": len(kept) + 1, "image_id": box["image_id"], "category_id": box["category_id"],
            "bbox": [x, y, width, height], "area": float(box.get("area", width * height)),
            "iscrowd": int(bool(box.get("iscrowd", 0))),
        })  # fmt: skip
    return DataSet(
        layout="coco",
        pictures=tuple(pictures),
        classes=tuple(categories.values()),
        problems=tuple(problems.found),
        annotations={
            "images": [{"id": each.id, "width": sizes[each.id][0], "height": sizes[each.id][1]} for each in pictures],
            "annotations": kept,
            "categories": [{"id": each, "name": name} for each, name in categories.items()],
        },
    )


def _instances(folder: Path) -> Path:
    found = sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json"), *folder.parent.glob("instances*.json")])
    chosen = [each for each in found if each.name.startswith("instances")] or found
    if len(chosen) != 1:
        many = ", ".join(one_line(each.name, 60) for each in chosen[:5])
        has = f"several lists of boxes: {many}" if chosen else "no list of boxes"
        raise BadInput(
            f"the data {one_line(folder, 200)!r} has {has}",
            hint="name COCO's JSON with --labels; without labels: --task agree",
        )
    return chosen[0]


def _base(folder: Path, images: list[Any]) -> Path:
    """Where file names begin: COCO's list leaves out the folder of the pictures."""
    first = next((each["file_name"] for each in images if isinstance(each, dict) and "file_name" in each), None)
    if not isinstance(first, str) or "\0" in first or Path(first).is_absolute():
        return folder
    for each in (folder, folder / "images", *sorted(path for path in folder.iterdir() if path.is_dir())):
        if os.path.isfile(each / first):
            return each
    return folder


def _table(place: Path) -> Mapping[str, Any]:
    shown = one_line(place.name, 120)
    content = read_regular(place, what="the labels", error=BadInput, limit=MAX_BYTES)
    try:
        table = json.loads(content, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as err:
        raise BadInput(f"the labels {shown!r} are not JSON: {one_line(err, 120)}") from err
    lists = ("images", "annotations", "categories")
    if not isinstance(table, dict) or not all(isinstance(table.get(each), list) for each in lists):
        raise BadInput(f"the labels {shown!r} are not COCO's: they need the lists {', '.join(lists)}")
    return table


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand once each: of two, JSON's reader would silently take the last."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {one_line(name, 40)!r} stands twice in one object")
        found[name] = value
    return found


def _categories(table: Mapping[str, Any], shown: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for each in table["categories"]:
        if not isinstance(each, dict) or not _whole(each.get("id")) or each["id"] in found:
            raise BadInput(f"the labels {shown!r} have a category without a whole id of its own: {one_line(each, 80)}")
        found[each["id"]] = one_line(each.get("name", each["id"]), 80)
    if not found:
        raise BadInput(f"the labels {shown!r} have no categories")
    return found


def _wrong(box: Any, sizes: Mapping[int, tuple[Any, Any]], categories: Mapping[int, str], seen: set[int]) -> str:
    """What is wrong with an annotation; "" where nothing is."""
    if not isinstance(box, dict) or not _whole(box.get("id")):
        return "it has no whole id"
    if box["id"] in seen:
        return f"its id {box['id']} stands twice"
    if not _whole(box.get("image_id")) or box["image_id"] not in sizes:
        return f"it lies on picture {one_line(box.get('image_id'), 40)}, which is not there"
    if not _whole(box.get("category_id")) or box["category_id"] not in categories:
        return f"its category {one_line(box.get('category_id'), 40)} is not in the list"
    corners = box.get("bbox")
    numbers: list[Any] = corners if isinstance(corners, list) and len(corners) == 4 else [None]
    if not all(_number(v) for v in numbers):
        return "its bbox is not four finite numbers"
    if "area" in box and (not _number(box["area"]) or box["area"] < 0):
        return "its area is no finite number from 0 on"
    if box.get("iscrowd", 0) not in (0, 1):  # every other word would silently make it one that need not be found
        return f"its iscrowd is {one_line(box['iscrowd'], 40)}, not 0 or 1"
    _, _, width, height = numbers
    if width <= 0 or height <= 0:
        return f"its box is empty, {width} x {height}"
    across, down = sizes[box["image_id"]]
    if not _whole(across) or not _whole(down):  # then it is held against the picture itself, once that is read
        return ""
    if sticks_out(numbers, across, down):
        return f"its box {one_line(corners, 60)} lies outside of its picture, {across} x {down}"
    return ""


def sticks_out(box: Sequence[float], across: int, down: int) -> bool:
    """Whether a box (x, y, width, height) lies outside of a picture, by more than COCO's own rounding."""
    x, y, width, height = box
    return x < -OUTSIDE or y < -OUTSIDE or x + width > across + OUTSIDE or y + height > down + OUTSIDE


def _whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 1 << 53  # beyond, JSON's readers do not agree on what it is


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < LARGEST
