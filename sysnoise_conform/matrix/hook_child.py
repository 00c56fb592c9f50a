"""The child that runs a card's decoder hook: the user's own code, which may crash, hang, print or import anything.

Started as `python -P -c "...; main()" CONFIG`. Frames go over what were stdin and stdout, see `send`; what the hook
prints goes to stderr, which is the hook's log.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import struct
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from sysnoise_conform.process.boot import die_with
from sysnoise_conform.tasks.decoding import Decoding

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


def main() -> None:
    """Load the hook, tell which file it is, and answer until the parent hangs up."""
    config = json.loads(sys.argv[1])
    die_with(config["parent"])
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the hook prints must not end up between frames
    sys.path.append(config["folder"])  # behind everything: a numpy.py beside the card is not numpy
    try:
        function, file = _loaded(config["module"], config["function"])
    except BaseException as err:  # the user's code runs here: whatever it raises is told in one line
        send(outgoing, {"error": _words(err)})
        return
    with open(file, "rb") as code:
        send(outgoing, {"file": file, "sha256": hashlib.file_digest(code, "sha256").hexdigest()})
    while True:
        try:
            head, outputs = receive(incoming)
        except EOFError:
            return
        try:
            answer = _named(function(outputs, tuple(head["size"]), Decoding(**head["decoding"])), config["answer"])
        except BaseException as err:
            send(outgoing, {"error": _words(err)})
        else:
            send(outgoing, {}, answer)


def _loaded(module: str, name: str) -> tuple[Callable[..., Any], str]:
    loaded = importlib.import_module(module)
    function = getattr(loaded, name, None)
    if not callable(function):
        raise TypeError(f"{module} has no function {name}")
    return function, str(loaded.__file__)


def _named(answer: Any, names: list[str]) -> Arrays:
    """The answer's arrays under their names. Raises TypeError for something else, ValueError for other than numbers."""
    parts = (answer,) if len(names) == 1 else answer
    if not isinstance(parts, tuple | list) or len(parts) != len(names):
        raise TypeError(f"it gave {type(answer).__name__}, not {', '.join(names)}")
    found = {}
    for name, part in zip(names, parts, strict=True):
        array = np.asarray(part)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"its {name} are of type {array.dtype}, no numbers")
        found[name] = array.astype(np.float64)
    return found


def _words(err: BaseException) -> str:
    """The error in a line, with the last place in code."""
    frames = traceback.extract_tb(err.__traceback__)
    outside = [each for each in frames if each.filename != __file__ and not each.filename.startswith("<frozen")]
    place = f" ({os.path.basename(outside[-1].filename)}, line {outside[-1].lineno})" if outside else ""
    return f"{type(err).__name__}: {err}{place}"[:2000]
