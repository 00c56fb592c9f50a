"""Which design of a classifier loses what to which noise: variants of tiny-cls in width, depth, stem and block.

Run: python tests/benchmarks/architectures.py [--designs LIST] [--seeds LIST] [--page docs/architectures.md].

Trains (a minute of one core for each network of tiny-cls's size), runs `conform noise`, and writes what was measured.
What is finished is kept in --work, so that the same command goes on where it was ended; nothing of it is committed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.architecture.designs import DELIVERED, DESIGNS, SEEDS
from benchmarks.architecture.judged import SAMPLES, judged
from benchmarks.architecture.page import ORDERS, measured, written
from benchmarks.architecture.trained import trained
from benchmarks.cold import ROOT

from sysnoise_conform.models.tiny.recipe import CLASSIFIER


def main() -> None:
    """Train, measure, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--designs", default=",".join(DESIGNS), help="only these are made; then nothing is compared")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--rounds", type=int, default=CLASSIFIER.rounds, help="how often each picture is seen")
    parser.add_argument("--training", type=int, default=CLASSIFIER.training, help="how many pictures are")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="how many held-out pictures are judged")
    parser.add_argument("--work", type=Path, default=ROOT / ".demo" / "architectures")
    parser.add_argument("--page", type=Path, help="write under its heading in place of printing")
    given = parser.parse_args()
    names, seeds = given.designs.split(","), [int(each) for each in given.seeds.split(",")]
    unknown = [each for each in names if each not in DESIGNS]
    if unknown:
        parser.error(f"there is no design {unknown[0]!r}; there are {', '.join(DESIGNS)}")
    recipe = replace(CLASSIFIER, rounds=given.rounds, training=given.training)
    networks = {
        name: {seed: judged(trained(name, seed, given.work, recipe), given.samples) for seed in seeds} for name in names
    }
    needed = {DELIVERED, *(each for names in ORDERS.values() for each in names)}
    if not needed <= set(networks):
        return
    if given.page is None:
        sys.stdout.write(measured(networks))
    else:
        written(given.page, networks)


if __name__ == "__main__":
    main()
