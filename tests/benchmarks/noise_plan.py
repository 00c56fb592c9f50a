"""What the plan of `conform noise` costs beside the work itself, and what it saves.

Run: python tests/benchmarks/noise_plan.py [PICTURES]; CONFORM_TEST_DATA names the folder with the labelled pictures.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cold import Side, byte_compile, conform, emptied, environment
from noise_model import Labelled, classifier
from section import Figure, Section, table

TITLE = "The plan of a matrix of noises"

PICTURES = 100
PAIRS = 3
NOISE = "decoder,colour,resize"
INCONCLUSIVE = (0, 1, 5)  # a hundred pictures decide little, which is not what is measured
OURS, BARE, ALONE = "conform noise", "bare loop, one core", "each cell by itself"

TEXT = """
EfficientNet-Lite0 on {pictures} pictures, ONNX Runtime with one thread: all decoders, colour conversions and resizes
alone, then the worst of them together and each left out, {cells} cells. `tests/benchmarks/bare_noise.py` does the same
distinct decodes, conversions, resizes and inferences once in one process on one core, with the same libraries, and
keeps nothing. Seconds of processors are those of the whole process tree. A cell by itself is
`conform noise --noise axis=level`, which measures its baseline, too, since a drop needs one; each round runs another
third of these cells, and their sum is scaled to all. Medians of {pairs} rounds in turns, after one that is discarded.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of one run: wall-clock seconds, and seconds of processors."""

    wall: float
    busy: float


def cost(side: Side) -> Cost:
    """Run it once."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall, _ = side.run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sys.stderr.write(f"{side.name}: {wall:.2f} s, {busy:.2f} s of processors\n")
    return Cost(wall=wall, busy=busy)


def ours(given: Labelled, out: Path, noise: str, pictures: int, combine: str, name: str) -> Side:
    """`conform noise` on one core for each picture."""
    return Side(
        name=name,
        command=conform(
            "noise", "--model", given.model, "--card", given.card, "--data", given.data, "--backends", "ort",
            "--baseline", "ort", "--noise", noise, "--combine", combine, "--samples", str(pictures), "--threads", "1",
            "--out", out,
        ),
        environment=environment(),
        prepare=emptied(out),
        codes=INCONCLUSIVE,
    )  # fmt: skip


def cells(out: Path) -> list[dict[str, str]]:
    """The levels of every cell that a run measured, but for the baseline and its control."""
    with sqlite3.connect(out / "journal.sqlite") as journal:
        keys = [row[0] for row in journal.execute("SELECT DISTINCT cell FROM results ORDER BY cell")]
    levels = [key.split("|")[1] for key in keys if not key.endswith("|again")]
    return [dict(each.partition("=")[::2] for each in one.split("+")) for one in levels if one]


def measure(pictures: int = PICTURES) -> Section:
    """The three in turns."""
    given = classifier()
    byte_compile()
    with tempfile.TemporaryDirectory() as folder:
        out, listed = Path(folder) / "out", Path(folder) / "cells.json"
        plan = ours(given, out, NOISE, pictures, "pipeline,swap", OURS)
        cost(plan)  # discarded
        found = cells(out)
        listed.write_text(json.dumps(found), encoding="utf-8")
        script = Path(__file__).with_name("bare_noise.py")
        bare = Side(
            name=BARE,
            command=[sys.executable, str(script), *map(str, (given.model, given.card, given.data, pictures, listed))],
            environment=environment(),
        )
        cost(bare)  # discarded
        rounds: list[dict[str, Cost]] = []
        for number in range(PAIRS):
            sides = {OURS: cost(plan), BARE: cost(bare)}
            rounds.append({**sides, ALONE: _alone(given, Path(folder), found, pictures, number)})
    return _section(rounds, pictures, len(found))


def _alone(given: Labelled, folder: Path, found: Sequence[dict[str, str]], pictures: int, number: int) -> Cost:
    """Every third cell by itself, scaled to all cells; those of several noises at the price of their first."""
    alone = [",".join(f"{axis}={level}" for axis, level in each.items()) for each in found if len(each) == 1]
    these = alone[number::PAIRS]
    costs = [cost(ours(given, folder / "alone", each, pictures, "none", f"{each} by itself")) for each in these]
    scale = len(found) / len(these)
    return Cost(wall=sum(each.wall for each in costs) * scale, busy=sum(each.busy for each in costs) * scale)


def _section(rounds: Sequence[dict[str, Cost]], pictures: int, count: int) -> Section:
    def middle(name: str, what: str, over: str | None = None) -> float:
        return statistics.median(
            getattr(each[name], what) / (1.0 if over is None else getattr(each[over], what)) for each in rounds
        )

    rows = [
        (name, f"{middle(name, 'wall'):.1f} s", f"{middle(name, 'busy'):.1f} s", f"{middle(name, 'busy', BARE):.2f}")
        for name in (BARE, OURS, ALONE)
    ]
    return Section(
        title=TITLE,
        figures=(
            Figure(what="processors' seconds of a matrix against a bare loop", value=middle(OURS, "busy", BARE),
                   target=1.15),
            Figure(what="wall-clock of a matrix against a bare loop on one core", value=middle(OURS, "wall", BARE),
                   target=0.6),
            Figure(what="a matrix against each cell by itself", value=middle(OURS, "busy", ALONE), target=0.4),
        ),
        text=f"{TEXT.format(pictures=pictures, cells=count, pairs=PAIRS)}\n"
        f"{table(('side', 'wall-clock', 'processors', 'ratio'), rows)}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(measure(*(int(each) for each in sys.argv[1:])).markdown() + "\n")
