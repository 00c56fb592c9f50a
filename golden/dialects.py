"""What other processors would make of a graph: it is rewritten so that the executor computes as they do.

A host with VNNI, subnormal numbers and float32 sums can so tell how a fleet without them will behave. Nodes move into
`dialect_ops.DOMAIN` with an attribute that names the arithmetic, or operands get a rounding before them; every tensor
keeps its name. Main graph only: nodes in the bodies of If, Loop and Scan stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import onnx
from onnx import NodeProto, TensorProto, helper

from sysnoise_conform.golden.dialect_integers import integer_kernels
from sysnoise_conform.golden.dialect_ops import DOMAIN, FORMAT, VERSION
from sysnoise_conform.golden.op import find
from sysnoise_conform.golden.quantisation import HALF_AWAY, ROUNDING
from sysnoise_conform.graph.shape_slice import shape_slice

_DEFAULT = ("", "ai.onnx")
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")  # their first two inputs are what a matrix unit reads
_SUMMED = ("MatMul", "Gemm", "Conv")
_REQUANTISING = ("QuantizeLinear", "QLinearConv", "QLinearMatMul")


@dataclass(frozen=True)
class Dialect:
    """The arithmetic of a processor where it is not this one's; None leaves a part as it is."""

    u8s8: str | None = None  # "saturate": sums of two products saturate in 16 bits, as on x86 before VNNI
    requantise: str | None = None  # "half_away": ties of a quantisation go away from zero
    operands: str | None = None  # tf32, bf16, fp16: what matrix units read float32 operands as
    accumulate: str | None = None  # "fp16": the sums of matrix products
    subnormals: str | None = None  # "flush": read and written as zero

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) is not None for each in fields(self))


def translated(model: onnx.ModelProto, dialect: Dialect) -> tuple[onnx.ModelProto, int]:
    """A copy of the model that computes in `dialect`, and how many nodes that concerns."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    nodes, concerned = list(out.graph.node), 0
    if dialect.u8s8 is not None:
        nodes, concerned = integer_kernels(out.graph, nodes)
    for node in nodes:
        if dialect.requantise is not None and node.op_type in _REQUANTISING and node.domain in (*_DEFAULT, DOMAIN):
            node.domain = DOMAIN
            node.attribute.append(helper.make_attribute(ROUNDING, HALF_AWAY))
            concerned += 1
        elif dialect.accumulate is not None and node.op_type in _SUMMED and node.domain in _DEFAULT:
            node.domain = DOMAIN
            concerned += 1
    taken = _Names(nodes, out.graph)
    if dialect.operands is not None:
        nodes, count = _with_rounded_operands(nodes, dialect.operands, taken)
        concerned += count
    if dialect.subnormals is not None:
        nodes, count = _without_subnormals(out, nodes, taken)
        concerned += count
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    out.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    return out, concerned


class _Names:
    """New names beside those of a graph."""

    def __init__(self, nodes: list[NodeProto], graph: onnx.GraphProto) -> None:
        self._taken = {name for node in nodes for name in (*node.input, *node.output)}
        self._taken |= {each.name for field in (graph.input, graph.initializer) for each in field}

    def beside(self, name: str, mark: str) -> str:
        """`name` with a mark, and with another one where that is taken."""
        new = f"{name}__{mark}"
        while new in self._taken:
            new += "_"
        self._taken.add(new)
        return new


def _with_rounded_operands(nodes: list[NodeProto], kind: str, names: _Names) -> tuple[list[NodeProto], int]:
    out: list[NodeProto] = []
    made: dict[str, str] = {}
    count = 0
    for node in nodes:
        if node.op_type in _PRODUCTS and node.domain in (*_DEFAULT, DOMAIN):
            count += 1
            for position in range(min(2, len(node.input))):
                name = node.input[position]
                if name not in made:
                    made[name] = names.beside(name, kind)
                    round_ = helper.make_node("Rounded", [name], [made[name]], name=made[name], domain=DOMAIN)
                    round_.attribute.append(helper.make_attribute(FORMAT, kind))
                    out.append(round_)
                node.input[position] = made[name]
        out.append(node)
    return out, count


def _without_subnormals(model: onnx.ModelProto, nodes: list[NodeProto], names: _Names) -> tuple[list[NodeProto], int]:
    """What arithmetic reads and writes is flushed; what only moves numbers leaves them, as it does on hardware."""
    floats = _floats(model)
    kept = shape_slice(model.graph, model.functions)
    opsets = {each.domain if each.domain != "ai.onnx" else "": each.version for each in model.opset_import}
    out: list[NodeProto] = []
    clean: dict[str, str] = {}  # tensor -> its flushed form, itself where it is made so
    count = 0
    for node in nodes:
        if not _computes(node, opsets) or any(name in kept for name in node.output):
            out.append(node)
            continue
        count += 1
        for position, name in enumerate(node.input):
            if name in floats and name not in clean:
                clean[name] = names.beside(name, "flushed")
                out.append(helper.make_node("Flushed", [name], [clean[name]], name=clean[name], domain=DOMAIN))
            node.input[position] = clean.get(name, name)
        after = []
        for position, name in enumerate(node.output):
            if name in floats:
                inner = names.beside(name, "unflushed")
                node.output[position] = inner
                after.append(helper.make_node("Flushed", [inner], [name], name=inner, domain=DOMAIN))
                clean[name] = name
        out += [node, *after]
    return out, count


def _floats(model: onnx.ModelProto) -> set[str]:
    """The tensors of the main graph that ONNX's inference finds to be FLOAT."""
    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    found = {each.name for each in graph.initializer if each.data_type == TensorProto.FLOAT}
    for field in (graph.input, graph.output, graph.value_info):
        found |= {each.name for each in field if each.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found


def _computes(node: NodeProto, opsets: dict[str, int]) -> bool:
    domain = "" if node.domain in _DEFAULT else node.domain
    how = find(domain, node.op_type, opsets.get(domain, VERSION))
    return how is not None and not how.moves and not how.raw and node.op_type not in ("Constant", "Identity")
