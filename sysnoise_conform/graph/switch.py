"""A graph in which chosen tensors are computed or given, as flags say: one compile, a run for any choice of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.naming import Namer
from sysnoise_conform.graph.walk import quoted
from sysnoise_conform.variant import nearest

OLDEST_OPSET = 9  # the first with Where


@dataclass(frozen=True, kw_only=True, slots=True)
class Switched:
    """The model; `given` and `flags` map each chosen tensor to the input that holds it and to the one that chooses it.

    A flag is a bool of the tensor's rank with every size 1: converters know no tensors of rank 0.
    """

    model: onnx.ModelProto
    given: Mapping[str, str]
    flags: Mapping[str, str]


def switch(proto: onnx.ModelProto, tensors: Mapping[str, np.ndarray]) -> Switched:
    """The graph with a Where behind whatever makes one of `tensors`, which are of these arrays' types and shapes.

    What is not chosen reaches no reader, not even as a NaN. Raises BadModel for a tensor that no node makes, and for a
    model whose opset has no Where.
    """
    opset = next((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise BadModel(f"opset {opset} has no Where, which a switch is made of", hint="export with opset 9 or later")
    made = {name for node in proto.graph.node for name in node.output if name}
    for name in tensors:
        if name not in made:
            raise BadModel(f"no node makes a tensor {quoted(name)}", hint=nearest(name, made))
    switched = onnx.ModelProto()
    switched.CopyFrom(proto)
    graph = switched.graph
    namer = Namer(graph)
    given = {name: namer.fresh(f"given{at}") for at, name in enumerate(tensors)}
    flags = {name: namer.fresh(f"flag{at}") for at, name in enumerate(tensors)}
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        nodes.append(copy)
        for place, name in enumerate(node.output):
            if name in given:
                copy.output[place] = namer.fresh("computed")
                inputs = [flags[name], given[name], copy.output[place]]
                nodes.append(helper.make_node("Where", inputs, [name], name=namer.fresh("switch")))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    for name, array in tensors.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        graph.input.append(helper.make_tensor_value_info(given[name], kind, list(array.shape)))
        graph.input.append(helper.make_tensor_value_info(flags[name], TensorProto.BOOL, [1] * array.ndim))
    return Switched(model=switched, given=given, flags=flags)
