"""`conform run` against the script that somebody writes by hand for the same question, on 32 samples.

Run: python tests/benchmarks/against_bare_script.py. The script is bare_script.py.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from cold import Side, conform, emptied, environment, in_turns, measured_all, ratio
from prepared import NODES, Prepared, prepared
from section import Figure, Section, table

TITLE = "Against a bare script"

SAMPLES = 32
PAIRS = 3
BASELINE, WARM, COLD = "bare script", "conform, warm store", "conform, cold store"

TEXT = f"""
`tests/benchmarks/bare_script.py` loads the module, runs it in eager float64 with a hook at every operator, runs one
ONNX Runtime session with all 69 tensors as outputs, and subtracts. Both sides read the same {SAMPLES} pictures from
.npy files, compare the same 69 tensors of each, and are cold processes on byte-compiled sources; the median of {PAIRS}
rounds in turns, after one that is discarded. **The cold store is the one that counts: there both sides compute the
float64 golden.** conform computes float32's rounding and the derived error of each operator in addition, keeps 66 MB
of golden for each sample, runs the untouched graph beside the tapped one, and writes its report.
"""


def sides(made: Prepared) -> tuple[Side, ...]:
    """The three that take turns; the cold one leaves the store that the warm one finds."""
    cache = made.folder / "cache"

    def ours(name: str, golden: str) -> Side:
        out = made.folder / golden
        return Side(
            name=name,
            command=conform("run", "--model", made.model, "--backends", "ort", "--inputs", made.inputs, "--out", out),
            environment=environment(CONFORM_CACHE=str(cache)),
            prepare=emptied(cache) if golden == "computed" else lambda: None,
            check=measured_all(out, golden, NODES),
        )

    script = Path(__file__).with_name("bare_script.py")
    return (
        Side(name=BASELINE, command=[sys.executable, str(script), str(made.folder)], environment=environment()),
        ours(COLD, "computed"),
        ours(WARM, "store"),
    )


def measure() -> Section:
    """Seconds in turns."""
    with prepared(SAMPLES) as made:
        times = in_turns(sides(made), PAIRS)
    rows = [(name, f"{statistics.median(times[name]):.2f} s", f"{ratio(times, name, BASELINE):.2f}") for name in times]
    return Section(
        title=TITLE,
        figures=(
            Figure(what="seconds against a bare script, cold store", value=ratio(times, COLD, BASELINE), target=1.3),
            Figure(what="seconds against a bare script, warm store", value=ratio(times, WARM, BASELINE)),
        ),
        text=f"{TEXT}\n{table(('side', 'median', 'ratio'), rows)}",
    )


if __name__ == "__main__":
    sys.stdout.write(measure().markdown() + "\n")
