"""The child processes of a run, so that an interrupt can end all of them at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sysnoise_conform import environments
from sysnoise_conform.case import Limits
from sysnoise_conform.errors import BackendDied
from sysnoise_conform.process.child import Child
from sysnoise_conform.variant import Variant

# Importing PyTorch, on a cold disk and a busy machine; no model has a part in it.
IMPORT_SECONDS = 300.0

# Beyond the machine's own memory an allocation can only end in the kernel killing somebody. PyTorch's
# libraries take addresses, not memory, of about this size.
_MAPPED_BYTES = 8 << 30


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

        A child that runs PyTorch's own side (`golden`) imports PyTorch here, under a limit of its own. Then
        `timeout_s` is for it as for everybody, and it may have twice `memory_bytes`, since float64 is twice as
        wide; without that limit, what the machine has.
        """
        limits = replace(self._limits, memory_bytes=self._golden_bytes()) if golden else self._limits
        with self._lock:
            if self._dismissed:
                raise BackendDied("the run was interrupted", stage="start", cause="crash")
            child = Child.start(python=python, limits=limits, log=log, label=label)
            self._alive.add(child)
        try:
            if golden:
                child.call("prepare", stage="start", timeout_s=IMPORT_SECONDS)
            yield child
        finally:
            with self._lock:
                self._alive.discard(child)
            child.close()

    def _golden_bytes(self) -> int:
        asked, machine = self._limits.memory_bytes, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return (machine if asked is None else min(2 * asked, machine)) + _MAPPED_BYTES

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
