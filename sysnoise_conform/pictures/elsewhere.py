"""Picture libraries that live in environments of their own, since they weigh gigabytes or pin what others need.

A noise names them as it names any level; what asks them is a child process of that environment, which whoever serves a
run has started (`runner.libraries`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from sysnoise_conform.errors import BackendError, BadInput
from sysnoise_conform.interpreters import of_library
from sysnoise_conform.pictures import codec


class LibraryFailed(BadInput):
    """A library, and no picture, is why there are no pixels: it died, hung, or can't be started.

    `why` is what befell it. `again`: that was with a former picture, and it is asked no more.
    """

    def __init__(self, library: str, why: BackendError, *, again: bool = False) -> None:
        super().__init__(why.message, hint=why.hint)
        self.library = library
        self.why = why
        self.again = again


class Host(Protocol):
    """Asks libraries in their environments. Thread-safe."""

    def ask(self, library: str, request: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
        """What a library makes of an array. Raises ValueError in its words for an error of its own, LibraryFailed."""
        ...


_hosts: list[Host] = []


@contextmanager
def serving(host: Host) -> Iterator[None]:
    """For the length of the block `host` is asked."""
    _hosts.append(host)
    try:
        yield
    finally:
        _hosts.remove(host)


def missing(library: str) -> str:
    """Why a library can't be asked here, with the cure; "" where it can."""
    if of_library(library) is None:
        return f"{library} has an environment of its own, which is not there: conform env create {library}"
    return codec.missing() if library == "compressai" else ""


def ask(library: str, request: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
    """What a library makes of an array. Raises ValueError in its words, LibraryFailed."""
    if not _hosts:
        raise ValueError(f"{library} is asked in a process of its environment, and none is running")
    return _hosts[-1].ask(library, request, array)
