"""The content-addressed store of goldens: a golden is computed once, and never believed unverified.

One file per sample (`entry`), below `golden/1/` of the cache, named by the hash of everything that
determines it. Least recently used goldens make room; what this run itself uses is never evicted, so a run
that needs more than the bound streams the rest. Safe for concurrent processes: a file gets its final name
by an atomic rename, a mapped file that another process evicts stays readable, and an unfinished file is
held by a lock that dies with its owner. Nothing is forced to the disk: a golden that a power cut tears is
damaged, which `find` notices, and waiting for the disk costs more than computing it anew (20 s per GB
where measured, on a golden of 1.8 GB that takes 9 s).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from sysnoise_conform.errors import StorageError, UsageError
from sysnoise_conform.folders import cache_folder
from sysnoise_conform.printable import one_line
from sysnoise_conform.private import PrivateFolder
from sysnoise_conform.sentinel import sentinel
from sysnoise_conform.store import fingerprint
from sysnoise_conform.store.entry import FORMAT_VERSION, DamagedEntry, GoldenSample, GoldenTensor, storage_error

__all__ = ["GoldenSample", "GoldenTensor", "Store", "Usage", "parse_size"]

DEFAULT_LIMIT = 10 * 10**9
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_size(text: str) -> int:
    """`10G`, `500M`, `2 GB`, `1000` in bytes; decimal units. Raises `UsageError`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"CONFORM_CACHE_MAX is {one_line(text, 60)!r}, which is no size", hint="write 10G or 500M")
    return int(float(match[1]) * _UNITS[match[2].upper()])


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What the store holds: number of goldens, bytes, and the bound in bytes."""

    folder: Path
    entries: int
    size: int
    limit: int


@dataclass(slots=True)
class Store:
    """Goldens by key. `notes` collects what a reader of the report should know, one line each."""

    folder: Path
    limit: int
    private: PrivateFolder | None = None  # of a store that ends with the run
    readable: Path | None = None  # a read-only cache, where goldens are looked for but not put
    notes: list[str] = field(default_factory=list)
    _mine: set[str] = field(default_factory=set)  # keys that this run uses
    _reserved: dict[Path, int] = field(default_factory=dict)  # unfinished file -> descriptor that holds its lock
    _said_full: bool = False

    @classmethod
    def open(cls, root: Path | None = None, *, limit_bytes: int | None = None, enabled: bool = True) -> Store:
        """The store below `root` (default: `cache_folder`); `enabled=False` for one that ends with the run.

        A cache that can't be written is read, and new goldens go to a temporary folder: a note says so.
        Raises `UsageError` for a CONFORM_CACHE_MAX that is no size, `StorageError` on a full disk.
        """
        limit = limit_bytes
        if limit is None:
            limit = parse_size(os.environ.get("CONFORM_CACHE_MAX", "").strip() or str(DEFAULT_LIMIT))
        if not enabled:
            private = _private_folder()
            return cls(folder=private.path, limit=limit, private=private)
        folder = (root if root is not None else cache_folder()) / "golden" / str(FORMAT_VERSION)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            store = cls(folder=folder, limit=limit)
            store.discard(store.reserve())
        except (OSError, StorageError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                raise storage_error(cause, folder / "x") from error
            why = cause.strerror if isinstance(cause, OSError) else str(error)
            note = f"the cache {one_line(folder)} can't be written ({why}): new goldens are not kept"
            private = _private_folder()
            return cls(folder=private.path, limit=limit, private=private, readable=folder, notes=[note])
        store._sweep()
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove unfinished files, and the folder of a temporary store. Open samples stay readable."""
        for unfinished in list(self._reserved):
            self.discard(unfinished)
        if self.private is not None and self.folder.is_dir():
            self.private.remove()

    def key(
        self,
        *,
        model_sha256: str,
        feeds_sha256: str,
        threads: int,
        graph_sha256: str = "",
        only: Iterable[str] = (),
        torch_version: str | None = None,
        golden_source_sha256: str | None = None,
        cpu: str | None = None,
    ) -> str:
        """The name of the golden that these facts determine, 64 hexadecimal digits.

        An entry holds float64 tensors and the floor of a float32 run, so processor and threads belong to
        it; 0 threads are PyTorch's own choice. What is not given is found out on this host, without
        importing torch.
        """
        facts = {
            "format": FORMAT_VERSION,
            "model": model_sha256,
            "graph": graph_sha256,
            "feeds": feeds_sha256,
            "only": sorted(only),
            "dtype": "float64, floor of float32",
            "torch": torch_version or fingerprint.installed_version("torch"),
            "onnx": fingerprint.installed_version("onnx"),  # its schemas give the types of outputs
            "source": golden_source_sha256 or fingerprint.golden_source_sha256(),
            "cpu": cpu or fingerprint.cpu(),
            "threads": threads or fingerprint.default_threads(),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def torch_version(self) -> str:
        """The version of PyTorch that makes the goldens of this run."""
        return fingerprint.installed_version("torch")

    def find(self, key: str) -> GoldenSample | None:
        """The stored golden, every bit verified; None where there is none. A damaged one is removed and noted."""
        for folder in filter(None, (self.folder, self.readable)):
            path = folder / f"{key}.golden"
            try:
                sample = GoldenSample(path)
            except FileNotFoundError:
                continue
            except DamagedEntry as damage:
                self.notes.append(f"the stored golden {key[:12]} is damaged ({damage.message}): it is computed anew")
                with suppress(OSError):
                    path.unlink()
                continue
            except OSError as error:
                self.notes.append(f"the stored golden {key[:12]} can't be read ({error.strerror}): it is computed anew")
                continue
            with suppress(OSError):  # a read-only cache has no order of use to keep
                os.utime(path)
            self._mine.add(key)
            return sample
        return None

    def reserve(self) -> Path:
        """A new empty file for a child to write an entry into; then `commit` it or `discard` it."""
        while True:
            path = self.folder / f"{secrets.token_hex(12)}.tmp"
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            except OSError as error:
                raise storage_error(error, path) from error
            with suppress(OSError):  # a file system without locks: then nobody sweeps either
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                self._reserved[path] = descriptor
                sentinel.guard(str(path))
                return path
            os.close(descriptor)  # swept by another process between its creation and its lock

    def discard(self, unfinished: Path) -> None:
        """Remove a reserved file that came to nothing."""
        with suppress(OSError):
            unfinished.unlink()
        self._release(unfinished)

    def commit(self, unfinished: Path, key: str) -> GoldenSample:
        """Take a finished entry in under `key` and open it.

        A golden that does not fit below the bound lives until the sample is closed: a note says so.
        Raises `StorageError`.
        """
        try:
            sample = GoldenSample(unfinished, verify=False)  # its checksums were taken from memory a moment ago
        except (OSError, DamagedEntry) as error:
            self.discard(unfinished)
            raise StorageError(f"the golden's file did not arrive as it was written: {one_line(error)}") from error
        if not self._make_room(sample.size):
            if not self._said_full:
                self._said_full = True
                self.notes.append(
                    f"the goldens of this run need more than the cache's bound of {self.limit / 1e9:.3g} GB "
                    "(CONFORM_CACHE_MAX): the rest is streamed, not kept"
                )
            self.discard(unfinished)
            return sample
        try:
            os.replace(unfinished, self.folder / f"{key}.golden")
        except IsADirectoryError:
            self.notes.append(f"a folder has the name of the golden {key[:12]} in the cache: it is not kept")
            self.discard(unfinished)
            return sample
        except OSError as error:
            sample.close()
            self.discard(unfinished)
            raise storage_error(error, unfinished) from error
        self._release(unfinished)
        self._mine.add(key)
        return sample

    def usage(self) -> Usage:
        """How full the store is, goldens of other format versions included."""
        entries = self._entries()
        size = sum(each[1] for each in entries)
        return Usage(folder=self.folder, entries=len(entries), size=size, limit=self.limit)

    def clear(self) -> Usage:
        """Remove every golden; what was there before."""
        before = self.usage()
        for _, _, path in self._entries():
            with suppress(OSError):
                path.unlink()
        return before

    def _release(self, unfinished: Path) -> None:
        descriptor = self._reserved.pop(unfinished, None)
        if descriptor is not None:
            sentinel.release(str(unfinished))
            os.close(descriptor)

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(time of last use in ns, bytes, path) of every golden, of other format versions too."""
        found = []
        folders = [self.folder]
        if self.private is None:
            folders = [each for each in self.folder.parent.glob("*") if each.is_dir()]
        for folder in folders:
            for path in folder.glob("*.golden"):
                with suppress(OSError):  # evicted by another process meanwhile
                    status = path.stat()
                    found.append((status.st_mtime_ns, status.st_size, path))
        return sorted(found)

    def _make_room(self, size: int) -> bool:
        """Evict until `size` more bytes fit, oldest use first; False when that would take this run's own goldens."""
        entries = self._entries()
        used = sum(each[1] for each in entries)
        foreign = [each for each in entries if each[2].stem not in self._mine]
        if used + size - sum(each[1] for each in foreign) > self.limit:
            return False
        for _, freed, path in foreign:
            if used + size <= self.limit:
                break
            with suppress(FileNotFoundError):
                path.unlink()
            used -= freed
        return True

    def _sweep(self) -> None:
        """Remove unfinished files whose owner is dead, which is who no longer holds their lock."""
        for path in self.folder.glob("*.tmp"):
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if stat.S_ISREG(os.fstat(descriptor).st_mode):  # anything else is not ours
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        path.unlink()
                finally:
                    os.close(descriptor)


def _private_folder() -> PrivateFolder:
    try:
        return PrivateFolder.make()
    except OSError as error:
        raise StorageError(f"no temporary folder: {error.strerror}", hint="set TMPDIR to a writable one") from error
