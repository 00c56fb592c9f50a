"""Top-1, flips and SQNR of EfficientNet-Lite0 in every precision and preset on every runtime that runs on a CPU.

Run: python tests/benchmarks/precision_accuracy.py [--images N] [--backends ort,openvino]. It needs the ImageNet sample
of CONFORM_TEST_DATA: images of class 10, 30, ... 950 calibrate, the others are judged. Without the data the page has
no such section.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from presets import FLOATS, INTEGERS, measured
from section import Section, table

from sysnoise_conform import registry
from sysnoise_conform.backend import Build, Session
from sysnoise_conform.errors import ConformError
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.inputs import Samples, load_samples
from sysnoise_conform.models.fetch import card, fetch
from sysnoise_conform.precision.calibration import Calibration, of_judged, subset
from sysnoise_conform.precision.convert import convert
from sysnoise_conform.precision.observed import Ranges
from sysnoise_conform.precision.recipe import INT8
from sysnoise_conform.printable import one_line

ROOT = Path(__file__).resolve().parents[2]
RUNTIMES = ("ort", "openvino", "tflite", "mnn")
Feed = dict[str, np.ndarray]
HEAD = ("precision", "runtime", "top-1 %", "flips (lost, won)", "SQNR dB", "worst weight dB", "really ran in")


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """The model in one precision; `worst` is the lowest SQNR of a weight after rounding, known before anything runs."""

    precision: str
    proto: onnx.ModelProto
    worst: float | None


def measure(images: int | None = None, runtimes: Sequence[str] = RUNTIMES) -> Section:
    """Every row; `images` bounds what is judged."""
    named = os.environ.get("CONFORM_TEST_DATA")
    if not named:
        return Section(title=TITLE, figures=(), text="Not measured: CONFORM_TEST_DATA names no labelled pictures.")
    model, judged, calibration, truth = _data(Path(named) / "imagenet-sample", images)
    _, ranges = measured(calibration, model, INTEGERS)
    _, extremes = measured(of_judged(judged), model, FLOATS)
    feeds = [judged.feed(number) for number in range(len(judged))]  # decoded once
    exact: np.ndarray | None = None
    rows = []
    for graph in graphs(model, ranges, extremes):
        for runtime in runtimes:
            sys.stderr.write(f"  {graph.precision} on {runtime}\n")
            found, ran_in = answers(runtime, graph.proto, feeds)
            if exact is None:  # float32 on the first runtime
                assert found is not None, ran_in
                exact = found
            rows.append(row(graph, runtime, found, exact, truth, ran_in))
    text = f"{len(judged)} images judged, {len(calibration.samples)} others calibrate, one pass for all presets.\n\n"
    return Section(title=TITLE, figures=(), text=f"{text}{ABOUT}\n\n{table(HEAD, rows)}")


def graphs(model: Model, ranges: Ranges, extremes: Ranges) -> list[Graph]:
    """The model as it is, and converted by every recipe."""
    found = [Graph(precision="fp32", proto=model.proto, worst=None)]
    for recipe in (*FLOATS, *INTEGERS):
        made = convert(model, recipe, ranges if recipe.precision == INT8 else extremes)
        worst = min(each["sqnr_db"] for each in made.record["weights"] if each["sqnr_db"])
        name = f"int8, {recipe.preset}, {recipe.observer}" if recipe.preset else recipe.precision
        found.append(Graph(precision=name, proto=made.proto, worst=worst))
    return found


def answers(runtime: str, proto: onnx.ModelProto, feeds: Sequence[Feed]) -> tuple[np.ndarray | None, str]:
    """The logits of all feeds and the precision that was read back; None and the runtime's words where it refuses."""
    with tempfile.TemporaryDirectory(prefix="conform-accuracy-") as folder:
        place = Path(folder)
        (place / "work").mkdir()
        path = place / "model.onnx"
        onnx.save(proto, path)
        first = feeds[0]
        build = Build(
            model=path, workdir=place / "work", threads=1, shapes={name: each.shape for name, each in first.items()},
            dtypes={name: each.dtype.name for name, each in first.items()},
        )  # fmt: skip
        session: Session | None = None
        try:
            session = registry.load(runtime)().compile(build)
            (name,) = [each.name for each in proto.graph.output]
            logits = np.concatenate([np.asarray(session.run(feed)[name]) for feed in feeds])
            return logits.reshape(len(feeds), -1), session.effective.precision
        except ConformError as refused:  # the runtime's own words: it refused, or its converter died
            return None, one_line(refused, 160)
        finally:
            if session is not None:
                session.close()


def row(
    graph: Graph, runtime: str, found: np.ndarray | None, exact: np.ndarray, truth: np.ndarray, ran_in: str
) -> tuple[str, ...]:
    """One line of the table."""
    worst = "" if graph.worst is None else f"{graph.worst:.1f}"
    if found is None:
        return graph.precision, runtime, "", "", "", worst, f"refused: {ran_in.replace('|', '/')}"
    first, before = found.argmax(1), exact.argmax(1)
    lost = int(((before == truth) & (first != truth)).sum())
    won = int(((before != truth) & (first == truth)).sum())
    noise = float(np.square(found.astype(np.float64) - exact).sum())
    sqnr = f"{10 * np.log10(float(np.square(exact.astype(np.float64)).sum()) / noise):.1f}" if noise else ""
    flips, top = f"{int((first != before).sum())} ({lost}, {won})", f"{100 * float((first == truth).mean()):.2f}"
    return graph.precision, runtime, top, flips, sqnr, worst, ran_in.replace("|", "/")


def _data(folder: Path, images: int | None) -> tuple[Model, Samples, Calibration, np.ndarray]:
    model = open_model(fetch("efficientnet-lite0", ROOT / ".demo"))
    everything = load_samples(model, inputs=folder, card=card("efficientnet-lite0"), samples=None, seed=0, shapes={})
    with (folder / "labels.csv").open() as stream:
        labels = {each["file"]: int(each["class_index"]) for each in csv.DictReader(stream)}
    held = tuple(at for at, name in enumerate(everything.names) if labels[name] in range(10, 951, 20))
    others = tuple(at for at in range(len(everything)) if at not in held)[:images]
    judged = subset(everything, others)
    calibration = Calibration(samples=subset(everything, held), origin="given")
    return model, judged, calibration, np.array([labels[each] for each in judged.names])


TITLE = "Precision: what the end task loses"
ABOUT = """EfficientNet-Lite0 on the ImageNet sample. Flips are images whose first class is another than that of float32
on the first runtime, in brackets those from right to wrong and from wrong to right; SQNR is that of the logits against
the same. The worst weight has the lowest SQNR after rounding, known before anything runs. The last column is what the
runtime reports of the graph that it compiled, or its own words where it takes none."""


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int)
    parser.add_argument("--backends", default=",".join(RUNTIMES))
    given = parser.parse_args()
    print(measure(given.images, given.backends.split(",")).markdown())


if __name__ == "__main__":
    main()
