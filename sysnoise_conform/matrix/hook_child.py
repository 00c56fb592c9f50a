"""The child that runs a card's decoder hook: the user's own code, which may crash, hang, print or import anything.

Started as `python -P -c "...; main()" CONFIG`. Frames go over what were stdin and stdout, see `frames`; what the hook
prints goes to stderr, which is the hook's log.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from sysnoise_conform.frames import Arrays, receive, send, taken_over
from sysnoise_conform.process.boot import die_with
from sysnoise_conform.tasks.decoding import Decoding


def main() -> None:
    """Load the hook, tell which file it is, and answer until the parent hangs up."""
    config = json.loads(sys.argv[1])
    die_with(config["parent"])
    incoming, outgoing = taken_over()
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
