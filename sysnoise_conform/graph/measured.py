"""What a graph's windows and resizes meet when it runs: the shapes of their tensors, the values that steer them.

Declared and inferred shapes are not believed: stale ones are common, and onnx infers wrong ones for ceil_mode before
opset 22. The graph itself is asked, by a run of a copy whose outputs are these shapes and values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from sysnoise_conform.graph.naming import Namer
from sysnoise_conform.graph.rewrite import nodes

ASKED = ("AveragePool", "Conv", "MaxPool", "Resize", "RoiAlign", "Upsample")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """Shapes by tensor: first inputs, weights and first outputs of the nodes in `ASKED`, and the graph's outputs.

    `values` holds the inputs of Resize and Upsample that say how large the result is.
    """

    shapes: Mapping[str, tuple[int, ...]]
    values: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Question:
    """A graph whose outputs are the answers; `shapes` and `values` map tensors to the outputs that tell of them."""

    proto: onnx.ModelProto
    shapes: Mapping[str, str]
    values: Mapping[str, str]

    def answered(self, outputs: Mapping[str, np.ndarray]) -> Measured:
        """The answers of a run."""
        return Measured(
            shapes={each: tuple(int(size) for size in outputs[name]) for each, name in self.shapes.items()},
            values={each: np.array(outputs[name]) for each, name in self.values.items()},
        )


def question(proto: onnx.ModelProto) -> Question:
    """The graph that tells what its nodes in `ASKED` meet, and how large its outputs are."""
    asked = onnx.ModelProto()
    asked.CopyFrom(proto)
    graph = asked.graph
    del graph.value_info[:]
    shapes, values = [each.name for each in graph.output], list[str]()
    for _, node in nodes(proto, *ASKED):
        shapes += [node.input[0], *node.input[1:2], node.output[0]]
        if node.op_type in ("Resize", "Upsample"):
            values += node.input[1:]
    del graph.output[:]
    namer = Namer(graph)

    def ask(names: list[str], op_type: str, elem_type: int) -> dict[str, str]:
        found = {}
        for each in dict.fromkeys(name for name in names if name):
            found[each] = namer.fresh(f"conform/{op_type}/{each}")
            graph.node.append(helper.make_node(op_type, [each], [found[each]], name=found[each]))
            graph.output.append(helper.make_tensor_value_info(found[each], elem_type, None))
        return found

    return Question(
        proto=asked,
        shapes=ask(shapes, "Shape", TensorProto.INT64),
        values=ask(values, "Identity", TensorProto.UNDEFINED),
    )
