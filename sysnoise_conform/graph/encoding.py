"""A ModelProto as the pieces of its file: no buffer of the size of all its weights is ever made.

Protobuf's wire format lets a message stand in several parts: "last one wins" for plain fields, repeated fields are
joined, and embedded messages are merged (https://protobuf.dev/programming-guides/encoding, "Last One Wins"). So the
model without its initializers goes first, then each initializer as a graph that holds nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx

_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_DELIMITED = 2  # the wire type of strings, bytes and messages


def encoded(proto: onnx.ModelProto) -> Iterator[bytes]:
    """Bytes that, one after the other, are the model; every parser of protobuf reads them as one."""
    yield _without_initializers(proto).SerializeToString()
    for tensor in proto.graph.initializer:
        content = tensor.SerializeToString()
        head = head_of(_INITIALIZER, len(content))
        yield head_of(_GRAPH, len(head) + len(content)) + head
        yield content


def _without_initializers(proto: onnx.ModelProto) -> onnx.ModelProto:
    bare = onnx.ModelProto()
    _copy_fields(proto, bare, but="graph")
    bare.graph.SetInParent()
    _copy_fields(proto.graph, bare.graph, but="initializer")
    return bare


def _copy_fields(message: Any, copy: Any, *, but: str) -> None:
    for field, value in message.ListFields():
        if field.name == but:
            continue
        if hasattr(value, "MergeFrom"):  # a message, or a list
            getattr(copy, field.name).MergeFrom(value)
        else:
            setattr(copy, field.name, value)


def head_of(number: int, size: int) -> bytes:
    """What goes before the `size` bytes of the string, bytes or message that is field `number`."""
    return _varint(number << 3 | _DELIMITED) + _varint(size)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
