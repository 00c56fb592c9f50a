"""Runs benchmarks and writes docs/benchmarks.md; `make bench` is all of them.

Run: python tests/benchmarks/write_page.py [--only NAME ...] [PAGE], on a machine that does nothing else: two hours for
all of them. With --only the sections of these modules are measured anew, and all others stay as they are on the page.
CONFORM_TEST_DATA names the folder with the labelled pictures.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import against_bare_script
import against_polygraphy
import against_reduce
import by_size
import golden_speed
import memory
import minilm
import noise_bootstrap
import noise_kills
import noise_matrices
import noise_memory
import noise_plan
import paper_tables
import precision_accuracy
import precision_outcomes
import presets
import profile_run
import startup
from cold import ROOT
from section import FIGURES_HEAD

from sysnoise_conform.runner.provenance import processor, usable_cores, versions

BENCHMARKS = (
    against_polygraphy, against_bare_script, against_reduce, by_size, memory, startup, golden_speed, profile_run,
    noise_matrices, noise_plan, noise_memory, noise_kills, noise_bootstrap, presets, precision_accuracy,
    precision_outcomes, minilm, paper_tables,
)  # fmt: skip
_TARGETED = re.compile(r"\| ≤ .* \| (yes|\*\*no\*\*) \|$")
SHOWN_VERSIONS = ("onnxruntime", "torch", "onnx", "numpy", "polars")


def memory_gb() -> float:
    """The machine's memory in GB."""
    line = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()[0]
    return int(line.split()[1]) * 1024 / 1e9


def machine() -> str:
    """What the figures hang on."""
    name, flags = processor()
    installed = ", ".join(f"{each} {versions().get(each, 'not installed')}" for each in SHOWN_VERSIONS)
    return f"""{name}, {usable_cores()} cores, {memory_gb():.0f} GB of memory; {', '.join(flags)}; Python \
{sys.version.split()[0]}, {installed}"""


def sections_of(page: str) -> dict[str, str]:
    """The sections that stand on a page, by title."""
    _, *parts = re.split(r"^## ", page, flags=re.MULTILINE)
    return {part.splitlines()[0].strip(): f"## {part.strip()}" for part in parts}


def page(sections: Mapping[str, str]) -> str:
    """The whole page, with the rows of all figures that have a target first."""
    titles = [each.TITLE for each in BENCHMARKS if each.TITLE in sections]
    rows = [row for title in titles for row in sections[title].splitlines() if _TARGETED.search(row)]
    head = f"""# Benchmarks

Written by `make bench`; do not edit it by hand. Each figure with a target is a ratio within one run on one machine, or
says its unit; each section says when and where it was measured. How surely a diagnosis names the operator stands on
[a page of its own](located.md).

{FIGURES_HEAD}"""
    return "\n\n".join(["\n".join([head, *rows]), *(sections[title] for title in titles)]) + "\n"


def main() -> None:
    """Measure and write; what is done is written at once."""
    parser = argparse.ArgumentParser(description="Run benchmarks and write the page.")
    parser.add_argument("--only", nargs="+", choices=[each.__name__ for each in BENCHMARKS])
    parser.add_argument("page", nargs="?", type=Path, default=ROOT / "docs" / "benchmarks.md")
    asked = parser.parse_args()
    sections = sections_of(asked.page.read_text(encoding="utf-8")) if asked.only else {}
    for benchmark in BENCHMARKS:
        if asked.only is None or benchmark.__name__ in asked.only:
            sys.stderr.write(f"{benchmark.__name__}\n")
            text = benchmark.measure().markdown()
            sections[benchmark.TITLE] = f"{text}\n\nMeasured on {date.today():%Y-%m-%d}: {machine()}."
            asked.page.write_text(page(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
