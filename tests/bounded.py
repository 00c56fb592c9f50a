"""Bounds for fuzz tests: new examples every day, but a bounded time for them, and seconds and memory for each.

Within a day they stay the same, so that a run can be repeated and no change is judged by luck. A run that fails says
how to repeat it: CONFORM_FUZZ_SEED tries the same examples again, `@reproduce_failure` the one that failed. That one is
also kept below .hypothesis/, and tried first from then on.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import DirectoryBasedExampleDatabase

# CONFORM_FUZZ_EXAMPLES=100000 is a long hunt, however long it takes.
EXAMPLES = os.environ.get("CONFORM_FUZZ_EXAMPLES")
SEED = int(os.environ.get("CONFORM_FUZZ_SEED") or datetime.now(UTC).strftime("%Y%m%d"))
SECONDS = 20.0  # for all examples of one test
_KEPT = Path(__file__).resolve().parents[1] / ".hypothesis" / "fuzz"


def fuzz(examples: int) -> Callable[[Any], Any]:
    """As many of them as `SECONDS` suffice for, others every day; the environment may ask for more."""
    chosen = settings(
        max_examples=int(EXAMPLES or examples), deadline=None, database=DirectoryBasedExampleDatabase(_KEPT),
        print_blob=True, suppress_health_check=list(HealthCheck),
        # Most examples are seeds, which have no smaller form; looking for one would take minutes.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )  # fmt: skip

    def decorate(test: Any) -> Any:
        test.hypothesis.inner_test = _in_time(test.hypothesis.inner_test)
        return hypothesis.seed(SEED)(chosen(test))

    return decorate


def _in_time(test: Callable[..., object]) -> Callable[..., None]:
    """The test, which passes unlooked at when its time is over; a failed one is looked at again, however late."""
    ends: dict[str, float] = {}
    failed: set[str] = set()

    @wraps(test)
    def timed(*arguments: Any, **named: Any) -> None:
        item = os.environ.get("PYTEST_CURRENT_TEST", "")  # a parametrised test has its time for each of its cases
        end = ends.setdefault(item, time.monotonic() + SECONDS)
        if EXAMPLES is None and item not in failed and time.monotonic() > end:
            return
        try:
            test(*arguments, **named)
        except Exception as err:
            failed.add(item)
            err.add_note(f"CONFORM_FUZZ_SEED={SEED} tries the same examples")
            raise

    return timed


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
