"""A private copy of an ONNX graph in the plainest form, for converters that stumble over names and open sizes.

Inputs and outputs get plain identifiers, sizes become those of the feeds to come, an output that is also an input or
a constant becomes a tensor of its own, and of outputs joined by Identity one stands for all. Values stay what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorShapeProto, helper

from sysnoise_conform.backend import Tensors
from sysnoise_conform.backends.folding import fold_sizes
from sysnoise_conform.errors import Unsupported
from sysnoise_conform.printable import one_line


@dataclass(frozen=True)
class Plain:
    """The copy, and its plain names in terms of the original's."""

    model: ModelProto
    inputs: Mapping[str, str]  # plain name -> ONNX name, in graph order
    outputs: Mapping[str, str]
    copies: Mapping[str, str]  # ONNX name of an output -> that of the output whose value it repeats

    def all_outputs(self, tensors: Tensors) -> Tensors:
        """`tensors`, by ONNX name, with the outputs that repeat another one."""
        return tensors | {name: tensors[same].copy() for name, same in self.copies.items() if same in tensors}

    def original(self, text: str) -> str:
        """A converter's message with the model's own names put back."""
        for plain, name in {**self.inputs, **self.outputs}.items():
            text = text.replace(plain, name)
        return text

    def node(self, op: str) -> str | None:
        """The name of the only node with that operator; None where there are several."""
        nodes = [each for each in self.model.graph.node if each.op_type == op]
        return nodes[0].name or nodes[0].output[0] if len(nodes) == 1 else None

    def maker(self, output: str) -> onnx.NodeProto | None:
        """The node that makes an output of that plain name."""
        return next((each for each in self.model.graph.node if output in each.output), None)


def plain_copy(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Plain:
    """Read the model at `path` and make it plain. Weights are read in; raises `Unsupported` above 2 GiB."""
    model = onnx.load(str(path))
    graph = model.graph
    constants = {each.name for each in graph.initializer}
    if any(each.name in constants for each in graph.input):  # IR 3 lists every weight as an input
        feeds = [each for each in graph.input if each.name not in constants]
        del graph.input[:]
        graph.input.extend(feeds)
        model.ir_version = max(model.ir_version, 4)
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | constants
    prefix = "t"
    while any(name.startswith(prefix) for name in taken):
        prefix += "_t"
    copies = _drop_copies(graph)
    inputs = {f"{prefix}_in_{index}": each.name for index, each in enumerate(graph.input)}
    outputs = {f"{prefix}_out_{index}": each.name for index, each in enumerate(graph.output)}
    _separate(graph, constants, list(outputs))
    computed = {name: plain for plain, name in reversed(outputs.items()) if name not in constants}
    _rename(graph, computed | {name: plain for plain, name in inputs.items()})
    for info in graph.input:
        shape = shapes.get(inputs[info.name])
        if shape is not None:
            sizes = [TensorShapeProto.Dimension(dim_value=size) for size in shape]
            info.type.tensor_type.shape.CopyFrom(TensorShapeProto(dim=sizes))
    if shapes:
        _infer_anew(model)
    if model.ByteSize() >= 2**31:
        raise Unsupported("the model is above 2 GiB, which the converter's file format can't hold", stage="convert")
    return Plain(model=model, inputs=inputs, outputs=outputs, copies=copies)


def _drop_copies(graph: GraphProto) -> dict[str, str]:
    """Take outputs that repeat another output through Identity out of the graph's signature; who repeats whom."""
    source = {}
    for node in graph.node:
        # Dropout without its third input, training_mode, is Identity at inference.
        if node.op_type == "Identity" or (node.op_type == "Dropout" and len(node.input) < 3):
            source[node.output[0]] = node.input[0]
    kept: dict[str, str] = {}  # root -> the output that stands for it
    copies: dict[str, str] = {}
    for info in graph.output:
        root = info.name
        while root in source:
            root = source[root]
        if kept.setdefault(root, info.name) != info.name:
            copies[info.name] = kept[root]
    left = [each for each in graph.output if each.name not in copies]
    del graph.output[:]
    graph.output.extend(left)
    return copies


def _separate(graph: GraphProto, constants: set[str], plain: list[str]) -> None:
    """Give each output that is also an input or a constant an Identity of its own."""
    taken = constants | {each.name for each in graph.input}
    for info, own in zip(graph.output, plain, strict=True):
        if info.name in taken:
            graph.node.append(helper.make_node("Identity", [info.name], [own], name=own))
            info.name = own


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Rename tensors, also where the body of an If, Loop or Scan captures them."""
    for node in graph.node:
        for fields in (node.input, node.output):
            for index, name in enumerate(fields):
                fields[index] = names.get(name, name)
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _rename(attribute.g, names)
            for each in attribute.graphs:
                _rename(each, names)
    for field in (graph.input, graph.output, graph.initializer, graph.value_info):
        for each in field:
            each.name = names.get(each.name, each.name)


def _infer_anew(model: ModelProto) -> None:
    """Replace declared shapes, which may hold open sizes, by those that follow from the inputs'."""
    del model.graph.value_info[:]
    for info in model.graph.output:
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise Unsupported(
            f"shapes can't be inferred: {one_line(error)}", stage="convert", hint="check the model with onnx.checker"
        ) from error
    model.CopyFrom(inferred)
    fold_sizes(model)
