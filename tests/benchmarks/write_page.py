"""Runs every benchmark and writes docs/benchmarks.md; `make bench` is this.

Run: python tests/benchmarks/write_page.py [PAGE], on a machine that does nothing else: an hour and a half.
CONFORM_TEST_DATA names the folder with the labelled pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import against_bare_script
import against_polygraphy
import against_reduce
import by_size
import golden_speed
import memory
import minilm
import noise_bootstrap
import noise_memory
import noise_plan
import paper_tables
import precision_accuracy
import precision_outcomes
import presets
import profile_run
import startup
from cold import ROOT
from section import Section, figures_table

from sysnoise_conform.runner.provenance import processor, usable_cores, versions

BENCHMARKS = (
    against_polygraphy, against_bare_script, against_reduce, by_size, memory, startup, golden_speed, profile_run,
    noise_plan, noise_memory, noise_bootstrap, presets, precision_accuracy, precision_outcomes, minilm,
    paper_tables,
)  # fmt: skip
SHOWN_VERSIONS = ("onnxruntime", "torch", "onnx", "numpy", "polars")


def memory_gb() -> float:
    """The machine's memory in GB."""
    line = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()[0]
    return int(line.split()[1]) * 1024 / 1e9


def page(sections: list[Section]) -> str:
    """The whole page."""
    name, flags = processor()
    installed = ", ".join(f"{each} {versions().get(each, 'not installed')}" for each in SHOWN_VERSIONS)
    figures = [figure for section in sections for figure in section.figures if figure.target is not None]
    head = f"""# Benchmarks

Written by `make bench`; do not edit it by hand. Each figure with a target is a ratio within one run on one machine, or
says its unit. How surely a diagnosis names the operator stands on [a page of its own](located.md).

- processor: {name}, {usable_cores()} cores, {memory_gb():.0f} GB of memory; {', '.join(flags)}
- versions: Python {sys.version.split()[0]}, {installed}

{figures_table(figures)}"""
    return "\n\n".join([head, *(each.markdown() for each in sections)]) + "\n"


def main() -> None:
    """Measure and write."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "benchmarks.md"
    sections = []
    for benchmark in BENCHMARKS:
        sys.stderr.write(f"{benchmark.__name__}\n")
        sections.append(benchmark.measure())
    target.write_text(page(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
