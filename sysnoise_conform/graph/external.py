"""Weights beside the model: which files it may name, and what they must hold."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from onnx import TensorProto

from sysnoise_conform.errors import BadModel
from sysnoise_conform.files import digest_stream, open_regular
from sysnoise_conform.graph.stored import byte_count, element_count
from sysnoise_conform.printable import one_line

# Characters that are no part of a plain relative path: a location is a file's name below the model's folder,
# and nothing that a runtime could read another meaning into.
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f*?<>|\\:\"]")
MAX_LOCATION = 1024
_KEYS = {"location", "offset", "length", "checksum", "basepath"}
_DECIMAL = re.compile(r"[0-9]{1,19}")
MAX_FILES = 10_000
MAX_BYTES = 1 << 36  # of all data files together
# What a file may hold beside what the model's tensors need of it: other models may share it, tensors may be aligned.
# Every byte of it is hashed and copied, and a file of a terabyte of nothing costs its author none.
MAX_SHARE, MAX_SPARE = 4, 1 << 30
# A backend's private folder holds graphs of our own and what is converted from them beside the data, which may be a
# hard link to the user's own file: nothing is ever written under a data file's name, since these are no names for data.
_MODEL_SUFFIXES = (".onnx", ".mnn", ".tflite")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """One external data file: its name in the model, where it lies, and what it holds."""

    location: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Use:
    """A tensor's part of a data file, and words for where the tensor stands."""

    offset: int
    length: int | None
    needed: int
    where: str


