"""The child processes of a run: started ahead where it is known who is needed, and ended all at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from sysnoise_conform import environments, interpreters, registry
from sysnoise_conform.case import Limits
from sysnoise_conform.errors import BackendDied, BackendUnavailable, ConformError
from sysnoise_conform.process.forked import Process
from sysnoise_conform.variant import Variant

if TYPE_CHECKING:  # it brings numpy: children come up while this process imports that
    from sysnoise_conform.process.child import Child

GOLDEN = "golden"

# Importing PyTorch, on a cold disk and a busy machine; no model has a part in it.
IMPORT_SECONDS = 300.0

# Beyond the machine's own memory an allocation can only end in the kernel killing somebody. PyTorch's
# libraries take addresses, not memory, of about this size.
_MAPPED_BYTES = 8 << 30

# PyTorch's threads wait for each other in a loop, by default for milliseconds, which keeps the runtimes beside them
# from the cores: 32 samples of a ResNet-18 took 15 s in place of 11. (libgomp's manual, GOMP_SPINCOUNT.)
_GOLDEN_DEFAULTS = {"GOMP_SPINCOUNT": "1000"}


class Crew:
    """Starts children and remembers who is alive. A context manager: nobody outlives it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._recruits: dict[str, Process] = {}  # started ahead, by the variant's text or GOLDEN
        self._alive: set[Child] = set()
        self._lock = threading.Lock()
        self._dismissed = False

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.dismiss()

    @property
    def dismissed(self) -> bool:
        """True once the run is being interrupted, or over."""
        return self._dismissed

    def recruit(self, variants: Sequence[Variant]) -> None:
        """Start the children of the first variants, one for each core: they import their runtimes from now on.

        What can't be started so is left to `member`, which says why.
        """
        for variant in variants[: len(os.sched_getaffinity(0))]:
            if variant.backend in registry.BUILTIN:
                self._recruit(str(variant), variant.backend, partial(self.interpreter, variant))

    def recruit_golden(self) -> None:
        """Start the golden's child, which imports PyTorch from now on."""
        self._recruit(GOLDEN, GOLDEN, lambda: None)

    @contextmanager
    def member(self, label: str, log: Path, *, variant: Variant | None = None) -> Iterator[Child]:
        """A child for the length of the block; its cleaned output is in `log` afterwards.

        Without a `variant` it is a child for PyTorch's own side: it imports PyTorch here, under a limit of its own.
        Then `timeout_s` is for it as for everybody, and it may have twice `memory_bytes`, since float64 is twice as
        wide; without that limit, what the machine has.
        """
        python = None if variant is None else self.interpreter(variant)
        with self._child(label, log, python=python, golden=variant is None) as child:
            if variant is None:
                child.call("prepare", {"what": label}, stage="start", timeout_s=IMPORT_SECONDS)
            yield child

    @contextmanager
    def library(self, name: str, log: Path) -> Iterator[Child]:
        """A child in the environment of a picture library, as `member`. Raises BackendUnavailable without one."""
        python = interpreters.of_library(name)
        if python is None:
            raise BackendUnavailable(f"{name} has no environment of its own", hint=f"conform env create {name}")
        with self._child(name, log, python=python, golden=False) as child:
            yield child

    @contextmanager
    def _child(self, label: str, log: Path, *, python: Path | None, golden: bool) -> Iterator[Child]:
        from sysnoise_conform.process.child import Child

        limits = self._limits_of(golden=golden)
        with self._lock:
            if self._dismissed:
                raise BackendDied("the run was interrupted", stage="start", cause="crash")
            process = self._recruits.pop(label, None)
            child = Child(
                process or _start(python=python, limits=limits, golden=golden), limits=limits, log=log, label=label
            )
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

    def dismiss(self) -> None:
        """End everybody now; nobody can be started any more."""
        with self._lock:
            self._dismissed = True
            alive, recruits = list(self._alive), list(self._recruits.values())
            self._recruits.clear()
        for child in alive:
            child.kill()
        for process in recruits:
            process.end()

    def _recruit(self, key: str, ahead: str, interpreter: Callable[[], Path | None]) -> None:
        with self._lock:
            if self._dismissed or key in self._recruits:
                return
            try:
                limits = self._limits_of(golden=key == GOLDEN)
                self._recruits[key] = _start(
                    python=interpreter(), limits=limits, golden=key == GOLDEN, ahead=ahead
                )
            except ConformError:
                return

    def _limits_of(self, *, golden: bool) -> Limits:
        return replace(self._limits, memory_bytes=self._golden_bytes()) if golden else self._limits

    def _golden_bytes(self) -> int:
        asked, machine = self._limits.memory_bytes, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return (machine if asked is None else min(2 * asked, machine)) + _MAPPED_BYTES


def _start(*, python: Path | None, limits: Limits, golden: bool, ahead: str | None = None) -> Process:
    return Process.start(python=python, limits=limits, ahead=ahead, defaults=_GOLDEN_DEFAULTS if golden else None)
