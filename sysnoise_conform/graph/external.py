"""Weights beside the model: which files it may name, and what they must hold."""

from __future__ import annotations

import os
import re
import stat
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


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """One external data file: its name in the model, where it lies, and what it holds."""

    location: str
    path: Path
    size: int
    sha256: str


def external_files(
    tensors: Iterable[tuple[TensorProto, str]], folders: tuple[Path, ...], *, allow_linked: bool
) -> tuple[DataFile, ...]:
    """The files that the model's tensors point into, each checked and hashed, in order of their names.

    `folders` are the model's own: where the file is, and where the link to it is that the user named (a cache
    of links has the data beside the link). A file must lie in its folder after every link is followed, be
    regular, and have one name only: a second name (a hard link) may be that of a file elsewhere.
    `allow_linked` lifts the rules on links, for caches that are made of them. Raises BadModel.
    """
    wanted: dict[str, list[tuple[int, int | None, int, str]]] = {}
    for tensor, where in tensors:
        if tensor.data_location == TensorProto.EXTERNAL:
            location, offset, length = _entry(tensor, where)
            needed = byte_count(tensor.data_type, element_count(tensor, where))
            wanted.setdefault(location, []).append((offset, length, needed, where))
    if len(wanted) > MAX_FILES:
        raise BadModel(f"the model names {len(wanted):,} external data files; the limit is {MAX_FILES:,}")
    return tuple(
        _opened(
            location,
            uses,
            next((each for each in folders if os.path.lexists(each / location)), folders[0]),
            allow_linked,
        )
        for location, uses in sorted(wanted.items())
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
    location = fields.get("location", "")
    _check_location(location, where)
    numbers = {}
    for key in ("offset", "length"):
        text = fields.get(key)
        if text is not None and not _DECIMAL.fullmatch(text):
            raise BadModel(f"{where} has the external {key} {one_line(text, 40)!r}, which is no byte count")
        numbers[key] = None if text is None else int(text)
    return location, numbers["offset"] or 0, numbers["length"]


def _check_location(location: object, where: str) -> None:
    shown = one_line(location, 120)
    if not isinstance(location, str) or not location:
        raise BadModel(f"{where} has external data without a usable location: {shown!r}")
    if _ODD.search(location) or len(location) > MAX_LOCATION:
        raise BadModel(f"{where} has its data in {shown!r}, which is no plain relative path")
    path = PurePosixPath(location)
    if path.is_absolute() or ".." in path.parts:
        raise BadModel(f"{where} has its data in {shown!r}, outside the model's folder", hint=_CURE)


_CURE = "save the model again with its data beside it"


def _opened(location: str, uses: list[tuple[int, int | None, int, str]], folder: Path, allow_linked: bool) -> DataFile:
    shown = one_line(location, 120)
    where = uses[0][3]
    path = Path(os.path.realpath(folder / location))
    root = Path(os.path.realpath(folder))
    if not allow_linked and not path.is_relative_to(root):
        raise BadModel(
            f"{where} has its data in {shown!r}, a link that leaves the model's folder",
            hint="if that is meant, allow it with --allow-linked-data",
        )
    with open_regular(path, what=f"external data (of {where})", error=BadModel) as stream:
        status = os.fstat(stream.fileno())
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode) and not allow_linked:
            raise BadModel(
                f"the external data file {shown!r} has {status.st_nlink} names (hard links), maybe outside the folder",
                hint="if that is meant, allow it with --allow-linked-data",
            )
        for offset, length, needed, user in uses:
            _check_range(offset, length, needed, status.st_size, user, shown)
        return DataFile(location=location, path=path, size=status.st_size, sha256=digest_stream(stream))


def _check_range(offset: int, length: int | None, needed: int, size: int, where: str, shown: str) -> None:
    if length is not None and length != needed:
        raise BadModel(f"{where} has {length:,} bytes in {shown!r}, but its shape needs {needed:,}")
    if offset + needed > size:
        raise BadModel(
            f"{where} needs bytes {offset:,} to {offset + needed:,} of {shown!r}, which has {size:,}", hint=_CURE
        )
