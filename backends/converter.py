"""Runs a converter as a program of its own: its crash or its chatter never reaches the session."""

from __future__ import annotations

import ctypes
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sysnoise_conform.errors import BackendDied, Unsupported
from sysnoise_conform.printable import one_line

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PROGRESS = re.compile(r"\d+%\|")


def convert(
    tool: str, command: Sequence[str], *, folder: Path, expect: Path, explain: Callable[[str], Unsupported]
) -> Path:
    """Run `command` in `folder` and return `expect`, the file that it shall write.

    What the tool prints goes to our stderr, which is the variant's log. `explain` turns that text into the reason
    when the tool fails; a tool that dies of a signal is a `BackendDied`. There is no time limit of its own: the
    tool dies with this process.
    """
    prctl = ctypes.CDLL(None).prctl
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    text = "\n".join(
        line for line in re.split(r"[\r\n]+", done.stdout.decode(errors="replace")) if not _PROGRESS.search(line)
    )
    print(text, file=sys.stderr)  # noqa: T201
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise BackendDied(f"{tool} died of {name} while it converted", stage="convert", cause="crash", signal=name)
    if done.returncode or not expect.is_file():
        raise explain(text)
    return expect


def last_error(text: str) -> str:
    """The line of a Python traceback that says what was wrong at first, or the last line there is."""
    text = text.partition("The above exception was the direct cause")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit)\b", line)]
    return one_line(errors[-1] if errors else lines[-1] if lines else "it said nothing")
