"""One class for each picture: a folder per class, or a list.

- folders: `data/tench/a.jpg`; classes are the folders in the order of their names, as torchvision's ImageFolder has it,
  which for ImageNet's wnids is the order of the usual 1000-class models;
- `labels.csv` with the columns `file` and `class_index` (or `label`), and `name` of the class if there; others are
  passed over;
- `val.txt`, lines of a file and a class (ImageNet's validation set as Caffe and its heirs list it);
- `labels.txt`, one class a line for the pictures in the order of their names.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from sysnoise_conform.datasets.facts import DataSet, Picture, Problems, inside, pictures_below, plain
from sysnoise_conform.errors import BadInput
from sysnoise_conform.files import read_regular
from sysnoise_conform.printable import one_line

MAX_BYTES = 1 << 28
LISTS = ("labels.csv", "val.txt", "labels.txt")
MOST_NAMED = 100_000  # a class of 999,999,999 must not cost a name for each before it
_CLASS_COLUMNS = ("class_index", "label", "class")


def read(folder: Path, labels: Path | None, problems: Problems) -> DataSet:
    """See `datasets.read_data`."""
    there = pictures_below(folder, problems)
    place = labels or next((folder / each for each in LISTS if (folder / each).is_file()), None)
    if place is None:
        return _folders(folder, there, problems)
    content = read_regular(place, what="the labels", error=BadInput, limit=MAX_BYTES)
    shown = one_line(place.name, 120)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise BadInput(f"the labels {shown!r} are not UTF-8: {one_line(err, 80)}") from err
    pictures, seen, called = [], set[str](), dict[int, str]()
    for at, (name, word, title) in enumerate(_entries(place, text, folder, there), start=1):
        if not name:
            problems.add(f"{shown}, entry {at}", "it names no file")
            continue
        if name in seen:
            problems.add(name, f"it stands twice in {shown}")
            continue
        seen.add(name)
        label = _number(word)
        if label is None:
            problems.add(name, f"its class {one_line(word, 40)!r} is no whole number from 0 on")
            continue
        if title:
            called.setdefault(label, one_line(title, 80))
        path = inside(folder, name, problems)
        if path is not None:
            pictures.append(Picture(path=path, name=name, label=label))
    for path in there:
        name = str(path.relative_to(folder))
        if name not in seen:
            problems.add(name, f"{shown} has no class for it")
    return _done(place.name, pictures, _names(called), problems, folder)


def _names(called: dict[int, str]) -> tuple[str, ...]:
    """By class; "" for one between them that the list does not name."""
    return tuple(called.get(at, "") for at in range(min(max(called, default=-1) + 1, MOST_NAMED)))


def _folders(folder: Path, there: list[Path], problems: Problems) -> DataSet:
    names = sorted({path.relative_to(folder).parts[0] for path in there if len(path.relative_to(folder).parts) > 1})
    if not names:
        raise BadInput(
            f"the data {one_line(folder, 200)!r} has neither a folder for each class nor a list of them",
            hint=f"give --labels, or put {' or '.join(LISTS)} beside the pictures; without labels: --task agree",
        )
    numbers = {name: at for at, name in enumerate(names)}
    pictures = []
    for path in there:
        parts = path.relative_to(folder).parts
        if len(parts) == 1:
            problems.add(parts[0], "it lies in no class's folder")
        elif problems.stays(folder, path, "/".join(parts)):
            pictures.append(Picture(path=path, name="/".join(parts), label=numbers[parts[0]]))
    return _done("folders", pictures, tuple(one_line(each, 80) for each in names), problems, folder)


def _entries(place: Path, text: str, folder: Path, there: list[Path]) -> Iterator[tuple[str, str, str]]:
    """Of each entry its file, its class and the class's name, "" where the list has none."""
    shown = one_line(place.name, 120)
    if place.suffix == ".csv":
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
            columns = next(csv.reader(io.StringIO(text, newline="")), [])
        except csv.Error as err:
            raise BadInput(f"the labels {shown!r} are no CSV: {one_line(err, 80)}") from err
        wanted = next((each for each in _CLASS_COLUMNS if each in columns), None)
        if "file" not in columns or wanted is None:
            raise BadInput(
                f"the labels {shown!r} have no columns file and class_index, only {one_line(list(columns), 120)}",
                hint="begin with the line file,class_index",
            )
        if len(set(columns)) < len(columns):
            raise BadInput(f"the labels {shown!r} have two columns of one name: {one_line(columns, 120)}")
        yield from (
            (plain((row["file"] or "").strip()), (row[wanted] or "").strip(), (row.get("name") or "").strip())
            for row in rows
        )
        return
    lines = [line for line in text.splitlines() if line.strip()]
    if all(len(line.split()) == 1 for line in lines):
        if len(lines) != len(there):
            raise BadInput(
                f"the labels {shown!r} have {len(lines)} classes for {len(there)} pictures",
                hint="one line for each picture, in the order of their names",
            )
        yield from (
            (str(path.relative_to(folder)), line.strip(), "") for path, line in zip(there, lines, strict=True)
        )
        return
    for line in lines:
        *name, word = line.strip().rsplit(maxsplit=1)
        yield plain("".join(name)), word, ""


def _number(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else None


def _done(
    layout: str, pictures: list[Picture], classes: tuple[str, ...], problems: Problems, folder: Path
) -> DataSet:
    if not pictures:
        raise BadInput(f"the data {one_line(folder, 200)!r} has no picture with a class")
    return DataSet(
        layout=layout, pictures=tuple(pictures), classes=classes, problems=tuple(problems.found)
    )
