"""Divisions of stored integers that a processor can't do: the lowest number by minus one."""

from __future__ import annotations

from collections import ChainMap
from math import prod

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.walk import bodies, named

# The quotient of these does not fit the type, and the processor's instruction traps. Runtimes fold such a division
# when they load the model, and the signal ends them. Of int32, Div is done in a wider type.
_TRAPS = {("Div", TensorProto.INT64), ("Mod", TensorProto.INT64), ("Mod", TensorProto.INT32)}
_COMPARED = 1 << 22  # elements; beyond it one such pair of values is enough, wherever they stand

Stored = ChainMap[str, TensorProto | NodeProto]  # by name, a scope and those around it; nodes are Constants


def check_divisions(graph: GraphProto, around: Stored | None = None) -> None:
    """Raise BadModel for a division of one stored tensor by another that traps; `around` is what outer scopes store.

    Values inside the model only: what lies in external data is not read here.
    """
    stored = around.new_child() if around is not None else ChainMap()
    stored.update({each.name: each for each in graph.initializer})
    stored.update({each.output[0]: each for each in graph.node if each.op_type == "Constant" and each.output})
    for node in graph.node:
        if node.op_type in ("Div", "Mod") and not node.domain and _traps(node, stored):
            raise BadModel(f"{named(node)}: integer division of the lowest number by -1")
        for body in bodies(node):
            check_divisions(body, stored)


def _traps(node: NodeProto, stored: Stored) -> bool:
    if len(node.input) != 2:
        return False
    dividend, divisor = (_tensor(stored.get(name)) for name in node.input)
    if dividend is None or divisor is None or dividend.data_type != divisor.data_type:
        return False
    if (node.op_type, dividend.data_type) not in _TRAPS:
        return False
    if TensorProto.EXTERNAL in (dividend.data_location, divisor.data_location):
        return False
    a, b = numpy_helper.to_array(dividend), numpy_helper.to_array(divisor)
    lowest, minus_one = a == np.iinfo(a.dtype).min, b == -1
    if not lowest.any() or not minus_one.any():
        return False
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return False  # shapes that don't fit are the golden's to explain
    return prod(shape) > _COMPARED or bool((lowest & minus_one).any())


def _tensor(value: TensorProto | NodeProto | None) -> TensorProto | None:
    if not isinstance(value, NodeProto):
        return value
    for each in value.attribute:
        match each.name:
            case "value":
                tensor: TensorProto = each.t
                return tensor
            case "value_int":
                return numpy_helper.from_array(np.array(each.i, np.int64))
            case "value_ints":
                return numpy_helper.from_array(np.array(each.ints, np.int64))
    return None
