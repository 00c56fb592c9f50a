"""Real pretrained models over every real runtime, through the command line; writes docs/real-models.md.

Run: python tests/benchmarks/real_models.py [PAGE]. Models and photographs are fetched once into .demo/; FastestDet,
the COCO pictures and the speech come from the folder that CONFORM_TEST_DATA names, which is therefore needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
import wave
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import resample_poly

import sysnoise_conform.models
from sysnoise_conform.models.fetch import fetch
from sysnoise_conform.models.photographs import photographs
from sysnoise_conform.reports.wording import number
from sysnoise_conform.runner.provenance import processor, usable_cores, versions

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / ".demo"
CARDS = Path(sysnoise_conform.models.__file__).parent / "cards"
RUNTIMES = "ort,openvino,tflite,mnn"
SHOWN_VERSIONS = ("onnxruntime", "openvino", "ai-edge-litert", "onnx2tf", "MNN", "torch", "onnx", "numpy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One table of the page: a model on inputs; `arguments` is made in a scratch folder."""

    title: str
    inputs: str
    model: Callable[[], Path]
    arguments: Callable[[Path], list[str]]
    backends: str = RUNTIMES


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What a job's run gave; seconds of the whole command, the golden in it or not."""

    job: Job
    summary: dict[str, Any]
    seconds: float


