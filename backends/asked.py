"""What a build asks for, read once for all backends: threads, numbers, one-line reasons."""

from __future__ import annotations

from sysnoise_conform.backend import Build
from sysnoise_conform.errors import UsageError
from sysnoise_conform.printable import one_line


def threads(build: Build) -> int:
    """How many threads were asked for, `+threads=N` before the run's own number; 0 is the runtime's choice.

    Raises `UsageError` when N is no whole number from 0 on.
    """
    text = build.options.get("threads")
    if text is None:
        return build.threads
    if not text.isdecimal():
        raise UsageError(f"+threads={one_line(text)!r} is not a number", hint="write e.g. +threads=1")
    return int(text)
