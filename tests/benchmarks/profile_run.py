"""Where the time of a warm run goes: the parent's threads by phase, and what a child's imports cost.

Run: python tests/benchmarks/profile_run.py.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cold import Side, byte_compile, conform, environment, in_turns
from prepared import prepared
from section import Section, table

TITLE = "Where a warm run's time goes"

RUNS = 5
SHOWN_S = 0.005
MAIN = "MainThread"
WORKER = "sysnoise_conform.process.worker"
IMPORTS = ("pass", "import numpy", "import onnx", f"import {WORKER}", f"import {WORKER}, onnxruntime", "import torch")

TEXT = f"""
One sample of the ResNet-18 on ONNX Runtime with its golden in the store, the median of {RUNS} cold runs after one that
is discarded. A thread in the parent looks at all stacks about once a millisecond; a phase is the package that is being
imported, the request that a child is waited for, or our own module at the bottom of the stack. Threads overlap,
phases of one thread may alternate. Shorter ones than {SHOWN_S * 1e3:g} ms are one row. The watching itself costs a few
per cent.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """When a thread first was at it, how long in all, and how long on a processor; seconds."""

    begin: float
    wall: float
    cpu: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One run: seconds before the watch begins, of the command, and of the end; phases by thread."""

    start: float
    command: float
    exit: float
    threads: Mapping[str, Mapping[str, Phase]]


def one_run(folder: Path, arguments: Sequence[str]) -> Profile:
    """Profile one cold run."""
    result = folder / "profile.json"
    launched = time.monotonic()
    watched = str(Path(__file__).with_name("stack_samples.py"))
    done = subprocess.run(
        [sys.executable, "-P", watched, str(result), repr(launched), *arguments],
        env=environment(CONFORM_CACHE=str(folder / "cache")), capture_output=True, text=True, check=False,
    )  # fmt: skip
    ended = time.monotonic()
    if done.returncode:
        raise SystemExit(f"the profiled run: exit {done.returncode}: {done.stderr.strip()[-2000:]}")
    seen = json.loads(result.read_text(encoding="utf-8"))
    return Profile(
        start=seen["start_s"],
        command=seen["command_s"],
        exit=ended - seen["ended_at"],
        threads={
            thread: {name: Phase(**each) for name, each in phases.items()}
            for thread, phases in seen["threads"].items()
        },
    )


def milliseconds(values: Sequence[float]) -> str:
    """The median of seconds, as whole milliseconds."""
    return f"{statistics.median(values) * 1e3:.0f}"


def thread_rows(thread: str, profiles: Sequence[Profile]) -> list[tuple[str, ...]]:
    """The phases of one thread in the order of their begin; none for a thread that only waits to be asked."""
    found: dict[str, list[Phase]] = defaultdict(list)
    for each in profiles:
        for name, phase in each.threads.get(thread, {}).items():
            found[name].append(phase)
    medians = {
        name: Phase(
            begin=statistics.median(each.begin for each in phases),
            wall=sum(each.wall for each in phases) / len(profiles),
            cpu=sum(each.cpu for each in phases) / len(profiles),
        )
        for name, phases in found.items()
    }
    shown = [name for name, each in medians.items() if _tells(name, each, main=thread == MAIN)]
    if not shown:
        return []
    rest = [each for name, each in medians.items() if name not in shown and "wait" not in name and name != "idle"]
    name = "main thread" if thread == MAIN else f"thread {thread}"
    return [
        (f"**{name}**", "", "", ""),
        *(_row(each, medians[each]) for each in sorted(shown, key=lambda each: medians[each].begin)),
        _row(f"{len(rest)} shorter ones", Phase(begin=0, wall=sum(e.wall for e in rest), cpu=sum(e.cpu for e in rest))),
    ]


def _tells(name: str, phase: Phase, *, main: bool) -> bool:
    """Whether a phase is worth a row: it takes time of a processor, or everybody's."""
    long = phase.wall >= SHOWN_S
    return long and (main or phase.cpu >= SHOWN_S or name.startswith("wait for the child"))


def _row(name: str, phase: Phase) -> tuple[str, ...]:
    return (name, *(f"{each * 1e3:.0f}" for each in (phase.begin, phase.wall, phase.cpu)))


def threads_table(profiles: Sequence[Profile]) -> str:
    """The main thread first, the others in the order of their begin."""
    begins = {
        thread: min(each.begin for each in phases.values())
        for thread, phases in profiles[0].threads.items()
        if thread != MAIN
    }
    rows: list[tuple[str, ...]] = [("**the interpreter starts**", "", milliseconds([e.start for e in profiles]), "")]
    for thread in (MAIN, *sorted(begins, key=lambda each: begins[each])):
        rows += thread_rows(thread, profiles)
    rows.append(("**the interpreter ends**", "", milliseconds([each.exit for each in profiles]), ""))
    wall = milliseconds([each.start + each.command + each.exit for each in profiles])
    rows.append(("**the whole command**", "", wall, ""))
    return table(("phase", "first at, ms", "ms", "of these on a processor"), rows)


def imports_table() -> str:
    """What a fresh interpreter needs to import what the parent and its children do."""
    sides = [Side(name=each, command=[sys.executable, "-c", each], environment=environment()) for each in IMPORTS]
    times = in_turns(sides, RUNS)
    return table(("a fresh interpreter", "ms"), [(f"`{name}`", milliseconds(times[name])) for name in times])


def measure() -> Section:
    """Profile warm runs and price the imports."""
    byte_compile()
    with prepared(0) as made:
        arguments = ["run", "--model", str(made.model), "--backends", "ort", "--out", str(made.folder / "out")]
        arguments += ["--samples", "1"]
        Side(
            name="filling the store", command=conform(*arguments),
            environment=environment(CONFORM_CACHE=str(made.folder / "cache")),
        ).run()  # fmt: skip
        profiles = [one_run(made.folder, arguments) for _ in range(RUNS + 1)][1:]
    return Section(
        title=TITLE,
        figures=(),
        text=f"{TEXT}\n{threads_table(profiles)}\n\n{imports_table()}",
    )


if __name__ == "__main__":
    sys.stdout.write(measure().markdown() + "\n")
