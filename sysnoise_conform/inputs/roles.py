"""What an input is for, read off the graph around it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import onnx
from onnx import GraphProto, NodeProto, TensorProto

from sysnoise_conform.graph.intake import Port

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16})
INTEGERS = frozenset({
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
})  # fmt: skip

_SMALLEST_IMAGE = 8
# Operators that hand indices on unchanged.
_CARRIERS = frozenset({"Cast", "Clip", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Slice"})
# Operators whose first input is the table that the others index, handed on unchanged but for its type.
_TABLE_CARRIERS = frozenset({"Cast", "CastLike", "DequantizeLinear", "Identity"})
# com.microsoft.EmbedLayerNormalization: position of the ids -> position of their table.
_EMBED_TABLES = {0: 2, 1: 4}


@dataclass(frozen=True, slots=True)
class Image:
    """Pixels; `channels` is the axis of the colours."""

    channels: int


@dataclass(frozen=True, slots=True)
class Ids:
    """Indices into a table of `rows` rows, an embedding for instance."""

    rows: int


@dataclass(frozen=True, slots=True)
class Mask:
    """0 where an element does not count, 1 where it does."""


@dataclass(frozen=True, slots=True)
class Whole:
    """Integers of unknown meaning."""


@dataclass(frozen=True, slots=True)
class Real:
    """Numbers of unknown meaning."""


Role = Image | Ids | Mask | Whole | Real


def role_of(port: Port, shape: tuple[int, ...], graph: GraphProto) -> Role:
    """The role of one input of `graph` that is fed with `shape`."""
    if port.elem_type == TensorProto.BOOL or "mask" in port.name.lower():
        return Mask()
    if port.elem_type in INTEGERS:
        rows = _table_rows(port.name, graph)
        if rows is not None:
            return Ids(rows)
    channels = _colour_axis(shape)
    if channels is not None and (port.elem_type in FLOATS or port.elem_type in (TensorProto.UINT8, TensorProto.INT8)):
        return Image(channels)
    return Real() if port.elem_type in FLOATS else Whole()


def _colour_axis(shape: tuple[int, ...]) -> int | None:
    if len(shape) != 4:
        return None
    if shape[1] in (1, 3, 4) and min(shape[2:]) >= _SMALLEST_IMAGE:
        return 1
    if shape[3] in (1, 3, 4) and min(shape[1:3]) >= _SMALLEST_IMAGE:
        return 3
    return None


def _table_rows(name: str, graph: GraphProto) -> int | None:
    """The smallest table that `name` indexes, followed through operators that hand indices on."""
    makers = {output: node for node in graph.node for output in node.output if output}
    stored = {each.name: each for each in graph.initializer}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for read in node.input:
            readers.setdefault(read, []).append(node)
    rows: list[int] = []
    waiting, seen = deque([name]), {name}
    while waiting:
        current = waiting.popleft()
        for node in readers.get(current, []):
            table = _indexed_table(node, current)
            if table is not None:
                dims = _dims(table, makers, stored)
                axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
                if dims and -len(dims) <= axis < len(dims):
                    rows.append(dims[axis])
            elif node.op_type in _CARRIERS and node.input[0] == current and node.output[0] not in seen:
                seen.add(node.output[0])
                waiting.append(node.output[0])
    return min(rows) if rows else None


def _indexed_table(node: NodeProto, name: str) -> str | None:
    if node.op_type == "Gather" and node.domain == "" and list(node.input).index(name) == 1:
        return str(node.input[0])
    if node.op_type == "EmbedLayerNormalization":
        table = _EMBED_TABLES.get(list(node.input).index(name))
        return str(node.input[table]) if table is not None and table < len(node.input) else None
    return None


def _dims(name: str, makers: dict[str, NodeProto], stored: dict[str, onnx.TensorProto]) -> list[int] | None:
    for _ in range(len(_TABLE_CARRIERS) * 2):
        if name in stored:
            return list(stored[name].dims)
        node = makers.get(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            return next((list(each.t.dims) for each in node.attribute if each.name == "value"), None)
        if node.op_type not in _TABLE_CARRIERS or not node.input:
            return None
        name = node.input[0]
    return None
