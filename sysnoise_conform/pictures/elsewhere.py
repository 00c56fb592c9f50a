"""Picture libraries that live in environments of their own, since they weigh gigabytes or pin what others need.

A child of that environment's Python does what is asked, one for each picture that is on its way at once. It may
crash or hang: the picture is told, the next one gets a new child.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sysnoise_conform import frames
from sysnoise_conform.interpreters import of_library
from sysnoise_conform.printable import one_line

LIMIT_S = 60.0  # for one picture; a library's own start counts with its first
_CHILD = Path(__file__).with_name("elsewhere_child.py")
_BOOT = Path(__file__).parents[1] / "process" / "boot.py"
_MOST = 8  # children of one library
_PATIENCE = 2  # answers that never came, after which nobody waits for a library any more


def missing(library: str) -> str:
    """Why a library can't be asked here, with the cure; "" where it can."""
    if of_library(library) is None:
        return f"{library} has an environment of its own, which is not there: conform env create {library}"
    return ""


def ask(library: str, request: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
    """What a library makes of an array. Raises ValueError in words: for its error, its end, or no answer in time.

    One that was waited for in vain more than once is asked no more: thousands of pictures would wait as long.
    """
    if _in_vain.get(library, 0) >= _PATIENCE:
        raise ValueError(f"{library} gave no answer within {LIMIT_S:g} s, {_PATIENCE} times, and is asked no more")
    return _lanes(library).submit(_served, library, request, array).result()


@cache
def _lanes(library: str) -> ThreadPoolExecutor:
    # A child ends with the thread that started it, so these live as long as the process.
    return ThreadPoolExecutor(max_workers=min(_MOST, os.cpu_count() or 1), thread_name_prefix=library)


_own = threading.local()
_in_vain: dict[str, int] = {}  # how often nobody answered, by library


def _served(library: str, request: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
    child: _Child | None = getattr(_own, library, None)
    if child is None:
        child = _Child(library)
        setattr(_own, library, child)
    try:
        return child.call(request, array)
    except _Over:
        setattr(_own, library, None)
        raise


class _Over(ValueError):
    """The child is no more."""


class _Child:
    def __init__(self, library: str) -> None:
        python = of_library(library)
        if python is None:
            raise ValueError(missing(library))
        config = {"library": library, "parent": os.getpid(), "frames": frames.__file__, "boot": str(_BOOT)}
        self._library = library
        self._process = subprocess.Popen(
            [str(python), "-I", str(_CHILD), json.dumps(config)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            self._told(None)
        except ValueError as err:
            self._end()
            raise _Over(str(err)) from err

    def call(self, request: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
        return self._told((request, array))["y"]

    def _told(self, asked: tuple[Mapping[str, Any], np.ndarray] | None) -> dict[str, np.ndarray]:
        request = None if asked is None else (asked[0], {"x": asked[1]})
        try:
            head, arrays = frames.asked(self._process, request, LIMIT_S)
        except frames.NoAnswer as err:
            self._end()
            if err.late:
                _in_vain[self._library] = _in_vain.get(self._library, 0) + 1
            raise _Over(f"{self._library} {err}") from err
        if "error" in head:
            raise ValueError(f"{self._library}: {one_line(head['error'], 200)}")
        return arrays

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what was not sent any more
                pipe.close()
