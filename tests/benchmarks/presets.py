"""What all presets cost in time: one pass of calibration and a conversion each, on a network of a ResNet-18's size.

Run: python tests/benchmarks/presets.py. How accurate they are is precision_accuracy.py's.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import onnx
from section import Figure, Section, table

from sysnoise_conform.case import Case, Limits
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.inputs import load_samples
from sysnoise_conform.precision.calibration import Calibration
from sysnoise_conform.precision.convert import convert
from sysnoise_conform.precision.observed import Ranges
from sysnoise_conform.precision.presets import PRESETS
from sysnoise_conform.precision.recipe import Recipe
from sysnoise_conform.runner import calibrating
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.pytorch import PyTorch

ROOT = Path(__file__).resolve().parents[2]

FLOATS = (Recipe(precision="fp16"), Recipe(precision="bf16"))
INTEGERS = tuple(Recipe(precision="int8", preset=name, observer=each.observer) for name, each in PRESETS.items())
LIMIT_S = 60.0
SAMPLES = 16  # of synthetic inputs that calibrate


def measured(calibration: Calibration, model: Model, recipes: tuple[Recipe, ...]) -> tuple[float, Ranges]:
    """What PyTorch saw of the calibration, and the seconds that it took, its start included."""
    with tempfile.TemporaryDirectory() as folder, Crew(Limits()) as crew, PyTorch(crew, Path(folder)) as pytorch:
        began = time.perf_counter()
        ranges = calibrating.measure(calibration, model, recipes, pytorch, threads=0)
        return time.perf_counter() - began, ranges


def measure() -> Section:
    """All presets, one pass; and how many of their convolutions ONNX Runtime takes in integers."""
    sys.path.insert(0, str(ROOT / "tests"))
    import networks
    import torch

    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet.onnx"
        networks.exported(networks.resnet18(), torch.zeros(1, 3, 224, 224), path)
        began = time.perf_counter()
        model = open_model(path)
        judged = load_samples(model, inputs=None, card=None, samples=4, seed=0, shapes={})
        _, calibration = calibrating.choose(Case(model=path, variants=()), model, None, judged, None)
        assert calibration is not None
        assert len(calibration.samples) == SAMPLES
        pass_s, ranges = measured(calibration, model, INTEGERS)
        made = []
        for recipe in INTEGERS:
            start = time.perf_counter()
            found = convert(model, recipe, ranges)
            found.opened(Path(folder), f"{recipe.preset}.onnx")
            made.append((recipe, found.proto, time.perf_counter() - start))
        took = time.perf_counter() - began
        for recipe, proto, seconds in made:
            kept = operators(proto, Path(folder) / "optimised.onnx")
            convolutions = sum(each.op_type == "Conv" for each in proto.graph.node)
            integers = f"{kept['QLinearConv']} of {convolutions}"
            rows.append((f"`{recipe.preset}`, {recipe.observer}", f"{seconds:.2f}", integers))
    figures = (
        Figure(what="all presets, default observer, 16 samples", value=took, unit="s", target=LIMIT_S),
        Figure(what="of these the one pass of PyTorch over the samples", value=pass_s, unit="s"),
    )
    return Section(title=TITLE, figures=figures, text=f"{ABOUT}\n\n{table(HEAD, rows)}")


def operators(proto: onnx.ModelProto, target: Path) -> Counter[str]:
    """The operators of the graph that ONNX Runtime's optimiser leaves, by type."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3  # it warns that such a file is for this machine alone
    onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(each.op_type for each in onnx.load(target).graph.node)


TITLE = "Precision: what all presets cost in time"
HEAD = ("preset, observer", "converted in s", "convolutions that ONNX Runtime runs in integers")
ABOUT = """A ResNet-18 of random weights, 224 x 224, 16 synthetic samples: one pass of PyTorch serves every preset and
observer; each graph is converted, written, opened and checked. The last column is read from the graph that the
optimiser leaves: whether a convolution has an integer kernel hangs on where the preset has its roundings."""


if __name__ == "__main__":
    print(measure().markdown())
