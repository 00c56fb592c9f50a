"""Quantised graphs as runtimes' integer kernels compute them: where a graph says so by Q and DQ, they are put in.

A runtime fuses DequantizeLinear -> Conv -> (Relu) -> QuantizeLinear, and DequantizeLinear -> MatMul or Gemm, into one
integer kernel (ONNX Runtime: qdq_transformer, whose Conv needs the QuantizeLinear after it and whose MatMul does not).
"""

from __future__ import annotations

from collections import defaultdict

import onnx
from onnx import NodeProto, helper

from sysnoise_conform.golden.dialect_ops import DOMAIN
from sysnoise_conform.golden.integer_sums import PAIRS, SUMS

_KERNELS = (
    "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
)  # fmt: skip
_FOLDED = ("Relu", "Clip")  # the QuantizeLinear after it makes it superfluous


def integer_kernels(graph: onnx.GraphProto, nodes: list[NodeProto]) -> tuple[list[NodeProto], int]:
    """The nodes, with each integer kernel asked to sum in saturating pairs; and how many there are."""
    fusing = _Fusing(graph, nodes)
    out: list[NodeProto] = []
    count = 0
    for node in nodes:
        fused = fusing.kernel(node)
        if fused is not None:
            out.append(fused)
        elif node.op_type in _KERNELS:
            node.domain = DOMAIN
            out.append(node)
        else:
            out.append(node)
            continue
        out[-1].attribute.append(helper.make_attribute(SUMS, PAIRS))
        count += 1
    return out, count


class _Fusing:
    """Finds the operators of a graph that a runtime runs on codes."""

    def __init__(self, graph: onnx.GraphProto, nodes: list[NodeProto]) -> None:
        self._makers = {name: node for node in nodes for name in node.output}
        self._readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in nodes:
            for name in node.input:
                self._readers[name].append(node)
        self._shapes = {each.name: tuple(each.dims) for each in graph.initializer}
        self._outputs = {each.name for each in graph.output}

    def kernel(self, node: NodeProto) -> NodeProto | None:
        """One node on codes that stands for `node`; None where no runtime has such a kernel."""
        if node.op_type not in ("Conv", "MatMul", "Gemm") or node.domain not in ("", "ai.onnx"):
            return None
        x, w = (self._makers.get(name) for name in node.input[:2])
        if x is None or w is None or x.op_type != "DequantizeLinear" or w.op_type != "DequantizeLinear":
            return None
        if self._scales(x) != 1 or not (self._scales(w) == 1 or self._axis(w) == self._output_axis(node, w)):
            return None
        if node.op_type == "Conv" and not self._quantised_after(node.output[0]):
            return None
        zero = [(*each.input, "")[2] for each in (x, w)]
        inputs = [x.input[0], x.input[1], zero[0], w.input[0], w.input[1], zero[1], *node.input[2:]]
        name = "CodesConv" if node.op_type == "Conv" else "CodesGemm"
        fused = helper.make_node(name, inputs, list(node.output), name=node.name, domain=DOMAIN)
        fused.attribute.extend(node.attribute)
        return fused

    def _scales(self, dq: NodeProto) -> int:
        """How many scales: 1 for a whole tensor, 0 where the graph does not tell."""
        shape = self._shapes.get(dq.input[1])
        if shape is None:
            return 0
        return 1 if shape in ((), (1,)) else shape[0] if len(shape) == 1 else 0

    def _axis(self, dq: NodeProto) -> int | None:
        rank = len(self._shapes.get(dq.input[0], ()))
        axis = next((each.i for each in dq.attribute if each.name == "axis"), 1)
        return axis % rank if rank else None

    def _output_axis(self, node: NodeProto, w: NodeProto) -> int:
        """Which axis of the weight the output's channels or columns are."""
        if node.op_type == "Conv":
            return 0
        transposed = next((each.i for each in node.attribute if each.name == "transB"), 0)
        return 0 if transposed else len(self._shapes.get(w.input[0], ())) - 1

    def _quantised_after(self, name: str) -> bool:
        readers = self._readers[name]
        if name in self._outputs or not readers:
            return False
        return all(
            each.op_type == "QuantizeLinear" or (each.op_type in _FOLDED and self._quantised_after(each.output[0]))
            for each in readers
        )
