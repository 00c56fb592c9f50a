"""An ONNX file without the contents of its weights: what it declares, read without reading all of it.

Protobuf's wire format (https://protobuf.dev/programming-guides/encoding): a message is a row of fields, each a tag of
number and wire type and then its value, whose length is told. So the contents of a graph's initializers are stepped
over and the rest is parsed as ever. The file is the child's own private copy, checked at intake: nobody cuts it short.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import onnx

from sysnoise_conform.graph.encoding import head_of

_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_CONTENTS = frozenset(
    each.number
    for each in onnx.TensorProto.DESCRIPTOR.fields
    if each.name.endswith("_data") and each.name != "external_data"
)
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5


def read_skeleton(path: Path) -> onnx.ModelProto:
    """The model, its graph's initializers with name, type and shape alone. Raises ValueError for what is no model."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        model = bytearray()
        for number, start, value, end in _fields(data, 0, len(data)):
            if number != _GRAPH or value is None:
                model += data[start:end]
                continue
            graph = bytearray()
            for inner, first, content, last in _fields(data, value, end):
                if inner != _INITIALIZER or content is None:
                    graph += data[first:last]
                    continue
                kept = b"".join(data[a:c] for which, a, _, c in _fields(data, content, last) if which not in _CONTENTS)
                graph += head_of(inner, len(kept)) + kept
            model += head_of(number, len(graph)) + graph
    found: onnx.ModelProto = onnx.ModelProto.FromString(bytes(model))
    return found


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int | None, int]]:
    """Number, start, where the value begins (None if it has no length), end of each field between two places."""
    while at < end:
        start = at
        tag, at = _read_varint(data, at)
        kind, value = tag & 7, None
        if kind == _VARINT:
            _, at = _read_varint(data, at)
        elif kind == _DELIMITED:
            length, value = _read_varint(data, at)
            at = value + length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of the wire type {kind}")
        if at > end:
            raise ValueError("a field that is longer than what holds it")
        yield tag >> 3, start, value, at


def _read_varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")
