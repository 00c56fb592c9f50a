"""What the tiny models are judged on: drawn on first use, kept in the cache, and known by its sums.

The sum of what is drawn (pixels, boxes, masks, texts, samples) holds on any machine. That of the JPEG files hangs on
the libjpeg-turbo that wrote them, so it is recorded for each version. Where a sum is another one, or none was recorded,
the data are other data: the recorded figures do not belong to them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from sysnoise_conform.errors import StorageError, UsageError
from sysnoise_conform.folders import cache_folder
from sysnoise_conform.models.tiny import jpegs, sets
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

NAMES = ("tiny-cls", "tiny-det", "tiny-seg", "tiny-lm", "tiny-tts")
PICTURES = NAMES[:3]
OTHER_DATA = "other data"
_SEAL = "drawn.json"

_WRITERS: Mapping[str, Callable[[Path, str], str]] = {
    "tiny-cls": sets.classes, "tiny-det": sets.boxes, "tiny-seg": sets.masks,
    "tiny-lm": sets.questions, "tiny-tts": sets.sounds,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiny:
    """A model that comes with the project. `figures` were measured on its held-out data, in PyTorch."""

    name: str
    folder: Path
    figures: Mapping[str, float]
    drawn: Mapping[str, str]  # part -> SHA-256
    jpegs: Mapping[str, Mapping[str, str]]  # part -> version of libjpeg-turbo -> SHA-256

    @property
    def model(self) -> Path:
        """The ONNX file; its card lies beside it."""
        return self.folder / f"{self.name}.onnx"

    @property
    def card(self) -> Path:
        """The card."""
        return self.folder / f"{self.name}.toml"

    @property
    def weights(self) -> Path:
        """The safetensors."""
        return self.folder / f"{self.name}.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """Data of a tiny model on this machine; `other` says why they are other data, "" where they are not."""

    folder: Path
    other: str


def tiny(name: str) -> Tiny:
    """A tiny model by its name. Raises UsageError for none."""
    if name not in NAMES:
        raise UsageError(f"there is no tiny model {one_line(name, 60)!r}", hint=nearest(name, NAMES))
    folder = Path(str(resources.files("sysnoise_conform.models") / name))
    record = tomllib.loads((folder / "record.toml").read_text())
    return Tiny(
        name=name, folder=folder, figures=record["figures"], drawn=record["drawn"], jpegs=record.get("jpegs", {})
    )


def data(name: str, part: str = "held-out") -> Data:
    """The data of a tiny model, `held-out` or `calibration`, drawn unless they lie in the cache unharmed.

    Raises StorageError where the cache can't be written.
    """
    return compared(tiny(name), part, *draw(name, part))


def listed() -> list[str]:
    """A line for each tiny model, with its figures."""
    return [f"{each:9} {_figures(tiny(each))}" for each in NAMES]


def delivered(name: str, folder: Path) -> list[str]:
    """Copy a tiny model and its data into a folder; lines that say what lies there and what it should come to.

    Raises StorageError, and UsageError for a folder that has data already: none is written over.
    """
    model = tiny(name)
    parts = tuple(model.drawn)
    taken = [each for each in parts if (folder / each).exists()]
    if taken:
        raise UsageError(f"{one_line(folder / taken[0], 200)} is there already", hint="name another folder with --out")
    lines = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in (model.model, model.card, model.weights):
            shutil.copyfile(each, folder / each.name)
        lines.append(f"model: {one_line(folder / model.model.name)}")
        for part in parts:
            found = data(name, part)
            shutil.copytree(found.folder, folder / part, ignore=lambda _, names: {_SEAL} & set(names))
            lines.append(f"{part}: {one_line(folder / part)}")
            if part == "held-out":
                lines.append(found.other or f"recorded on these data: {_figures(model)}")
    except OSError as err:
        raise StorageError(
            f"can't write {one_line(folder, 200)}: {err.strerror}", hint="free some space, or name another folder"
        ) from err
    return lines


def _figures(model: Tiny) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in model.figures.items())


def compared(model: Tiny, part: str, folder: Path, sums: Mapping[str, str]) -> Data:
    """Whether what was drawn is what was recorded."""
    if sums["drawn"] != model.drawn.get(part):
        return Data(folder=folder, other=f"{OTHER_DATA}: what is drawn here is not what was recorded")
    known = model.jpegs.get(part, {})
    if known:
        version = sums["library"]
        if version not in known:
            which = f"libjpeg-turbo {version}" if version else "another JPEG library than libjpeg-turbo"
            return Data(folder=folder, other=f"{OTHER_DATA}: the JPEGs are of {which}, of which none were recorded")
        if sums["jpegs"] != known[version]:
            return Data(
                folder=folder, other=f"{OTHER_DATA}: the JPEGs are not those recorded for libjpeg-turbo {version}"
            )
    return Data(folder=folder, other="")


def draw(name: str, part: str) -> tuple[Path, Mapping[str, str]]:
    """The folder of the data and their sums: `drawn`, `jpegs`, `library`."""
    library = jpegs.library()
    target = cache_folder() / "tiny" / _key(library) / name / part
    found = _sealed(target)
    if found is not None:
        return target, found
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as outer:
            draft = Path(outer) / "data"
            draft.mkdir()
            drawn = _WRITERS[name](draft, part)
            sums = {"drawn": drawn, "library": library, **_sums(draft)}
            (draft / _SEAL).write_text(json.dumps(sums))
            if target.exists():  # harmed, or another's who was faster
                shutil.rmtree(target)
            draft.rename(target)
    except OSError as err:
        if _sealed(target) is None:  # else somebody else was faster
            raise StorageError(
                f"can't write {one_line(target, 200)}: {err.strerror}", hint="free some space, or set CONFORM_CACHE"
            ) from err
    return target, sums


def _key(library: str) -> str:
    """Data of other code, or of another encoder, are kept apart."""
    digest = hashlib.sha256(library.encode())
    own = resources.files("sysnoise_conform.models.tiny")
    for each in sets.SOURCES:
        digest.update((own / each).read_bytes())
    return digest.hexdigest()[:16]


def _sealed(folder: Path) -> Mapping[str, str] | None:
    """The sums of data in the cache; None where there are none, or a file is not what it was."""
    try:
        sums: dict[str, Any] = json.loads((folder / _SEAL).read_text())
        now = _sums(folder)
    except (OSError, ValueError):
        return None
    return sums if {key: sums.get(key) for key in now} == now else None


def _sums(folder: Path) -> dict[str, str]:
    """Of the JPEG files alone, and of every file."""
    jpeg, whole = hashlib.sha256(), hashlib.sha256()
    for root, folders, files in os.walk(folder):
        folders.sort()
        for each in sorted(files):
            if each == _SEAL:
                continue
            path = Path(root, each)
            content = hashlib.sha256(path.read_bytes()).digest()
            whole.update(str(path.relative_to(folder)).encode() + b"\0" + content)
            if path.suffix == ".jpg":
                jpeg.update(content)
    return {"jpegs": jpeg.hexdigest(), "files": whole.hexdigest()}
