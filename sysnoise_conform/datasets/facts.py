"""What every layout of labelled pictures comes to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from sysnoise_conform.errors import BadInput
from sysnoise_conform.printable import one_line

OnBad = Literal["fail", "skip"]

# What the guard of pictures lets through, by the names that such files have.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
# Pictures that no decoder here is asked for: named, so that they are not passed over in silence.
_NOT_READ = (".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd")


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
    """Where problems go: raised at once, or counted. `allow_linked` lets links lead out of the data's folder."""

    def __init__(self, on_bad: OnBad, *, allow_linked: bool = False) -> None:
        self._on_bad = on_bad
        self._allow_linked = allow_linked
        self.found: list[Problem] = []

    def add(self, name: object, why: str, *, hint: str = "mend it, or leave such out with --on-bad skip") -> None:
        """Raises BadInput unless problems are skipped."""
        shown = one_line(name, 120)
        if self._on_bad == "fail":
            raise BadInput(f"{shown!r}: {why}", hint=hint)
        self.found.append(Problem(name=shown, why=why))

    def stays(self, folder: Path, path: Path, name: object) -> bool:
        """Whether a file lies below the folder after every link is followed; a problem where it does not."""
        if self._allow_linked or Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            return True
        cure = "if that is meant, allow it with --allow-linked-data"
        self.add(name, "it is a link that leaves the folder", hint=cure)
        return False


def pictures_below(folder: Path, problems: Problems) -> list[Path]:
    """The picture files below a folder, by name. Raises BadInput for no folder.

    Problems are: links to folders, which are not followed, folders that can't be read, pictures of other formats.
    """
    if not folder.is_dir():
        raise BadInput(f"the data {one_line(folder, 200)!r} is no folder", hint="name the folder of the pictures")

    def unread(err: OSError) -> None:
        problems.add(os.path.relpath(err.filename, folder), f"the folder can't be read: {one_line(err.strerror, 80)}")

    found = []
    for root, folders, files in os.walk(folder, onerror=unread):
        folders.sort()
        for each in folders:
            if os.path.islink(os.path.join(root, each)):
                problems.add(os.path.relpath(os.path.join(root, each), folder), "a link to a folder is not followed")
        for each in sorted(files):
            if each.lower().endswith(SUFFIXES):
                found.append(Path(root, each))
            elif each.lower().endswith(_NOT_READ):
                problems.add(os.path.relpath(os.path.join(root, each), folder), "pictures of this format are not read")
    return sorted(found, key=lambda each: each.relative_to(folder).parts)


def plain(name: str) -> str:
    """A name of a list as the file system shows it: `./a//b.jpg` is `a/b.jpg`."""
    return str(PurePosixPath(name)) if name else ""


def inside(folder: Path, name: str, problems: Problems) -> Path | None:
    """The file that a list calls `name`; None, and a problem, where it is elsewhere or not there."""
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        problems.add(name, "a list may name files below its own folder alone")
        return None
    path = folder / name
    if not os.path.isfile(path):  # unlike Path.is_file, never raises: a name may be too long, or none at all
        problems.add(name, "the labels name a picture that is not there")
        return None
    return path if problems.stays(folder, path, name) else None
