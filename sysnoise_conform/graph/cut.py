"""Parts of a graph: everything up to some tensors, and the graph with some tensors fed in place of computed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph import walk
from sysnoise_conform.graph.naming import Namer, rename
from sysnoise_conform.graph.tap import port_of
from sysnoise_conform.graph.types import infer
from sysnoise_conform.variant import nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class Swapped:
    """A model some of whose tensors are inputs; `inputs` maps the new inputs' names to the tensors that they are."""

    model: onnx.ModelProto
    inputs: Mapping[str, str]


def prefix(proto: onnx.ModelProto, tensors: Collection[str]) -> onnx.ModelProto:
    """The part of the graph that makes `tensors`, which are its only outputs; inputs that it does not read are gone.

    Raises BadModel for a tensor that no node makes.
    """
    makers = _makers(proto, tensors)
    needed, waiting = set[int](), [makers[name] for name in tensors]
    read = set[str]()
    while waiting:
        at = waiting.pop()
        if at in needed:
            continue
        needed.add(at)
        for name in walk.reads(proto.graph.node[at]):
            read.add(name)
            if name in makers:
                waiting.append(makers[name])
    part = onnx.ModelProto(ir_version=proto.ir_version, producer_name="conform")
    part.opset_import.extend(proto.opset_import)
    part.functions.extend(proto.functions)
    graph = part.graph
    graph.name = "prefix"
    graph.node.extend(node for at, node in enumerate(proto.graph.node) if at in needed)
    graph.input.extend(each for each in proto.graph.input if each.name in read)
    graph.initializer.extend(each for each in proto.graph.initializer if each.name in read)
    graph.sparse_initializer.extend(each for each in proto.graph.sparse_initializer if each.values.name in read)
    types = infer(proto.graph, {each.domain: each.version for each in proto.opset_import})
    graph.output.extend(port_of(name, types) for name in tensors)
    return part


def swap(proto: onnx.ModelProto, tensors: Mapping[str, np.ndarray]) -> Swapped:
    """The graph in which `tensors` are inputs, of these arrays' types and shapes, and nobody computes them any more.

    A graph output of that name goes on to be one. Raises BadModel for a tensor that no node makes.
    """
    makers = _makers(proto, tensors)
    swapped = onnx.ModelProto()
    swapped.CopyFrom(proto)
    graph = swapped.graph
    namer = Namer(graph)
    mapping = {name: namer.fresh(f"given{at}") for at, name in enumerate(tensors)}
    outputs = {each.name for each in graph.output}
    for node in graph.node:
        made = list(node.output)
        rename(node, mapping)
        del node.output[:]
        node.output.extend(namer.fresh("unused") if name in mapping else name for name in made)
    dead = {makers[name] for name in tensors}
    kept = [
        node for at, node in enumerate(graph.node)
        if at not in dead or any(name and name not in tensors for name in proto.graph.node[at].output)
    ]  # fmt: skip
    nodes = [onnx.NodeProto.FromString(each.SerializeToString()) for each in kept]
    nodes += [
        helper.make_node("Identity", [ours], [name], name=namer.fresh("given"))
        for name, ours in mapping.items() if name in outputs
    ]  # fmt: skip
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    for name, ours in mapping.items():
        array = tensors[name]
        kind = TensorProto.STRING if array.dtype.kind in "OSU" else helper.np_dtype_to_tensor_dtype(array.dtype)
        graph.input.append(helper.make_tensor_value_info(ours, kind, list(array.shape)))
    return Swapped(model=swapped, inputs={ours: name for name, ours in mapping.items()})


def between(proto: onnx.ModelProto, known: Mapping[str, np.ndarray], tensors: Collection[str]) -> Swapped:
    """The part of the graph that makes `tensors` from the tensors in `known`, which become its inputs.

    They have these arrays' types and shapes. Inputs of the graph that it still reads stay what they are, and nobody
    computes what is not needed. Raises BadModel for a tensor that no node makes.
    """
    swapped = swap(proto, {name: array for name, array in known.items() if name not in tensors})
    part = prefix(swapped.model, tensors)
    left = {each.name for each in part.graph.input}
    return Swapped(model=part, inputs={ours: name for ours, name in swapped.inputs.items() if ours in left})


def _makers(proto: onnx.ModelProto, wanted: Collection[str]) -> dict[str, int]:
    makers = {name: at for at, node in enumerate(proto.graph.node) for name in node.output if name}
    for name in wanted:
        if name not in makers:
            raise BadModel(f"no node makes a tensor {walk.quoted(name)}", hint=nearest(name, makers))
    return makers
