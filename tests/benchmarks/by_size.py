"""What a diagnosis costs as the network grows: 125, 250 and 500 operators, and the last against Polygraphy's bisection.

Run: python tests/benchmarks/by_size.py. Polygraphy's environment is that of against_reduce.py.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from against_reduce import BASELINE, FULL, QUICK, sides, with_graphsurgeon
from cold import in_turns, ratio
from onnx import TensorProto, helper, numpy_helper
from prepared import Prepared
from section import Figure, Section, table

TITLE = "As the network grows"

SIZES = (125, 250, 500)  # operators; each twice the one before it
ROUNDS = 5
WIDTH, SIDE = 16, 64
OPSET, IR_VERSION = 17, 8

TEXT = f"""
Residual networks of so many operators, each block Conv, BatchNormalization, Relu, Conv, BatchNormalization, Mul, Add,
Relu, of {WIDTH} channels and {SIDE} x {SIDE} pixels; the weights of a Conv half way through times 1.002 in the graph
that the backend gets. Sides, store and checks are those of the comparison on a ResNet-18; the median of {ROUNDS}
rounds in turns after one that is discarded. *Growth* is what the second doubling adds over what the first adds: 2 is
linear in the number of operators, 4 is quadratic.
"""


class _Residual:
    """Blocks until there are so many operators."""

    def __init__(self, operators: int) -> None:
        self._rng = np.random.default_rng(operators)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        tail = 3
        x = self._conv("x", 3)
        while operators - len(self._nodes) - tail >= 8:
            x = self._block(x)
        while len(self._nodes) + tail < operators:
            x = self._op("LeakyRelu", x)
        x = self._op("Flatten", self._op("GlobalAveragePool", x))
        self.output = self._op("Gemm", x, self._stored(10, WIDTH), self._stored(10), transB=1)

    @property
    def middle(self) -> str:
        """The output of the Conv nearest to half way."""
        convs = [at for at, node in enumerate(self._nodes) if node.op_type == "Conv"]
        at = min(convs, key=lambda each: abs(each - len(self._nodes) // 2))
        return str(self._nodes[at].output[0])

    def model(self) -> onnx.ModelProto:
        """As ONNX."""
        graph = helper.make_graph(
            self._nodes, "residual",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(self.output, TensorProto.FLOAT, [1, 10])], self._weights,
        )  # fmt: skip
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(made, full_check=True)
        return made

    def _block(self, x: str) -> str:
        y = self._op("Relu", self._norm(self._conv(x, WIDTH)))
        y = self._op("Mul", self._norm(self._conv(y, WIDTH)), self._stored(1, WIDTH, 1, 1, low=0.2, high=0.4))
        return self._op("Relu", self._op("Add", y, x))

    def _conv(self, x: str, inputs: int) -> str:
        bound = (6 / (9 * inputs)) ** 0.5  # He et al. 2015, uniform
        weights = self._stored(WIDTH, inputs, 3, 3, low=-bound, high=bound)
        return self._op("Conv", x, weights, kernel_shape=[3, 3], pads=[1] * 4)

    def _norm(self, x: str) -> str:
        statistics_ = [
            self._stored(WIDTH, low=low, high=high) for low, high in ((0.5, 1), (-0.1, 0.1), (-0.2, 0.2), (0.5, 1.5))
        ]
        return self._op("BatchNormalization", x, *statistics_)

    def _op(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def _stored(self, *shape: int, low: float = -0.3, high: float = 0.3) -> str:
        name = f"w_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(self._rng.uniform(low, high, shape).astype(np.float32), name))
        return name


def seconds(operators: int, command: Path) -> dict[str, list[float]]:
    """Of each side, by its name; Polygraphy at the largest size alone."""
    with TemporaryDirectory(prefix="conform-size-") as name:
        made, network = Prepared(folder=Path(name)), _Residual(operators)
        onnx.save(network.model(), made.model)
        three = sides(made, command, network.middle)
        return in_turns(three if operators == SIZES[-1] else three[1:], ROUNDS)


def growth(times: dict[int, dict[str, list[float]]], side: str) -> float:
    """What the second doubling adds, over what the first adds."""
    small, middle, large = (statistics.median(times[size][side]) for size in SIZES)
    return (large - middle) / (middle - small)


def measure() -> Section:
    """Every size in turns of its own."""
    command = with_graphsurgeon()
    times = {size: seconds(size, command) for size in SIZES}
    last = times[SIZES[-1]]
    rows = [
        (str(size), *(f"{statistics.median(found[side]):.2f} s" if side in found else "–"
                      for side in (QUICK, FULL, BASELINE)))
        for size, found in times.items()
    ]  # fmt: skip
    return Section(
        title=TITLE,
        figures=(
            Figure(what="seconds of islands at 500 operators against a bisection", value=ratio(last, QUICK, BASELINE),
                   target=1 / 20),
            Figure(what="seconds of a full diagnosis against it", value=ratio(last, FULL, BASELINE)),
            Figure(what="growth of islands from 250 to 500 operators", value=growth(times, QUICK), target=2.5),
            Figure(what="growth of a full diagnosis", value=growth(times, FULL), target=2.5),
        ),
        text=f"{TEXT}\n{table(('operators', QUICK, FULL, BASELINE), rows)}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(measure().markdown() + "\n")
