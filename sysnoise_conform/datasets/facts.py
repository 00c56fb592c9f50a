"""What every layout of labelled pictures comes to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sysnoise_conform.errors import BadInput
from sysnoise_conform.printable import one_line

OnBad = Literal["fail", "skip"]

# What the guard of pictures lets through, by the names that such files have.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture: `name` is its path below the data's folder, `label` its class, `mask` the file of its pixels'."""

    path: Path
    name: str
    label: int | None = None
    mask: Path | None = None
    id: int | None = None  # COCO's


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something that was left out, and why."""

    name: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """Pictures in a fixed order, with the names of the classes where the layout has them.

    `annotations` is COCO's table, of the pictures that are kept.
    """

    layout: str
    pictures: tuple[Picture, ...]
    classes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=dict)


class Problems:
    """Where problems go: raised at once, or counted."""

    def __init__(self, on_bad: OnBad) -> None:
        self._on_bad = on_bad
        self.found: list[Problem] = []

    def add(self, name: str, why: str) -> None:
        """Raises BadInput unless problems are skipped."""
        shown = one_line(name, 120)
        if self._on_bad == "fail":
            raise BadInput(f"{shown!r}: {why}", hint="mend it, or leave such out with --on-bad skip")
        self.found.append(Problem(name=shown, why=why))


def pictures_below(folder: Path) -> list[Path]:
    """The picture files below a folder, by name; links to folders are not followed. Raises BadInput for no folder."""
    if not folder.is_dir():
        raise BadInput(f"the data {one_line(folder, 200)!r} is no folder", hint="name the folder of the pictures")
    found = []
    for root, folders, files in os.walk(folder):
        folders.sort()
        found += [Path(root, each) for each in files if each.lower().endswith(SUFFIXES)]
    return sorted(found, key=lambda each: each.relative_to(folder).parts)


def inside(folder: Path, name: str, problems: Problems) -> Path | None:
    """The file that a list calls `name`; None, and a problem, where it is elsewhere or not there."""
    shown = one_line(name, 120)
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        problems.add(shown, "a list may name files below its own folder alone")
        return None
    path = folder / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        problems.add(shown, "it is a link that leaves the folder")
        return None
    if not path.is_file():
        problems.add(shown, "the labels name a picture that is not there")
        return None
    return path
