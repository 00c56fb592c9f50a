"""What was measured of each picture, on disk as soon as it is: a run that was killed goes on behind it.

One database, one row for each picture and cell, a transaction for each picture: of a picture there is all or nothing.
SQLite's own log makes a kill harmless at any moment.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from sysnoise_conform.datasets import Problem
from sysnoise_conform.errors import StorageError, UsageError
from sysnoise_conform.matrix.facts import Status
from sysnoise_conform.printable import one_line
from sysnoise_conform.report.folder import JOURNAL, JOURNAL_FILES
from sysnoise_conform.tasks.evaluation import Result

_VERSION = 3


class Journal:
    """The results of one matrix. A context manager.

    `identity` is a digest of all that determines a result (model, data, versions); another one makes the journal
    useless. A result of None means that the cell has no answer for the picture; `same` that its tensor was the
    baseline's, bit for bit. To resume where nothing is, as after a kill at the very start, is to begin.
    """

    def __init__(self, folder: Path, identity: str, *, resume: bool) -> None:
        self._path = folder / JOURNAL
        if not resume:
            for name in JOURNAL_FILES:
                (folder / name).unlink(missing_ok=True)
        try:
            self._base = sqlite3.connect(self._path, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.execute("CREATE TABLE IF NOT EXISTS about (version INTEGER, identity TEXT)")
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS results (cell TEXT, picture INTEGER, same INTEGER, result BLOB,"
                " PRIMARY KEY (cell, picture)) WITHOUT ROWID"
            )
            self._base.execute("CREATE TABLE IF NOT EXISTS failures (place TEXT PRIMARY KEY, status TEXT, why TEXT)")
            self._base.execute("CREATE TABLE IF NOT EXISTS computed (place TEXT PRIMARY KEY, what TEXT)")
            self._base.execute("CREATE TABLE IF NOT EXISTS problems (name TEXT PRIMARY KEY, why TEXT)")
            self._base.execute("CREATE TABLE IF NOT EXISTS runtimes (backend TEXT PRIMARY KEY, version TEXT)")
            known = self._base.execute("SELECT version, identity FROM about").fetchone()
            if known is None:
                self._base.execute("INSERT INTO about VALUES (?, ?)", (_VERSION, identity))
        except sqlite3.Error as err:
            raise self._storage(err) from err
        if known is not None and known != (_VERSION, identity):
            raise UsageError(
                "the journal is that of another model, data, card or version: nothing of it can be used",
                hint="leave out --resume",
            )

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._base.close()

    def done(self, cell: str) -> set[int]:
        """The pictures that a cell has been measured on."""
        try:
            return {row[0] for row in self._base.execute("SELECT picture FROM results WHERE cell = ?", (cell,))}
        except sqlite3.Error as err:
            raise self._storage(err) from err

    def add(self, picture: int, results: Mapping[str, tuple[Result | None, bool]]) -> None:
        """All of one picture: by cell its result, and whether its tensor is the baseline's."""
        rows = [(cell, picture, int(same), _packed(result)) for cell, (result, same) in results.items()]
        try:
            self._base.execute("BEGIN")
            self._base.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)", rows)
            self._base.execute("COMMIT")
        except sqlite3.Error as err:
            raise self._storage(err) from err

    def results(self, cell: str, pictures: Iterable[int]) -> list[Result | None]:
        """A cell's results in the order of `pictures`; None for one without."""
        try:
            found = dict(self._base.execute("SELECT picture, result FROM results WHERE cell = ?", (cell,)).fetchall())
        except sqlite3.Error as err:
            raise self._storage(err) from err
        return [_unpacked(found.get(each)) for each in pictures]

    def all_same(self, cell: str) -> bool:
        """Whether the cell's tensor was the baseline's on every picture."""
        row = self._base.execute("SELECT MIN(same), COUNT(*) FROM results WHERE cell = ?", (cell,)).fetchone()
        return bool(row[1]) and bool(row[0])

    def fail(self, place: str, status: str, why: str) -> None:
        """Keep why a backend, or a graph on it, has no answers."""
        self._base.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (place, status, why))

    def failures(self) -> dict[str, tuple[Status, str]]:
        """Place -> status and reason."""
        return {place: (status, why) for place, status, why in self._base.execute("SELECT * FROM failures")}

    def compute(self, place: str, what: str) -> None:
        """Keep what a graph on a backend was computed in, where that is not what was asked for; else nothing."""
        self._base.execute("INSERT OR REPLACE INTO computed VALUES (?, ?)", (place, what))

    def computed(self) -> dict[str, str]:
        """Place -> what it was computed in, of all whose results are here; empty where that is what was asked for."""
        return dict(self._base.execute("SELECT place, what FROM computed").fetchall())

    def name_runtimes(self, versions: Mapping[str, str]) -> None:
        """Keep which runtimes the results came from, by backend: a run that goes on may not need them again.

        Raises UsageError where results of another version are there already.
        """
        known = self.runtimes()
        for backend, version in versions.items():
            if known.setdefault(backend, version) != version:
                raise UsageError(
                    f"the journal has results of {known[backend]}, and {backend} is {version} now",
                    hint="leave out --resume",
                )
            self._base.execute("INSERT OR IGNORE INTO runtimes VALUES (?, ?)", (backend, version))

    def runtimes(self) -> dict[str, str]:
        """Backend -> its runtime and version, of all whose results are here."""
        return dict(self._base.execute("SELECT backend, version FROM runtimes ORDER BY backend").fetchall())

    def trouble(self, name: str, why: str) -> None:
        """Keep what is wrong with a picture that is left out, by some cells or by all; the first reason stays."""
        self._base.execute("INSERT OR IGNORE INTO problems VALUES (?, ?)", (name, why))

    def troubles(self) -> tuple[Problem, ...]:
        """All of them, by name."""
        rows = self._base.execute("SELECT name, why FROM problems ORDER BY name")
        return tuple(Problem(name=name, why=why) for name, why in rows)

    def _storage(self, err: sqlite3.Error) -> StorageError:
        return StorageError(
            f"can't use the journal {one_line(self._path, 200)!r}: {one_line(err, 120)}", hint="choose another --out"
        )


def _packed(result: Result | None) -> bytes | None:
    if result is None:
        return None
    arrays = {name: np.ascontiguousarray(array) for name, array in result.items()}
    head = {name: [array.dtype.str, list(np.shape(result[name]))] for name, array in arrays.items()}
    return json.dumps(head).encode() + b"\n" + b"".join(array.tobytes() for array in arrays.values())


def _unpacked(blob: bytes | None) -> Result | None:
    if blob is None:
        return None
    head, _, data = blob.partition(b"\n")
    found, at = {}, 0
    for name, (dtype, shape) in json.loads(head).items():
        count = int(np.prod(shape, dtype=np.int64))
        found[name] = np.frombuffer(data, dtype, count, at).reshape(shape)
        at += count * np.dtype(dtype).itemsize
    return found
