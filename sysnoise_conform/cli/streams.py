"""Standard streams that a caller has closed, opened on nothing: a file of ours must never become number 0, 1 or 2."""

from __future__ import annotations

import os
import sys


def reopen_closed() -> None:
    """Give every closed one of stdin, stdout and stderr a place to read from or write to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
