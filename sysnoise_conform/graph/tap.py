"""Inner tensors promoted to graph outputs."""

from __future__ import annotations

from collections.abc import Collection

import onnx
from onnx import TensorProto, helper

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.graph.types import Types, element_type, infer
from sysnoise_conform.graph.walk import quoted
from sysnoise_conform.outcome import Unobservable
from sysnoise_conform.variant import nearest


def tap(proto: onnx.ModelProto, tensors: Collection[str]) -> onnx.ModelProto:
    """A new model whose outputs are the old ones and then `tensors`, in graph order. Weights are shared by name.

    A promoted tensor carries its element type where it is known and no shape. Declared inner shapes are
    dropped: nobody has checked them. Raises BadModel for a tensor that no node of the main graph makes.
    """
    tapped = onnx.ModelProto()
    tapped.CopyFrom(proto)
    graph = tapped.graph
    del graph.value_info[:]
    made = [name for node in graph.node for name in node.output if name]
    unknown = sorted(set(tensors).difference(made))
    if unknown:
        raise BadModel(f"no node makes a tensor {quoted(unknown[0])}", hint=nearest(unknown[0], made))
    wanted = set(tensors).difference(each.name for each in graph.output)
    if not wanted:
        return tapped
    types = infer(graph, {each.domain: each.version for each in tapped.opset_import})
    for name in made:
        if name in wanted:
            graph.output.append(port_of(name, types))
    return tapped


def observable(model: Model) -> tuple[list[str], list[Unobservable]]:
    """The layers that can be promoted to outputs, in graph order, and those that can't, with the reason."""
    types = infer(model.proto.graph, {each.domain: each.version for each in model.proto.opset_import})
    names: list[str] = []
    hidden: list[Unobservable] = []
    for layer in model.layers:
        text = types.get(layer.tensor, "")
        if not layer.elem_type and text:
            hidden.append(Unobservable(tensor=layer.tensor, why=f"its type is {text}: no tensor to compare"))
        elif layer.elem_type == TensorProto.STRING:
            hidden.append(Unobservable(tensor=layer.tensor, why="it holds strings"))
        else:
            names.append(layer.tensor)
    return names, hidden


def port_of(name: str, types: Types) -> onnx.ValueInfoProto:
    """A tensor as a graph output: with its element type where that is known, and no shape."""
    elem_type = element_type(types.get(name, ""))
    if not elem_type:
        return onnx.ValueInfoProto(name=name)
    return helper.make_tensor_value_info(name, elem_type, None)
