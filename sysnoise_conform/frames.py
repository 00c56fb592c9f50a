"""Frames of JSON and arrays over a pipe, between us and children that know numpy and nothing of ours."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

Arrays = Mapping[str, np.ndarray]
MOST_HEAD = 1 << 20  # bytes


def send(stream: BinaryIO, head: Mapping[str, Any], arrays: Arrays | None = None) -> None:
    """One frame: the length of its head, the head as JSON, the arrays' bytes in the order of the head."""
    kept = {name: np.ascontiguousarray(each) for name, each in (arrays or {}).items()}
    shapes = {name: [each.dtype.str, list(each.shape)] for name, each in kept.items()}
    text = json.dumps({**head, "arrays": shapes}).encode()
    stream.write(struct.pack("<Q", len(text)) + text)
    for each in kept.values():
        stream.write(each.tobytes())
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The next frame. Raises EOFError where there is none any more, ValueError for what is no frame."""
    (length,) = struct.unpack("<Q", _exactly(stream, 8))
    if length > MOST_HEAD:
        raise ValueError("no frame")
    head = json.loads(_exactly(stream, length))
    arrays = {}
    for name, (dtype, shape) in head.pop("arrays").items():
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(_exactly(stream, count * kind.itemsize), kind).reshape(shape)
    return head, arrays


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
