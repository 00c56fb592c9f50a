"""The child processes of a run, so that an interrupt can end all of them at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sysnoise_conform import environments
from sysnoise_conform.case import Limits
from sysnoise_conform.errors import BackendDied
from sysnoise_conform.process.child import Child
from sysnoise_conform.variant import Variant

GOLDEN_SECONDS = 3600.0


class Crew:
    """Starts children and remembers who is alive."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._alive: set[Child] = set()
        self._lock = threading.Lock()
        self._dismissed = False

    @property
    def dismissed(self) -> bool:
        """True once the run is being interrupted."""
        return self._dismissed

    @contextmanager
    def member(self, label: str, log: Path, *, python: Path | None = None, golden: bool = False) -> Iterator[Child]:
        """A child for the length of the block; its cleaned output is in `log` afterwards.

        `--timeout` and `--memory` are for the runtimes under test: a child that runs PyTorch's own
        side (`golden`) is bounded by an hour alone.
        """
        limits = Limits(timeout_s=GOLDEN_SECONDS, threads=self._limits.threads) if golden else self._limits
        with self._lock:
            if self._dismissed:
                raise BackendDied("the run was interrupted", stage="start", cause="crash")
            child = Child.start(python=python, limits=limits, log=log, label=label)
            self._alive.add(child)
        try:
            yield child
        finally:
            with self._lock:
                self._alive.discard(child)
            child.close()

    def interpreter(self, variant: Variant) -> Path | None:
        """The Python that a variant's session runs in; None: this one."""
        return environments.interpreter(variant)

    def end(self, label: str) -> None:
        """End the members of this label now."""
        with self._lock:
            named = [child for child in self._alive if child.label == label]
        for child in named:
            child.kill()

    def dismiss(self) -> None:
        """End everybody now; nobody can be started any more."""
        with self._lock:
            self._dismissed = True
            alive = list(self._alive)
        for child in alive:
            child.kill()
