"""What becomes of real models in every precision on every runtime, through the command line; refusals in its words.

Run: python tests/benchmarks/precision_outcomes.py [--models N]. FastestDet and its pictures come from the folder that
CONFORM_TEST_DATA names; without it the page has no such section.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from real_models import JOBS, Done, Job
from real_models import measure as run
from section import Section, table

from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.wording import decibels, number

RUNTIMES = ("ort", "openvino", "tflite", "mnn")
PRECISIONS = ("fp16", "bf16", "int8")
MODELS = ("PP-OCRv4 det", "EfficientNet-Lite0", "FastestDet", "all-MiniLM-L6-v2")
HEAD = ("variant", "outcome", "really ran in", "design SQNR dB", "implementation, rel. L2", "why")
ABOUT = """Four models, each with the runtimes' own presets, on few inputs and without layers. Design is what the
conversion costs the worst output, PyTorch against PyTorch; implementation what the runtime adds. A runtime that takes
no such graph is told in its own words."""
TITLE = "Precision: outcomes on real models"


def jobs() -> list[Job]:
    """The jobs of the page of real models, with every precision in place of the model's own."""
    found = []
    for name in MODELS:
        (job,) = [each for each in JOBS if each.title.startswith(name)]
        backends = ",".join(f"{runtime}:{precision}" for precision in PRECISIONS for runtime in RUNTIMES)
        # A bound default, so that each job keeps its own arguments.
        found.append(replace(job, backends=backends, arguments=lambda scratch, job=job: [
            *job.arguments(scratch), "--no-layers",
        ]))  # fmt: skip
    return found


def measure(models: int | None = None) -> Section:
    """A table for each of the first `models`."""
    if not os.environ.get("CONFORM_TEST_DATA"):
        return Section(title=TITLE, figures=(), text="Not measured: CONFORM_TEST_DATA names no models and pictures.")
    parts = [ABOUT]
    for job in jobs()[:models]:
        sys.stderr.write(f"  {job.title}\n")
        parts.append(_of(run(job)))
    return Section(title=TITLE, figures=(), text="\n\n".join(parts))


def _of(done: Done) -> str:
    asked = done.job.backends.split(",")
    variants = sorted(done.summary["variants"], key=lambda each: asked.index(each["variant"]))
    return f"### {done.job.title}\n\nInputs: {done.job.inputs}.\n\n{table(HEAD, [_row(each) for each in variants])}"


def _row(variant: Mapping[str, Any]) -> tuple[str, ...]:
    name = f"`{variant['variant']}`"
    if variant["status"] != "measured":
        why = _cell(variant["reason"])
        return name, f"{variant['verdict']}, {variant['status']}", "", "", "", why
    parts = [each for each in variant["outputs"] if each["design"] is not None]
    design = min((each["design"]["sqnr_db"] for each in parts if each["design"]["sqnr_db"] is not None), default=None)
    off = max(
        (each["implementation"]["rel_l2"] for each in parts if each["implementation"]["rel_l2"] is not None),
        default=None,
    )
    why = "" if variant["verdict"] == "PASS" else _cell(variant["sentence"])
    ran_in = _cell(variant["runtime"]["effective_precision"])
    return name, variant["verdict"], ran_in, decibels(design), number(off), why


def _cell(text: str | None) -> str:
    return one_line(text or "", 240).replace("|", "/")


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int)
    print(measure(parser.parse_args().models).markdown())


if __name__ == "__main__":
    main()
