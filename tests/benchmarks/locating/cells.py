"""What became of each planted fault, kept line by line: a run that is ended goes on, and several may work on one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from sysnoise_conform.runner.provenance import versions

Outcome = Literal["located", "in_its_block", "missed", "without_effect", "not_shown", "refused", "clean", "alarm"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
COUNTED: tuple[Outcome, ...] = ("located", "in_its_block", "missed")
HEALTHY = ""  # in the place of a fault: the network as it is

Key = tuple[str, str, str, str]  # network, backend, fault, tensor

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ("sysnoise_conform", "backends", "golden", "tests/calibration", "tests/benchmarks/locating")
PLANTED = ("tests/diagnose/planted.py", "tests/diagnose/deep.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One diagnosis: of a network on a backend with one fault at one tensor, or with none."""

    network: str
    backend: str
    fault: str
    tensor: str
    outcome: Outcome
    said: str = ""  # whom it named, or why it was refused
    seconds: float = 0.0

    @property
    def key(self) -> Key:
        """What it is about."""
        return (self.network, self.backend, self.fault, self.tensor)


def state() -> str:
    """A hash of everything that an outcome follows from: sources, networks, faults, versions."""
    digest = hashlib.sha256(json.dumps(versions(), sort_keys=True).encode())
    paths = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    for path in sorted([*paths, *(ROOT / each for each in PLANTED)]):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


class Journal:
    """A file of finished cells, one JSON object a line; those of another state of the sources are none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = state()
        path.parent.mkdir(parents=True, exist_ok=True)

    def cells(self) -> dict[Key, Cell]:
        """What is finished, in the order of the file; a line that was cut off is not."""
        found = {}
        for line in self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else ():
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            if fields.pop("state") == self._state:
                cell = Cell(**fields)
                found[cell.key] = cell
        return found

    def add(self, cell: Cell) -> None:
        """One more line, whole or not at all for whoever writes at the same time."""
        line = json.dumps({"state": self._state, **asdict(cell)}) + "\n"
        with self._path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            torn = file.read() not in (b"", b"\n")  # whoever wrote last was ended in the middle
            file.write(b"\n" * torn + line.encode())

    @contextmanager
    def alone(self, group: str) -> Iterator[bool]:
        """Whether nobody else is at this group of cells; the claim ends with the process, however that ends."""
        folder = self._path.with_suffix(".claims")
        folder.mkdir(exist_ok=True)
        with (folder / hashlib.sha256(group.encode()).hexdigest()[:16]).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def counts(cells: Iterable[Cell]) -> dict[Outcome, int]:
    """How many of each outcome."""
    found: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
    for each in cells:
        found[each.outcome] += 1
    return found
