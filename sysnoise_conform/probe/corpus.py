"""The whole corpus: every family's cases, and a hash that tells one state of it from another."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from sysnoise_conform.errors import UsageError
from sysnoise_conform.printable import one_line
from sysnoise_conform.probe import (
    convolution,
    elementwise,
    indexing,
    normalisation,
    pooling,
    quantised,
    recurrent,
    reductions,
    reported,
    resizing,
    sampling,
)
from sysnoise_conform.probe.case import ProbeCase
from sysnoise_conform.variant import nearest

FAMILIES = (
    pooling, resizing, sampling, convolution, recurrent, quantised, elementwise, reductions, normalisation, indexing,
    reported,
)  # fmt: skip


@cache
def corpus() -> tuple[ProbeCase, ...]:
    """Every case, by operator."""
    return tuple(sorted((each for family in FAMILIES for each in family.cases()), key=lambda c: (c.op_type, c.name)))


def chosen(*patterns: str) -> tuple[ProbeCase, ...]:
    """The cases whose name or operator fits one of the shell patterns; all of them without any.

    Raises UsageError for a pattern that fits none.
    """
    if not patterns:
        return corpus()
    for pattern in patterns:
        if not any(_fits(each, pattern) for each in corpus()):
            raise UsageError(
                f"--only {one_line(pattern, 80)!r} fits no case",
                hint=nearest(pattern, {name for each in corpus() for name in (each.name, each.op_type)}),
            )
    return tuple(each for each in corpus() if any(_fits(each, pattern) for pattern in patterns))


def _fits(each: ProbeCase, pattern: str) -> bool:
    wanted = pattern.lower()
    return fnmatchcase(each.name, wanted) or fnmatchcase(each.op_type.lower(), wanted)


@cache
def corpus_sha256() -> str:
    """SHA-256 over the sources that the cases are made of."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
