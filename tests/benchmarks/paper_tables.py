"""`conform bench` on the models that come with the project: how long all tables take, and which noises show.

Run: python tests/benchmarks/paper_tables.py [FOLDER]; FOLDER keeps the tables.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cold import conform, environment
from section import Figure, Section, table

TITLE = "The paper's tables on the models that come with the project"

MINUTES = 20.0
TABLES = ("table2", "table3", "table4", "table5", "table10", "fig3")
# What the paper found to matter, on the model that has the part: axis, level and in which direction.
SOUGHT = (
    ("tiny-cls", "resize", "pillow-nearest"),
    ("tiny-det", "resize", "pillow-nearest"),
    ("tiny-seg", "resize", "pillow-nearest"),
    ("tiny-cls", "ceil_mode", "ceil"),
    ("tiny-det", "ceil_mode", "ceil"),
    ("tiny-seg", "ceil_mode", "ceil"),
    ("tiny-det", "upsample", "linear"),
    ("tiny-det", "box_offset", "all"),
)

TEXT = """
`conform bench`, with an empty cache: data are drawn, goldens are PyTorch's in float64, ONNX Runtime has one thread.
Drops in points, for `tiny-tts` in nats squared of log-mel features. ° does not show above its confidence interval, – is
a part that the network does not have.

{tables}

What the paper found to matter, looked for on the models that have the part, with its 90 % interval:

{sought}
"""


def measure(folder: Path | None = None) -> Section:
    """One run of all tables."""
    with tempfile.TemporaryDirectory() as place:
        out = folder or Path(place) / "out"
        before, began = _spent(), time.perf_counter()
        subprocess.run(
            conform("bench", "--out", out), env=environment(CONFORM_CACHE=str(Path(place) / "cache")), check=True,
            capture_output=True,
        )  # fmt: skip
        return section(out, time.perf_counter() - began, _spent() - before)


def section(out: Path, took: float, spent: float) -> Section:
    """The tables in `out` as a part of the page; seconds of wall and of all processors."""
    return Section(
        title=TITLE,
        figures=(
            Figure(what="minutes of all of the paper's tables", value=took / 60, unit="min", target=MINUTES),
            Figure(what="minutes of processor for them", value=spent / 60, unit="min"),
        ),
        text=TEXT.format(tables="\n\n".join(_tables(out)), sought=_sought(out)),
    )


def _spent() -> float:
    """Seconds of processor of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _tables(out: Path) -> list[str]:
    return [_measured(out, each) for each in TABLES]


def _measured(out: Path, name: str) -> str:
    lines = (out / f"{name}.md").read_text(encoding="utf-8").splitlines()
    head = next(at for at, each in enumerate(lines) if each.startswith("|"))
    rows = [each for each in lines[head + 2 :] if each.startswith("|") and "| measured |" in each]
    cells = [[cell.strip().strip("*") for cell in each.strip("|").split("|")] for each in (lines[head], *rows)]
    kept = [[row[0] if name != "table5" else f"{row[0]}, {row[2]}", *row[3:]] for row in cells]
    kept[0][0] = lines[0].removeprefix("### ").partition(":")[0]
    return table(kept[0], kept[1:])


def _sought(out: Path) -> str:
    rows = []
    for model, axis, level in SOUGHT:
        cells: list[dict[str, Any]] = json.loads((out / model / "noise.json").read_text())["cells"]
        cell = next(each for each in cells if (each["axis"], each["level"]) == (axis, level))
        if cell["status"] != "measured":
            rows.append((model, f"`{axis}={level}`", cell["status"], "", cell["reason"] or ""))
            continue
        low, high = cell["ci"]
        shows = "yes" if low > 0 else "a gain" if high < 0 else "**no**"
        rows.append((model, f"`{axis}={level}`", f"{cell['delta']:.2f}", f"{low:.2f} to {high:.2f}", shows))
    return table(("model", "noise", "drop, points", "90 %", "shows"), rows)


def main() -> None:
    """Measure and print."""
    sys.stdout.write(measure(Path(sys.argv[1]) if len(sys.argv) > 1 else None).markdown() + "\n")


if __name__ == "__main__":
    main()
