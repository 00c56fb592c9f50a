"""Calibrates the policy's defaults, tries them on networks that they were not made from, writes docs/calibration.md.

Run: python tests/calibration/calibrate.py [--work FOLDER] [--page PAGE]. Every healthy run and every fault leaves a
report in the work folder, so that an interrupted calibration goes on, and `--tables` judges what is there again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calibration.page import page
from calibration.sets import TABLES
from calibration.work import Work

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Measure what is missing, write the page, and say whether the defaults hold."""
    arguments = _arguments()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="calibration-"))
    os.environ["CONFORM_CACHE"] = str(work / "cache")
    sets = [Work(work, name) for name in TABLES]
    if not arguments.tables:
        for each in sets:
            for line in each.measure(networks=arguments.networks, reruns=arguments.reruns):
                print(line, file=sys.stderr, flush=True)
    text, holds = page(sets)
    print(text)
    arguments.page.write_text(text)
    raise SystemExit(0 if holds else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Runs disjoint sets of small networks through every runtime, healthy and with planted faults, "
        "judges them by the policy's defaults and writes the tables. Exit status 1: the defaults do not hold.",
        epilog="The limits follow from 'calibration', a rule each from the next two sets; 'held-out' was tried once.",
    )
    parser.add_argument("--work", type=Path, help="folder for the reports; what is in it is not measured again")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "calibration.md", help="where the page goes")
    parser.add_argument("--tables", action="store_true", help="measure nothing, judge what the work folder holds")
    parser.add_argument("--networks", type=int, help="only so many networks of each set")
    parser.add_argument("--reruns", type=int, default=50, help="how often a run is repeated (50)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
