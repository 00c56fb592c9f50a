"""The peak memory of `conform noise` on few and on many pictures, which must be the same.

Run: python tests/benchmarks/noise_memory.py.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from cold import Side, conform, emptied, environment
from memory_peak import Peak, peak
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from section import Figure, Section, table

TITLE = "Memory does not grow with the pictures"

FEW, MANY = 500, 5000
SIDE, CLASSES = 160, 10  # of the pictures, in pixels
INPUT = 96
TOLERANCE = 1.05
RUNS = 3
NOISE = "decoder=turbo-fast,colour=bt601-narrow-nv12,resize=opencv-area"
CARD = f"""
task = "classify"
[image]
resize = "squash"
size = {INPUT}
scale = 0.00392156862745098
"""

TEXT = f"""
The peak of the sum of PSS over all processes, sampled every 20 ms by a separate process, on {FEW} and on {MANY:,}
distinct pictures of {SIDE} x {SIDE}, five cells, ONNX Runtime with one thread; the median of {RUNS} runs. Of a picture
nothing stays but its results, which are in the journal.
"""


def model(path: Path) -> None:
    """A convolution, a mean over all places, ten classes."""
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.standard_normal((8, 3, 5, 5)) * 0.2, "classes": rng.standard_normal((8, CLASSES)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["wide"], strides=[2, 2]),
        helper.make_node("Relu", ["wide"], ["kept"]),
        helper.make_node("ReduceMean", ["kept"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "classes"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, INPUT, INPUT])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(each.astype(np.float32), name) for name, each in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def pictures(folder: Path, count: int) -> None:
    """Smooth noise, each picture another, and labels.csv."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["file,class"]
    for number in range(count):
        coarse = rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((SIDE, SIDE)).save(folder / f"{number:05}.jpg", quality=90)
        lines.append(f"{number:05}.jpg,{number % CLASSES}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure() -> Section:
    """Both counts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model(folder / "small.onnx")
        (folder / "small.toml").write_text(CARD, encoding="utf-8")
        peaks: dict[int, Peak] = {}
        for count in (FEW, MANY):
            pictures(folder / str(count), count)
            side = Side(
                name=f"{count} pictures",
                command=conform(
                    "noise", "--model", folder / "small.onnx", "--data", folder / str(count), "--backends", "ort",
                    "--baseline", "ort", "--noise", NOISE, "--combine", "none", "--out", folder / "out",
                ),
                environment=environment(),
                prepare=emptied(folder / "out"),
                codes=(0, 1, 5),  # what the figures say is not what is measured
            )  # fmt: skip
            peaks[count] = peak(side, RUNS)
    rows = [(f"{count:,} pictures", f"{each.rest:.0f} MiB") for count, each in peaks.items()]
    more = peaks[MANY].rest / peaks[FEW].rest
    return Section(
        title=TITLE,
        figures=(
            Figure(what=f"memory of a matrix on {MANY:,} pictures against {FEW}", value=more, target=TOLERANCE),
        ),
        text=f"{TEXT}\n{table(('run', 'peak memory'), rows)}",
    )


if __name__ == "__main__":
    sys.stdout.write(measure().markdown() + "\n")