def speech(scratch: Path) -> Path:
    """The loudest blocks of four utterances at 16 kHz as samples of silero-vad, the state at rest."""
    folder = scratch / "speech"
    folder.mkdir()
    for number_, path in enumerate(sorted((test_data() / "speech").glob("*.wav"))[:4]):
        with wave.open(str(path)) as stream:
            rate, pcm = stream.getframerate(), stream.readframes(stream.getnframes())
        sound = resample_poly(np.frombuffer(pcm, "<i2") / 2**15, 16000, rate)
        blocks = sound[: len(sound) // 576 * 576].reshape(-1, 576).astype(np.float32)
        loudest = blocks[(blocks**2).sum(1).argmax()]
        np.savez(folder / f"{number_}.npz", input=loudest[None], state=np.zeros((2, 1, 128), np.float32))
    return folder


def test_data() -> Path:
    """The folder with real labelled images, models and speech."""
    named = os.environ.get("CONFORM_TEST_DATA")
    if not named:
        raise SystemExit("set CONFORM_TEST_DATA: without it the page would lose FastestDet and the speech")
    return Path(named)


def get(name: str) -> Callable[[], Path]:
    """A model that is fetched by its card's name."""
    return lambda: fetch(name, DEMO)


def pictures(count: int, *more: str) -> list[str]:
    """The arguments for the first `count` photographs."""
    return ["--inputs", str(photographs(DEMO / "photographs")), "--samples", str(count), *more]


JOBS = (
    Job(
        title="PP-OCRv4 det, a text detector on an FPN",
        inputs="2 photographs at 320 x 320",
        model=get("ppocr-v4-det"),
        arguments=lambda _: pictures(2, "--shape", "x=1,3,320,320"),
    ),
    Job(
        title="EfficientNet-Lite0, exported by `conform export`",
        inputs="2 photographs at 224 x 224",
        model=get("efficientnet-lite0"),
        arguments=lambda _: pictures(2),
        backends=f"{RUNTIMES},openvino:auto",
    ),
    Job(
        title="FastestDet, an object detector",
        inputs="2 pictures of COCO at 352 x 352",
        model=lambda: test_data() / "models" / "FastestDet.onnx",
        arguments=lambda _: [
            "--card", str(CARDS / "fastestdet.toml"),
            "--inputs", str(test_data() / "coco128-val" / "images"), "--samples", "2",
        ],
    ),
    Job(
        title="silero-vad, an LSTM on audio, `sr` bound to 16000",
        inputs="4 blocks of speech of 576 values",
        model=get("silero-vad"),
        arguments=lambda scratch: ["--inputs", str(speech(scratch)), "--input", "sr=16000"],
    ),
    Job(
        title="PP-OCRv4 rec, a text recogniser",
        inputs="2 synthetic, 48 x 160",
        model=get("ppocr-v4-rec"),
        arguments=lambda _: ["--shape", "x=1,3,48,160", "--samples", "2"],
    ),
    Job(
        title="PP-OCR v2.0 cls, the direction of a text line",
        inputs="2 synthetic, 48 x 192",
        model=get("ppocr-v2-cls"),
        arguments=lambda _: ["--samples", "2"],
    ),
    Job(
        title="all-MiniLM-L6-v2, a sentence encoder",
        inputs="2 synthetic, 64 tokens",
        model=get("all-minilm-l6-v2"),
        arguments=lambda _: ["--samples", "2"],
    ),
)


def measure(job: Job) -> Done:
    """Run the job through the real command line."""
    with tempfile.TemporaryDirectory(prefix="conform-real-") as folder:
        scratch = Path(folder)
        command = [
            sys.executable, "-P", "-c", "from sysnoise_conform.cli import main; main()", "run",
            "--model", str(job.model()), "--backends", job.backends, "--out", str(scratch / "out"),
            *job.arguments(scratch),
        ]
        begin = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - begin
        summary = scratch / "out" / "summary.json"
        if not summary.is_file():
            raise SystemExit(f"{job.title}: exit {done.returncode}: {done.stderr.strip()}")
        sys.stderr.write(f"{job.title}: exit {done.returncode}, {seconds:.0f} s\n")
        return Done(job=job, summary=json.loads(summary.read_text(encoding="utf-8")), seconds=seconds)


def row(variant: dict[str, Any]) -> str:
    """One variant as a row of its model's table."""
    name, verdict = f"`{variant['variant']}`", variant["verdict"]
    if variant["status"] != "measured":
        return f"| {name} | {verdict}, {variant['status']} | – | – | – | – | – |"
    units = [each["floor_units"] for each in variant["outputs"] if each["floor_units"] is not None]
    layers = variant["layers"]
    precision = variant["runtime"]["effective_precision"]
    cells = (
        name, verdict, number(max(units, default=None)), f"{layers['observable']} / {layers['total']}",
        f"`{layers['first_departure']}`" if layers["first_departure"] else "none", precision,
        f"{variant['seconds']['total']:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def remarks(variants: Sequence[dict[str, Any]]) -> list[str]:
    """What a row has no room for: why a runtime refused, what it did not show, what a user would notice."""
    said = []
    for variant in variants:
        name = f"`{variant['variant']}`"
        if variant["status"] != "measured":
            said.append(f"- {name}: {variant['reason']}")
            continue
        if variant["verdict"] != "PASS":
            said.append(f"- {name}: {variant['sentence']}")
        hidden = Counter(each["why"] for each in variant["layers"]["unobservable"])
        said += [f"- {name}: {count} layers not observable: {why}" for why, count in hidden.most_common()]
        if inner := variant["layers"]["inside_bodies"]:
            said.append(f"- {name}: {inner} more tensors inside bodies of If, Loop or Scan are not compared")
        figures = [f"{each['name']} {each['value']:g}" for each in variant["tasks"] if each["value"] is not None]
        if figures:
            said.append(f"- {name}: {', '.join(figures)}")
    return said


def section(done: Done) -> str:
    """One model."""
    model = done.summary["model"]
    asked = done.job.backends.split(",")
    variants = sorted(done.summary["variants"], key=lambda each: asked.index(each["variant"]))  # they come as they end
    lines = [
        f"## {done.job.title}",
        "",
        f"Inputs: {done.job.inputs}. {model['nodes']} nodes, opset {model['opset']}. "
        f"The whole command took {done.seconds:.0f} s, its golden was {done.summary['golden']['source']}.",
        "",
        "| runtime | verdict | worst output, floor units | layers compared | first departure | precision | seconds |",
        "|---|---|---:|---:|---|---|---:|",
        *(row(each) for each in variants),
    ]
    notes = remarks(variants)
    return "\n".join([*lines, "", _wrapped("\n".join(notes))]).rstrip()


def page(results: Sequence[Done]) -> str:
    """The whole page."""
    name, flags = processor()
    installed = versions()
    bfloat16 = [each for each in flags if "bf16" in each]
    auto = (
        f"The processor computes in bfloat16 ({', '.join(bfloat16)}): `openvino:auto` may choose it, see its row."
        if bfloat16
        else "**This processor has no bfloat16 instructions, so `openvino:auto` chose float32 by itself and conforms. "
        "How it is called out on a host that has them was not exercised here**; the test "
        "`test_bfloat16_by_default_is_called_out` does that where there is one, and says why it skips where not."
    )
    head = f"""
# Real models on real runtimes

Made by `python tests/benchmarks/real_models.py` on {datetime.now(UTC).date()}, through the command line
as a user has it. Do not edit it by hand.

- processor: {name}, {usable_cores()} cores; {', '.join(flags)}
- versions: {', '.join(f"{each} {installed.get(each, 'not installed')}" for each in SHOWN_VERSIONS)}

A floor unit is the rounding that PyTorch's own float32 has at that tensor ([the error model](error-model.md)); outputs
fail beyond 5 units, a unit being that floor or the derived sigma, whichever is larger; more where a tensor has few
elements. The first departure is the first layer in graph order beyond its limit. Seconds are a runtime's own:
conversion, compilation and all runs of both sessions (outputs, layers), on a machine that other work kept busy. Inputs
are small, so that the page is made within minutes; they are named at each model. A FAIL is a finding, see
[what MNN's is about](reading-a-report.md#a-case-that-went-through-it).

{auto}
"""
    return "\n\n".join([_wrapped(head.strip()), *(section(each) for each in results)]) + "\n"


def _wrapped(text: str) -> str:
    """Lines of at most 120 characters; a list's items hang, long names stay whole."""
    return "\n".join(
        textwrap.fill(
            line, 120, subsequent_indent="  " if line.startswith("- ") else "", break_on_hyphens=False,
            break_long_words=False,
        )
        for line in text.splitlines()
    )


def main() -> None:
    """Measure every job and write the page."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "real-models.md"
    target.write_text(page([measure(each) for each in JOBS]), encoding="utf-8")


if __name__ == "__main__":
    main()
