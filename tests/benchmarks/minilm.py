"""all-MiniLM-L6-v2 on BIG-bench by `conform noise --task choose`, against reference figures of another program.

Run: python tests/benchmarks/minilm.py [QUESTIONS]; CONFORM_TEST_DATA names the folder with BIG-bench's tasks. With at
most QUESTIONS of each task it is a trial, and nothing is held against the reference.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cold import ROOT, conform
from real_models import test_data
from section import Figure, Section, table

TITLE = "Language: MiniLM on BIG-bench"

TOKENS = 128
FACTORY = "sysnoise_conform.models.minilm:minilm"
MODEL = ROOT / ".demo" / "minilm-128" / "all-minilm-l6-v2.onnx"
TARGET = 0.5  # points
INCONCLUSIVE = (0, 1, 5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """Accuracies in per cent on the first `questions` of a task, measured beforehand with ONNX Runtime alone."""

    questions: int
    whole: float
    half: float
    integers: float  # quantize_dynamic, QInt8; how its texts were put into batches is not known


REFERENCES = {
    "social_iqa": Reference(questions=400, whole=42.2, half=42.2, integers=39.0),
    "similarities_abstraction": Reference(questions=76, whole=72.4, half=72.4, integers=67.1),
    "physical_intuition": Reference(questions=81, whole=54.3, half=54.3, integers=43.2),
    "general_knowledge": Reference(questions=70, whole=47.1, half=47.1, integers=45.7),
    "emoji_movie": Reference(questions=100, whole=28.0, half=28.0, integers=23.0),
    "figure_of_speech_detection": Reference(questions=59, whole=22.0, half=22.0, integers=16.9),
}

TEXT = """
The network with 128 tokens, one text at a time, ONNX Runtime with one thread. float16 is `--noise precision=fp16`; the
reference rounded the weights alone. INT8 is the file that `onnxruntime.quantization.quantize_dynamic` makes (QInt8), as
in the reference. A dynamic range is that of whatever is run together, so figures of INT8 hang on how texts are padded
and put into batches, which is not known of the reference; on the last five of these tasks other batches (one text, a
question with its options, 8 to 128 texts) gave 67.1 to 71.1, 43.2 to 48.1, 42.9 to 51.4, 23.0 to 28.0 and 15.3 to
20.3 %, in the order of the table.

{rows}
"""


def model() -> Path:
    """The network, exported once, with card and tokenizer beside it."""
    from sysnoise_conform.models.fetch import fetch

    if not MODEL.is_file():
        MODEL.parent.mkdir(parents=True, exist_ok=True)
        fetched = fetch("all-minilm-l6-v2", ROOT / ".demo")
        shapes = [f"--shape={name}=1,{TOKENS}" for name in ("input_ids", "attention_mask")]
        kinds = [f"--dtype={name}=int64" for name in ("input_ids", "attention_mask")]
        subprocess.run(
            conform("export", "--torch", FACTORY, *shapes, *kinds, "--out", MODEL), check=True, capture_output=True
        )
        tokenizer = "all-minilm-l6-v2.tokenizer.json"
        MODEL.with_name(tokenizer).write_bytes(fetched.with_name(tokenizer).read_bytes())
        text = fetched.with_suffix(".toml").read_text(encoding="utf-8")
        MODEL.with_suffix(".toml").write_text(text.split("[shapes]")[0], encoding="utf-8")
    return MODEL


def quantised(whole: Path, folder: Path) -> Path:
    """The same with dynamic INT8, its card and tokenizer beside it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = folder / whole.name
    quantize_dynamic(whole, target, weight_type=QuantType.QInt8)
    for suffix in (".toml", ".tokenizer.json"):
        target.with_suffix(suffix).write_bytes(whole.with_suffix(suffix).read_bytes())
    return target


def first(task: str, questions: int, folder: Path) -> Path:
    """The first so many questions of a task, as a task."""
    whole = json.loads((test_data() / "bigbench" / task / "task.json").read_text(encoding="utf-8"))
    place = folder / f"{task}.json"
    place.write_text(json.dumps(whole | {"examples": whole["examples"][:questions]}), encoding="utf-8")
    return place


def accuracies(network: Path, data: Path, out: Path, noise: str) -> dict[str, float]:
    """By level, in per cent; `card` is the network's own."""
    command = conform(
        "noise", "--model", network, "--data", data, "--task", "choose", "--backends", "ort", "--baseline", "ort",
        "--noise", noise, "--combine", "none", "--out", out,
    )  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in INCONCLUSIVE:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    found = json.loads((out / "noise.json").read_text(encoding="utf-8"))
    cells = {each["level"]: each["value"] for each in found["cells"] if each["axis"] == "precision"}
    return {"card": found["baseline"]["acc"], **{level: value for level, value in cells.items() if value is not None}}


def measure(most: int | None = None) -> Section:
    """Every task in float32, float16 and INT8."""
    rows: list[list[str]] = []
    off = {"float32": 0.0, "float16": 0.0, "INT8": 0.0}
    with tempfile.TemporaryDirectory(prefix="conform-minilm-") as scratch:
        folder = Path(scratch)
        (folder / "int8").mkdir()
        whole, integers = model(), quantised(model(), folder / "int8")
        for task, reference in REFERENCES.items():
            count = reference.questions if most is None else min(most, reference.questions)
            data = first(task, count, folder)
            found = accuracies(whole, data, folder / "out", "precision=fp16")
            other = accuracies(integers, data, folder / "out", "precision=fp16")["card"]
            measured = (found["card"], found["fp16"], other)
            wanted = (reference.whole, reference.half, reference.integers)
            for name, is_, was in zip(off, measured, wanted, strict=True):
                off[name] = max(off[name], abs(is_ - was))
            sys.stderr.write(f"{task}: {measured} for {wanted}\n")
            rows.append([f"{task} ({count})", *(f"{a:.1f} ({b:.1f})" for a, b in zip(measured, wanted, strict=True))])
    head = ["task (questions)", *(f"{name} (reference)" for name in off)]
    figures = tuple(
        Figure(what=f"MiniLM on BIG-bench, {name}: the most that a task is off its reference", value=value,
               unit="points", target=TARGET)
        for name, value in off.items()
        if most is None
    )  # fmt: skip
    return Section(title=TITLE, figures=figures, text=TEXT.format(rows=table(head, rows)))


if __name__ == "__main__":
    sys.stdout.write(measure(int(sys.argv[1]) if len(sys.argv) > 1 else None).markdown() + "\n")
