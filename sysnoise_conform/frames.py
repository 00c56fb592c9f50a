"""Frames of JSON and arrays over a pipe, between us and a child that runs a user's code. Both ends are here."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import threading
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

Arrays = Mapping[str, np.ndarray]
MOST_HEAD = 1 << 20  # bytes
_ENDING_S = 1.0  # for a process whose pipe has ended to end itself, so that its own exit code is told


class NoAnswer(Exception):
    """A child gave none, and is no more; why, in words."""


def asked(
    child: subprocess.Popen[bytes], request: tuple[Mapping[str, Any], Arrays] | None, within_s: float
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A child's next frame, behind a request if there is one. Raises NoAnswer; the child has ended then."""
    assert child.stdin is not None
    assert child.stdout is not None
    over = threading.Event()

    def end() -> None:
        over.set()
        child.kill()

    late = threading.Timer(within_s, end)
    late.daemon = True
    late.start()
    try:
        if request is not None:
            send(child.stdin, *request)  # type: ignore[arg-type]
        return receive(child.stdout)  # type: ignore[arg-type]
    except (EOFError, OSError, ValueError) as err:
        code = _ended(child)
        why = f"gave no answer within {within_s:g} s" if over.is_set() else f"ended its process ({code})"
        raise NoAnswer(why) from err
    finally:
        late.cancel()


def _ended(child: subprocess.Popen[bytes]) -> int:
    try:
        return child.wait(_ENDING_S)
    except subprocess.TimeoutExpired:  # it wrote what is no frame, and lives
        child.kill()
        return child.wait()


def taken_over() -> tuple[BinaryIO, BinaryIO]:
    """In a child: what were stdin and stdout. What it prints goes to stderr from now on, not between frames."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return incoming, outgoing


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
