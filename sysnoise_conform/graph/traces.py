"""What an exporter writes into a model of the machine that it ran on: taken out before the file is handed on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]

# torch.onnx (2.13) writes the Python stack of every node, with the folders of the user and of the installation.
_STACK = "pkg.torch.onnx.stack_trace"
# An absolute path of two parts at least, as it stands in a trace: names of modules ("net/down.0") have no root.
_PATH = re.compile(r"""(?:^|[\s"'(=,])(?:file:)?(?:/+|[A-Za-z]:[\\/]|\\\\)[^\s"'/\\]+[\\/]""")


def without_paths(model: onnx.ModelProto) -> None:
    """Take out, in place, each description and each note that names a path; what names modules stays."""
    for message in _messages(model):
        fields = message.DESCRIPTOR.fields_by_name
        if "doc_string" in fields and _PATH.search(message.doc_string):
            message.ClearField("doc_string")
        if "metadata_props" in fields and message.metadata_props:
            kept = [each for each in message.metadata_props if each.key != _STACK and not _PATH.search(each.value)]
            if len(kept) < len(message.metadata_props):
                copies = [(each.key, each.value) for each in kept]
                del message.metadata_props[:]
                for key, value in copies:
                    message.metadata_props.add(key=key, value=value)


def _messages(message: Any) -> Iterator[Any]:
    """A message and all that lie in it: graphs within nodes, functions, tensors."""
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for each in (value,) if isinstance(value, Message) else value:
                yield from _messages(each)
