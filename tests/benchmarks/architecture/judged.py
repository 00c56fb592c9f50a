"""What `conform noise` says of a trained network, on the held-out pictures of tiny-cls; picture by picture, too."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.architecture.trained import MODEL
from benchmarks.cold import conform, environment

from sysnoise_conform.matrix.journal import Journal
from sysnoise_conform.models.tiny import held_out
from sysnoise_conform.report.folder import JOURNAL

SAMPLES = 500
# The paper's choices, and of ours those that imitate hardware: few enough that every network meets all of them.
NOISES: Mapping[str, tuple[str, ...]] = {
    "decoder": ("opencv", "ffmpeg", "turbo-fast"),
    "resize": (
        "pillow-nearest", "pillow-box", "pillow-hamming", "pillow-bicubic", "pillow-lanczos", "opencv-nearest",
        "opencv-bilinear", "opencv-area", "opencv-bicubic", "opencv-lanczos",
    ),
    "colour": ("bt601-narrow-444-integer", "bt601-narrow-nv12", "range-full-as-narrow"),
    "ceil_mode": ("ceil",),
    "precision": ("fp16", "int8"),
}  # fmt: skip
_BASELINE = "ort|"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """`told` is noise.json. `lost`: of each axis=level what each picture lost, 1, 0, or -1 for a gain."""

    told: Mapping[str, Any]
    lost: Mapping[str, np.ndarray]

    @property
    def top1(self) -> float:
        """Without any noise, in percent."""
        return float(self.told["baseline"]["top1"])

    def cell(self, axis: str, level: str) -> Mapping[str, Any]:
        """noise.json's, of one level."""
        return next(each for each in self.told["cells"] if (each["axis"], each["level"]) == (axis, level))

    def worst(self, axis: str) -> Mapping[str, Any] | None:
        """The cell of the level that costs most; None where the network has nothing that the noise could change."""
        cells = [self.cell(axis, level) for level in NOISES[axis]]
        return max((each for each in cells if each["delta"] is not None), key=lambda each: each["delta"], default=None)


def judged(folder: Path, samples: int = SAMPLES) -> Judged:
    """The network in a folder, measured unless it has been on as many pictures."""
    report = folder / "noise"
    found = report / "noise.json"
    if not found.exists() or json.loads(found.read_text())["samples"] != samples:
        shutil.rmtree(report, ignore_errors=True)
        _measure(folder, report, samples)
    told = json.loads(found.read_text())
    names = [f"{axis}={level}" for axis, levels in NOISES.items() for level in levels]
    right = _right(report, [_BASELINE, *(_BASELINE + each for each in names)], samples)
    base = right[_BASELINE]
    # without effect: nothing of any picture is lost
    lost = {each: base - right.get(_BASELINE + each, base) for each in names}
    return Judged(told=told, lost=lost)


def _measure(folder: Path, report: Path, samples: int) -> None:
    levels = ",".join(f"{axis}={level}" for axis, known in NOISES.items() for level in known)
    data, ranges = (held_out.data("tiny-cls", part).folder for part in ("held-out", "calibration"))
    done = subprocess.run(
        conform(
            "noise", "--model", folder / MODEL, "--data", data, "--backends", "ort", "--baseline", "ort",
            "--noise", levels, "--combine", "pipeline", "--samples", str(samples),
            "--calibration", ranges, "--out", report,
        ), capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    if not (report / "noise.json").exists():
        raise SystemExit(f"conform noise ended with {done.returncode} on {folder.name}: {done.stderr}")


def _right(report: Path, cells: list[str], samples: int) -> dict[str, np.ndarray]:
    """Of each cell that was run, whether each picture's class is found."""
    with (held_out.data("tiny-cls").folder / "labels.csv").open() as file:
        labels = [int(row["class_index"]) for row in csv.DictReader(file)]
    chosen = [labels[at * len(labels) // samples] for at in range(samples)]
    with closing(sqlite3.connect(report / JOURNAL)) as base:
        (identity,) = base.execute("SELECT identity FROM about").fetchone()
    found = {}
    with Journal(report, identity, resume=True) as journal:
        for cell in cells:
            results = journal.results(cell, range(samples))
            if all(each is not None for each in results):
                top = [int(each["top"][0]) for each in results if each is not None]
                found[cell] = np.array([a == b for a, b in zip(top, chosen, strict=True)], np.int64)
    return found
