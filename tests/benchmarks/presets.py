"""What each precision and preset costs: seconds on a ResNet-18, top-1 on EfficientNet-Lite0; prints the tables.

Run: python tests/benchmarks/presets.py [time|accuracy]. The accuracy needs the ImageNet sample of CONFORM_TEST_DATA:
images of class 10, 30, ... 950 calibrate, the others are judged. Converted graphs run on ONNX Runtime, which computes
Q/DQ graphs in integers and fp16 graphs in float32; bfloat16, which it does not run, in PyTorch's float32 run of the
golden.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from sysnoise_conform.case import Case, Limits
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.inputs import load_samples
from sysnoise_conform.models.fetch import card, fetch
from sysnoise_conform.precision.calibration import Calibration, subset
from sysnoise_conform.precision.convert import convert
from sysnoise_conform.precision.presets import OF_BACKEND, PRESETS
from sysnoise_conform.precision.recipe import Recipe
from sysnoise_conform.runner import calibrating
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.pytorch import PyTorch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

FLOATS = (Recipe(precision="fp16"), Recipe(precision="bf16"))
INTEGERS = tuple(Recipe(precision="int8", preset=name, observer=each.observer) for name, each in PRESETS.items())
Run = Callable[[dict[str, np.ndarray]], np.ndarray]


def measured(calibration: Calibration, model: Model, recipes: tuple[Recipe, ...]) -> tuple[float, object]:
    with tempfile.TemporaryDirectory() as folder, Crew(Limits()) as crew, PyTorch(crew, Path(folder)) as pytorch:
        began = time.perf_counter()
        ranges = calibrating.measure(calibration, model, recipes, pytorch, threads=0)
        return time.perf_counter() - began, ranges


def seconds() -> None:
    """All presets with their own observers, 16 samples, one pass."""
    import networks
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet.onnx"
        networks.exported(networks.resnet18(), torch.zeros(1, 3, 224, 224), path)
        began = time.perf_counter()
        model = open_model(path)
        judged = load_samples(model, inputs=None, card=None, samples=4, seed=0, shapes={})
        _, calibration = calibrating.choose(Case(model=path, variants=()), model, None, judged, None)
        pass_s, ranges = measured(calibration, model, INTEGERS)
        print(f"| one pass of PyTorch over {len(calibration.samples)} samples, its start included | {pass_s:.1f} |")
        for recipe in (*INTEGERS, *FLOATS):
            start = time.perf_counter()
            convert(model, recipe, ranges).opened(Path(folder), f"{recipe.precision}{recipe.preset}.onnx")  # type: ignore[arg-type]
            print(f"| {recipe.preset or recipe.precision}: converted, written, opened and checked | "
                  f"{time.perf_counter() - start:.1f} |")
        print(f"| all | {time.perf_counter() - began:.1f} |")


def on_onnxruntime(proto: onnx.ModelProto) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)[0]


def on_pytorch(proto: onnx.ModelProto) -> Run:
    from sysnoise_conform.golden.executor import Executor, Mode, to_numpy

    executor = Executor(proto, Mode.FLOAT32)
    name = proto.graph.output[0].name
    return lambda feed: to_numpy(executor.run(feed)[name])  # type: ignore[arg-type]


def accuracy() -> None:
    named = os.environ.get("CONFORM_TEST_DATA")
    if not named:
        raise SystemExit("set CONFORM_TEST_DATA: the accuracy needs its imagenet-sample")
    data = Path(named) / "imagenet-sample"
    path = fetch("efficientnet-lite0", ROOT / ".demo")
    model = open_model(path)
    everything = load_samples(
        model, inputs=data, card=card("efficientnet-lite0"), samples=None, seed=0, shapes={}
    )
    with (data / "labels.csv").open() as stream:
        labels = {each["file"]: int(each["class_index"]) for each in csv.DictReader(stream)}
    held = tuple(at for at, name in enumerate(everything.names) if labels[name] in range(10, 951, 20))
    judged = subset(everything, tuple(at for at in range(len(everything)) if at not in held))
    calibration = Calibration(samples=subset(everything, held), origin="given")
    pass_s, ranges = measured(calibration, model, INTEGERS)
    print(f"{len(judged)} images judged, {len(held)} calibrate ({pass_s:.1f} s)\n")
    truth = np.array([labels[each] for each in judged.names])
    print("| precision | run by | top-1 | flips (lost, won) | SQNR of the logits, dB | worst weight, dB |")
    print("|---|---|---|---|---|---|")
    feeds = [judged.feed(number) for number in range(len(judged))]  # decoded once
    exact = logits(on_onnxruntime(model.proto), feeds)
    row("fp32", "ONNX Runtime", exact, exact, truth, None)
    for recipe in (*INTEGERS, *FLOATS):
        found = convert(model, recipe, ranges)  # type: ignore[arg-type]
        run = on_pytorch(found.proto) if recipe.precision == "bf16" else on_onnxruntime(found.proto)
        worst = min(each["sqnr_db"] for each in found.record["weights"] if each["sqnr_db"])
        by = "PyTorch, float32" if recipe.precision == "bf16" else "ONNX Runtime"
        row(str(recipe), by, logits(run, feeds), exact, truth, worst)


def logits(run: Run, feeds: list[dict[str, np.ndarray]]) -> np.ndarray:
    return np.concatenate([run(feed) for feed in feeds])


def row(
    name: str, by: str, found: np.ndarray, exact: np.ndarray, truth: np.ndarray, worst: float | None
) -> None:
    first, before = found.argmax(1), exact.argmax(1)
    lost = int(((before == truth) & (first != truth)).sum())
    won = int(((before != truth) & (first == truth)).sum())
    noise = float(np.square(found.astype(np.float64) - exact).sum())
    sqnr = f"{10 * np.log10(float(np.square(exact.astype(np.float64)).sum()) / noise):.1f}" if noise else ""
    flips, told = int((first != before).sum()), "" if worst is None else f"{worst:.1f}"
    top = 100 * float((first == truth).mean())
    print(f"| {name} | {by} | {top:.2f} | {flips} ({lost}, {won}) | {sqnr} | {told} |", flush=True)


if __name__ == "__main__":
    assert set(OF_BACKEND.values()) <= set(PRESETS)
    asked = sys.argv[1:] or ["time", "accuracy"]
    if "time" in asked:
        print("| step | s |\n|---|---|")
        seconds()
    if "accuracy" in asked:
        accuracy()