def external_files(
    tensors: Iterable[tuple[TensorProto, str]], model: Path, folders: tuple[Path, ...], *, allow_linked: bool
) -> tuple[DataFile, ...]:
    """The files that the tensors of the file `model` point into, each checked and hashed, in order of their names.

    `folders` are the model's own: where the file is, and where the link to it is that the user named (a cache
    of links has the data beside the link). A file must lie in its folder after every link is followed, be
    regular, not be the model, and have one name only: a second name (a hard link) may be that of a file elsewhere.
    `allow_linked` lifts the rules on links, for caches that are made of them. Raises BadModel.
    """
    wanted: dict[str, list[_Use]] = {}
    for tensor, where in tensors:
        if tensor.data_location == TensorProto.EXTERNAL:
            location, offset, length = _entry(tensor, where)
            needed = byte_count(tensor.data_type, element_count(tensor, where))
            wanted.setdefault(location, []).append(_Use(offset, length, needed, where))
    if len(wanted) > MAX_FILES:
        raise BadModel(f"the model names {len(wanted):,} external data files; the limit is {MAX_FILES:,}")
    places = {location: _place(location, uses, folders, allow_linked) for location, uses in sorted(wanted.items())}
    shared: dict[Path, list[str]] = {}  # links may give one file several names; it is read once
    for location, path in places.items():
        shared.setdefault(path, []).append(location)
    opened: dict[Path, tuple[int, str]] = {}
    left = MAX_BYTES
    for path, locations in shared.items():
        uses = [use for each in locations for use in wanted[each]]
        opened[path] = _opened(path, locations[0], uses, model, left // len(locations), allow_linked)
        left -= opened[path][0] * len(locations)
    return tuple(
        DataFile(location=location, path=path, size=opened[path][0], sha256=opened[path][1])
        for location, path in places.items()
    )


def _entry(tensor: TensorProto, where: str) -> tuple[str, int, int | None]:
    fields: dict[str, str] = {}
    for each in tensor.external_data:
        if not isinstance(each.key, str) or not isinstance(each.value, str):
            raise BadModel(f"{where} has external data that is not described in UTF-8", hint="export the model again")
        if each.key in fields:
            raise BadModel(f"{where} gives its external {one_line(each.key, 40)!r} twice")
        if each.key not in _KEYS:
            raise BadModel(f"{where} has an unknown external data key {one_line(each.key, 40)!r}")
        fields[each.key] = each.value
    location = _plain(fields.get("location", ""), where)
    numbers = {}
    for key in ("offset", "length"):
        text = fields.get(key)
        if text is not None and not _DECIMAL.fullmatch(text):
            raise BadModel(f"{where} has the external {key} {one_line(text, 40)!r}, which is no byte count")
        numbers[key] = None if text is None else int(text)
    return location, numbers["offset"] or 0, numbers["length"]


def _plain(location: object, where: str) -> str:
    """The location as a path without detours: `./w.bin` and `w.bin` are one."""
    shown = one_line(location, 120)
    if not isinstance(location, str) or not location:
        raise BadModel(f"{where} has external data without a usable location: {shown!r}")
    if _ODD.search(location) or len(location) > MAX_LOCATION:
        raise BadModel(f"{where} has its data in {shown!r}, which is no plain relative path")
    path = PurePosixPath(location)
    if path.is_absolute() or ".." in path.parts:
        raise BadModel(f"{where} has its data in {shown!r}, outside the model's folder", hint=_CURE)
    if any(part.lower().endswith(_MODEL_SUFFIXES) for part in path.parts):
        raise BadModel(f"{where} has its data in {shown!r}, which is the name of a model, not of its data", hint=_CURE)
    return str(path)


_CURE = "save the model again with its data beside it"


def _place(location: str, uses: list[_Use], folders: tuple[Path, ...], allow_linked: bool) -> Path:
    """Where the file lies, every link followed."""
    folder = next((each for each in folders if os.path.lexists(each / location)), folders[0])
    path = Path(os.path.realpath(folder / location))
    if not allow_linked and not path.is_relative_to(os.path.realpath(folder)):
        raise BadModel(
            f"{uses[0].where} has its data in {one_line(location, 120)!r}, a link that leaves the model's folder",
            hint="if that is meant, allow it with --allow-linked-data",
        )
    return path


def _opened(
    path: Path, location: str, uses: list[_Use], model: Path, limit: int, allow_linked: bool
) -> tuple[int, str]:
    """Size and SHA-256 of a data file that holds what is needed, and not much more."""
    shown = one_line(location, 120)
    where = uses[0].where
    with open_regular(path, what=f"external data (of {where})", error=BadModel) as stream:
        status = os.fstat(stream.fileno())
        if _is(status, model):
            raise BadModel(f"{where} has its data in {shown!r}, which is the model itself", hint=_CURE)
        if status.st_nlink > 1 and not allow_linked:
            raise BadModel(
                f"the external data file {shown!r} has {status.st_nlink} names (hard links), maybe outside the folder",
                hint="if that is meant, allow it with --allow-linked-data",
            )
        size = status.st_size
        for use in uses:
            _check_range(use, size, shown)
        needed = _covered(uses)
        if size > MAX_SHARE * needed + MAX_SPARE:
            raise BadModel(
                f"the external data file {shown!r} has {size:,} bytes, and the model needs {needed:,} of them",
                hint=_CURE,
            )
        if size > limit:
            raise BadModel(f"the model's external data files have more than {MAX_BYTES:,} bytes together")
        return size, digest_stream(stream)


def _is(status: os.stat_result, model: Path) -> bool:
    try:
        return os.path.samestat(status, model.stat())
    except OSError:  # the model is gone; it has been read
        return False


def _covered(uses: Iterable[_Use]) -> int:
    """How many bytes the tensors need; those that several share count once."""
    total = end = 0
    for use in sorted(uses, key=lambda each: each.offset):
        start = max(end, use.offset)
        end = max(end, use.offset + use.needed)
        total += max(0, end - start)
    return total


def _check_range(use: _Use, size: int, shown: str) -> None:
    if use.length is not None and use.length != use.needed:
        raise BadModel(f"{use.where} has {use.length:,} bytes in {shown!r}, but its shape needs {use.needed:,}")
    end = use.offset + use.needed
    if end > size:
        raise BadModel(
            f"{use.where} needs bytes {use.offset:,} to {end:,} of {shown!r}, which has {size:,}", hint=_CURE
        )
