"""The peak memory of `conform run` on few and on many samples, which must be the same.

Run: python tests/benchmarks/memory.py.
"""

from __future__ import annotations

import sys

from cold import Side, conform, emptied, environment, measured_all
from memory_peak import Peak, peak
from prepared import NODES, Prepared, prepared
from section import Figure, Section, table

TITLE = "Memory does not grow with the samples"

FEW, MANY = 8, 64
SIDE = 112  # pixels: 16.5 MB of float64 golden for each sample, 8 MB of activations
TOLERANCE = 1.05

TEXT = f"""
The peak of the sum of PSS over all processes, sampled every 20 ms by a separate process, on {FEW} and on {MANY} samples
of {SIDE} x {SIDE}: diffs are moments that are merged from sample to sample, and no tensor outlives its sample. Mapped
pages of goldens stand apart: they are page cache, which the system takes back when it needs it.
"""


def sides(made: Prepared, samples: int) -> tuple[Side, Side]:
    """The run that computes the golden, and the one that finds it."""
    cache = made.folder / "cache"

    def ours(golden: str) -> Side:
        out = made.folder / golden
        return Side(
            name=f"{samples} samples, golden {golden}",
            command=conform(
                "run", "--model", made.model, "--backends", "ort", "--inputs", made.inputs, "--samples", str(samples),
                "--out", out,
            ),
            environment=environment(CONFORM_CACHE=str(cache)),
            prepare=emptied(cache) if golden == "computed" else lambda: None,
            check=measured_all(out, golden, NODES),
        )

    return ours("computed"), ours("store")


def measure() -> Section:
    """Both counts, with a cold and with a warm store."""
    with prepared(MANY, side=SIDE) as made:
        peaks: dict[int, list[Peak]] = {count: [peak(each) for each in sides(made, count)] for count in (FEW, MANY)}
    rows, figures = [], []
    for number, store in enumerate(("cold", "warm")):
        few, many = (peaks[count][number] for count in (FEW, MANY))
        rows += [
            (f"{count} samples, {store} store", f"{each.rest:.0f} MiB", f"{each.golden:.0f} MiB")
            for count, each in ((FEW, few), (MANY, many))
        ]
        figures.append(
            Figure(
                what=f"memory on {MANY} samples against {FEW}, {store} store", value=many.rest / few.rest,
                target=TOLERANCE,
            )
        )
    return Section(
        title=TITLE,
        figures=tuple(figures),
        text=f"{TEXT}\n{table(('run', 'peak memory', 'golden pages'), rows)}",
    )


if __name__ == "__main__":
    sys.stdout.write(measure().markdown() + "\n")
