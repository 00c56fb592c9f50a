"""The whole matrix of noises on two real models, on PyTorch, ONNX Runtime and OpenVINO, beside reference figures.

Run: python tests/benchmarks/noise_matrices.py [FOLDER]. CONFORM_TEST_DATA names the folder with the labelled pictures
and FastestDet. FOLDER holds `lite0` and `fastestdet`, reports that are there already and are read in place of a run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cold import ROOT, conform, environment
from section import Figure, Section, table

from sysnoise_conform.models import fetch

TITLE = "The whole matrix on two real models"

BACKENDS = ("torch", "ort", "openvino:fp32")
SHOWN = 12  # the worst levels of a model
FINISHED = (0, 1, 5)

TEXT = """
`conform noise --noise default` with all its options, on all pictures of each data set, against PyTorch in float64 as
the baseline. Reference figures are those of other programs, which came with the data: the same pictures and the same
library, by hand. The backends agree: no cell's drop on ONNX Runtime or OpenVINO is further than {apart:.2f} points from
PyTorch's. Levels that are told are the worst of their axes; the 90 % intervals are paired. Nearly all of these JPEGs
hold chroma at full size (127 of 128, 382 of 500), so that decoders differ in their inverse transforms alone. int8 needs
pictures that are not judged, and is measured [above](#precision-what-the-end-task-loses).
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """A model with its pictures, where they lie, and what others have measured, in points by axis and level."""

    title: str
    card: str
    data: str
    combine: str
    metric: str
    target: float  # points from the reference
    reference: Mapping[tuple[str, str], float]


MATRICES: Mapping[str, Matrix] = {
    "lite0": Matrix(
        title="EfficientNet-Lite0", card="efficientnet-lite0.toml", data="imagenet-sample", metric="top-1",
        combine="pipeline,swap,greedy,shapley", target=0.2,
        reference={
            ("", ""): 88.8, ("resize", "pillow-nearest"): 87.4, ("resize", "opencv-bilinear"): 88.8,
            ("resize", "opencv-nearest"): 86.4, ("resize", "opencv-area"): 88.6, ("input_colour", "opencv-i420"): 88.0,
        },
    ),
    "fastestdet": Matrix(
        title="FastestDet", card="fastestdet.toml", data="coco128-val", metric="AP", combine="pipeline,swap",
        target=0.1,
        reference={
            ("", ""): 19.07, ("resize", "opencv-area"): 18.26, ("resize", "opencv-nearest"): 17.90,
            ("resize", "pillow-bilinear"): 18.22, ("resize", "pillow-nearest"): 17.77, ("upsample", "linear"): 17.60,
            ("colour", "opencv-i420"): 19.00,
        },
    ),
}  # fmt: skip


def measure() -> Section:
    """Both, or those that lie in the folder that the command names."""
    given = Path(sys.argv[1]) if __name__ == "__main__" and len(sys.argv) > 1 else None
    if given is None and not os.environ.get("CONFORM_TEST_DATA"):
        return Section(title=TITLE, figures=(), text="Not measured: CONFORM_TEST_DATA names no labelled pictures.")
    if given is not None:
        return section(given)
    with tempfile.TemporaryDirectory() as folder:
        for name, each in MATRICES.items():
            _run(each, Path(folder) / name)
        return section(Path(folder))


def section(folder: Path) -> Section:
    """Of the reports in a folder."""
    found = {name: json.loads((folder / name / "noise.json").read_text(encoding="utf-8")) for name in MATRICES}
    parts = [TEXT.format(apart=max(_apart(each) for each in found.values())).strip()]
    figures = []
    for name, each in MATRICES.items():
        off = max(abs(_value(found[name], *at) - value) for at, value in each.reference.items())
        figures.append(
            Figure(what=f"{each.title}, furthest from a reference figure", value=off, unit="points", target=each.target)
        )
        parts.append(_told(each, found[name]))
    return Section(title=TITLE, figures=tuple(figures), text="\n\n".join(parts))


def _run(each: Matrix, out: Path) -> None:
    data = Path(os.environ["CONFORM_TEST_DATA"])
    model = data / "models" / "FastestDet.onnx"
    if each.card != "fastestdet.toml":
        model = fetch.fetch(each.card.removesuffix(".toml"), ROOT / ".demo")
    done = subprocess.run(
        conform(
            "noise", "--model", model, "--card", ROOT / "models" / "cards" / each.card, "--data", data / each.data,
            "--backends", ",".join(BACKENDS), "--noise", "default", "--combine", each.combine, "--out", out,
        ),
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in FINISHED:
        raise SystemExit(f"{each.title}: {done.stdout}{done.stderr}")


def _value(report: Mapping[str, Any], axis: str, level: str) -> float:
    if not axis:
        return float(report["baseline"][report["metric"]])
    (cell,) = (
        each for each in report["cells"] if (each["axis"], each["level"], each["backend"]) == (axis, level, "ort")
    )
    return float(cell["value"])


def _apart(report: Mapping[str, Any]) -> float:
    drops: dict[tuple[str, str], dict[str, float]] = {}
    for each in report["cells"]:
        if each["status"] == "measured":
            drops.setdefault((each["axis"], each["level"]), {})[each["backend"]] = each["delta"]
    known = (each for each in drops.values() if "torch" in each)
    return max(abs(drop - each["torch"]) for each in known for drop in each.values())


def _told(each: Matrix, report: Mapping[str, Any]) -> str:
    cells = [
        one for one in report["cells"]
        if one["backend"] == "ort" and one["status"] == "measured" and one["axis"] not in ("control", "backend")
    ]  # fmt: skip
    worst: dict[str, Mapping[str, Any]] = {}
    for one in sorted(cells, key=lambda one: -float(one["delta"])):
        worst.setdefault(one["axis"], one)
    rows = [
        (f"`{one['axis']}={one['level']}`", f"{one['value']:.2f}", f"{one['delta']:.2f}",
         f"{one['ci'][0]:.2f} to {one['ci'][1]:.2f}", one["verdict"])
        for one in list(worst.values())[:SHOWN]
    ]  # fmt: skip
    plan = report["plan"]
    beside = [
        (f"`{axis}={level}`" if axis else "the card's own way", f"{value:.2f}", f"{_value(report, axis, level):.2f}")
        for (axis, level), value in each.reference.items()
    ]
    measured = sum(one["status"] == "measured" for one in report["cells"])
    return "\n\n".join([
        f"### {each.title} on {report['samples']} pictures of {each.data}",
        f"{measured} cells with figures of {len(report['cells'])}, on {len(BACKENDS)} backends; {plan['decodes']:,} "
        f"decodes, {plan['resizes']:,} resizes and {plan['inferences']:,} inferences, where each cell by itself takes\n"
        f"{plan['naive_inferences']:,} of each.",
        table(("setting", f"{each.metric}, reference", f"{each.metric}, here"), beside),
        table(("worst level on ONNX Runtime", each.metric, "drop", "90 %", "verdict"), rows),
    ])  # fmt: skip


if __name__ == "__main__":
    print(measure().markdown())
