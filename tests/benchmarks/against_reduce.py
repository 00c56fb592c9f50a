"""`conform diagnose` against `polygraphy debug reduce --mode bisect`: one planted fault in a ResNet-18.

Run: python tests/benchmarks/against_reduce.py. Polygraphy's environment is that of against_polygraphy.py, with
onnx-graphsurgeon, which its reduce needs and does not bring.
"""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from against_polygraphy import polygraphy
from cold import Side, conform, environment, in_turns, ratio
from onnx import numpy_helper
from prepared import Prepared, prepared
from section import Figure, Section, table

TITLE = "Against Polygraphy's bisection"

PAIRS = 5
NODE = "blocks.3.conv2"  # the 31st of 69
GRAPHSURGEON = "onnx-graphsurgeon==0.6.1"
BASELINE, QUICK, FULL = "polygraphy debug reduce", "conform diagnose --islands-only", "conform diagnose"

TEXT = f"""
The ResNet-18 of the other benchmarks, the weights of `{NODE}` times 1.002 in the graph that the backend gets.
Polygraphy makes its golden (one run with all tensors as outputs, saved), merges it with the input, and bisects with a
check command of the user's own, here `polygraphy run` against the saved golden: it ends with a model of that one node.
conform has the sound model's golden in its store; with `--islands-only` it tries each operator alone and PyTorch is not
imported, in full it watches, replays, tries alone and writes the reproducer. Every run is a cold process; the median of
{PAIRS} rounds in turns after one that is discarded. Each side's answer is checked: it must be that node and no other.
"""


def with_fault(made: Prepared, name: str) -> Path:
    """The model with one layer's weights scaled."""
    model = onnx.load(made.model)
    node = next(each for each in model.graph.node if name in each.output)
    weights = next(each for each in model.graph.initializer if each.name == node.input[1])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(1.002), weights.name))
    path = made.folder / "faulty.onnx"
    onnx.save(model, path)
    return path


def reduce_command(command: Path, made: Prepared, faulty: Path) -> list[str]:
    """Golden, merge and bisection as one command line."""
    folder = made.folder / "reduce"
    folder.mkdir(exist_ok=True)
    run = [str(command), "run"]
    check = [*run, "polygraphy_debug.onnx", "--onnxrt", "--load-inputs", "all.json", "--load-outputs", "golden.json"]
    lines = [
        [*run, str(made.model), "--onnxrt", "--onnx-outputs", "mark", "all", "--save-inputs", "inputs.json",
         "--save-outputs", "golden.json"],
        [str(command), "data", "merge", "inputs.json", "golden.json", "-o", "all.json"],
        [str(command), "debug", "reduce", str(faulty), "-o", "reduced.onnx", "--mode", "bisect", "--load-inputs",
         "all.json", "--check", *check],
    ]  # fmt: skip
    script = " && ".join(["cd " + shlex.quote(str(folder)), "rm -f reduced.onnx", *map(shlex.join, lines)])
    return ["sh", "-c", script]


def reduced_to_it(made: Prepared, node: str) -> Callable[[str], None]:
    """Raises where Polygraphy's answer is another node."""

    def check(_: str) -> None:
        found = [name for node in onnx.load(made.folder / "reduce" / "reduced.onnx").graph.node for name in node.output]
        if found != [node]:
            raise SystemExit(f"Polygraphy reduced to {found}")

    return check


def named(out: Path, node: str) -> Callable[[str], None]:
    """Raises where our answer is another node."""

    def check(_: str) -> None:
        found = [each["output"] for each in json.loads((out / "diagnosis.json").read_text())["culprits"]]
        if found != [node]:
            raise SystemExit(f"conform named {found}")

    return check


def sides(made: Prepared, command: Path, node: str) -> tuple[Side, ...]:
    """The three that take turns, the store filled; the fault sits at `node`, which makes a tensor of its own name."""
    faulty = with_fault(made, node)

    def ours(name: str, *more: str) -> Side:
        out = made.folder / name.replace(" ", "-")
        arguments = ("diagnose", "--model", made.model, "--backend", "ort", "--deployed", faulty, "--samples", "1")
        return Side(
            name=name, command=conform(*arguments, "--out", out, *more),
            environment=environment(CONFORM_CACHE=str(made.folder / "cache")), check=named(out, node), codes=(1,),
        )  # fmt: skip

    quick, full = ours(QUICK, "--islands-only"), ours(FULL)
    full.run()
    baseline = Side(
        name=BASELINE, command=reduce_command(command, made, faulty), environment=environment(),
        check=reduced_to_it(made, node),
    )  # fmt: skip
    return baseline, quick, full


def with_graphsurgeon() -> Path:
    """Polygraphy with what its reduce needs."""
    command = polygraphy()
    pip = [str(command.with_name("python")), "-m", "pip", "install", "-q", GRAPHSURGEON]
    done = subprocess.run(pip, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"can't install {GRAPHSURGEON}: {done.stderr.strip()}")
    return command


def measure() -> Section:
    """Seconds in turns."""
    command = with_graphsurgeon()
    with prepared(0) as made:
        times = in_turns(sides(made, command, NODE), PAIRS)
    rows = [
        (name, f"{statistics.median(several):.2f} s", f"{1 / ratio(times, name, BASELINE):.1f}")
        for name, several in times.items()
    ]
    return Section(
        title=TITLE,
        figures=(
            Figure(what="seconds of islands against a bisection", value=ratio(times, QUICK, BASELINE), target=1 / 6),
            Figure(what="seconds of a full diagnosis against it", value=ratio(times, FULL, BASELINE), target=1 / 3),
        ),
        text=f"{TEXT}\n{table(('side', 'median', 'times faster'), rows)}",
    )


if __name__ == "__main__":
    sys.stdout.write(measure().markdown() + "\n")
