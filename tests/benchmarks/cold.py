"""Starts the commands that are compared, each as a fresh process, in turns.

A machine that is busy for a while then slows all sides. Sources are byte-compiled beforehand, as an installed package
is: a shell's PYTHONDONTWRITEBYTECODE would otherwise compile them at every start, and be what is measured.
"""

from __future__ import annotations

import compileall
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("sysnoise_conform", "backends", "golden", "models", "reports")


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would make a child another one than a user's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CONFORM_") and name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    }
    return {**kept, **more}


def conform(*arguments: str | Path) -> list[str]:
    """The installed `conform` of this environment, with arguments."""
    return [str(Path(sys.executable).with_name("conform")), *map(str, arguments)]


@cache
def byte_compile() -> None:
    """Byte-compile our own sources, which an editable install leaves to the first start."""
    for folder in SOURCES:
        compileall.compile_dir(ROOT / folder, quiet=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the commands that are compared.

    `prepare` makes its start the same each time and `check` raises where it did not do what is to be measured; neither
    is timed. `codes` are the exit codes of a run that counts.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    prepare: Callable[[], None] = lambda: None
    check: Callable[[str], None] = lambda _: None
    codes: tuple[int, ...] = (0,)

    def run(self, *, through: Sequence[str] = ()) -> tuple[float, str]:
        """Wall-clock seconds of the whole process, and its stdout; `through` is a command that starts this one."""
        self.prepare()
        begin = time.perf_counter()
        done = subprocess.run(
            [*through, *self.command], env=dict(self.environment), capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - begin
        if done.returncode not in self.codes:
            raise SystemExit(f"{self.name}: exit {done.returncode}: {done.stderr.strip()[-2000:]}")
        self.check(done.stdout)
        return seconds, done.stdout


def in_turns(sides: Sequence[Side], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side, by its name, in `rounds` rounds after one that is discarded."""
    byte_compile()
    found: dict[str, list[float]] = {each.name: [] for each in sides}
    for number in range(rounds + 1):
        for side in sides:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds, _ = side.run()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            what = "" if number else " (discarded)"
            sys.stderr.write(f"{side.name}: {seconds:.2f} s, {busy:.2f} s of processors{what}\n")
            if number:
                found[side.name].append(seconds)
    return found


def ratio(times: Mapping[str, Sequence[float]], over: str, under: str) -> float:
    """The median over rounds of one side's seconds over another's."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def emptied(folder: Path) -> Callable[[], None]:
    """Makes `folder` not exist."""
    return lambda: shutil.rmtree(folder, ignore_errors=True)


def measured_all(out: Path, golden: str, layers: int) -> Callable[[str], None]:
    """Raises where the report in `out` has not every layer of one variant, or another golden than from `golden`."""

    def check(_: str) -> None:
        summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        observed = [each["layers"]["observable"] for each in summary["variants"]]
        source = summary["golden"]["source"]
        if observed != [layers] or source != golden:
            raise SystemExit(f"{observed} layers and a golden that was {source}, not {layers} and {golden}")

    return check
