"""Bounds for examples of a fuzz test: seconds, and memory beside what is there already."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings

# CONFORM_FUZZ_EXAMPLES=100000 is a long hunt with seeds of its own; without it every run tries the same ones.
EXAMPLES = os.environ.get("CONFORM_FUZZ_EXAMPLES")


def fuzz(examples: int) -> settings:
    """`examples` of them, the same ones at every run, unless the environment asks for more."""
    return settings(
        max_examples=int(EXAMPLES or examples), derandomize=EXAMPLES is None, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


class OutOfTimeError(Exception):
    """The example's seconds are over."""


@contextmanager
def bounded(*, seconds: int = 20, room: int = 2 << 30) -> Iterator[None]:
    """An alarm after `seconds` (raises OutOfTimeError), and `room` bytes of memory beside what is there."""

    def ring(*_: object) -> None:
        raise OutOfTimeError

    before, limits = signal.signal(signal.SIGALRM, ring), resource.getrlimit(resource.RLIMIT_AS)
    there = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (there + room, limits[1]))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)
