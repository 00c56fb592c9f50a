"""Private folders: mode 0700, removed at the end, by the sentinel if we are killed, and swept if that is killed too."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sysnoise_conform.sentinel import sentinel

_NAME = re.compile(r"conform-([0-9]+)-[A-Za-z0-9_]+")
_swept: set[Path] = set()


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivateFolder:
    """`conform-<pid>-…` below the folder for temporary files, held by a lock as long as its owner lives."""

    path: Path
    lock: int

    @classmethod
    def make(cls, parts: Sequence[str] = ()) -> PrivateFolder:
        """A new folder with these folders in it; the first of a process sweeps what dead ones left. Raises OSError."""
        base = Path(tempfile.gettempdir()).resolve()
        if base not in _swept:
            _swept.add(base)
            sweep(base)
        path = Path(tempfile.mkdtemp(prefix=f"conform-{os.getpid()}-", dir=base))
        sentinel.guard(str(path))
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with contextlib.suppress(OSError):  # a file system without locks: the owner's number must do
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = cls(path=path, lock=lock)
        except OSError:
            shutil.rmtree(path, ignore_errors=True)
            raise
        try:
            for part in parts:
                (path / part).mkdir(mode=0o700)
        except OSError:
            folder.remove()
            raise
        return folder

    def remove(self) -> None:
        """Remove it with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if not self.path.exists():
            sentinel.release(str(self.path))
        os.close(self.lock)


def sweep(base: Path) -> list[Path]:
    """Remove our own folders whose owner is dead, and say which.

    Dead means that no process has its number and nobody holds its lock: in a container the number alone may be
    that of a live process outside.
    """
    removed: list[Path] = []
    try:
        entries = list(os.scandir(base))
    except OSError:
        return removed
    for entry in entries:
        match = _NAME.fullmatch(entry.name)
        if match is None or _alive(int(match.group(1))):
            continue
        with contextlib.suppress(OSError):
            facts = entry.stat(follow_symlinks=False)
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
                continue
            lock = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(entry.path, ignore_errors=True)
                removed.append(Path(entry.path))
            finally:
                os.close(lock)
    return removed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
