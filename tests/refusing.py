"""The real command line in this process, for what is refused before anything is started."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sysnoise_conform.cli import invoke

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def is_one_line(text: str) -> bool:
    """Whether a terminal shows it as one line, and is not steered by it."""
    whole = text.encode(errors="replace").decode() == text  # no half of a surrogate pair
    return whole and not CONTROL.search(text) and not set(text) & set("\n\t\u2028\u2029")


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str | Path, code: int = 2) -> str:
    """Run `conform run` with these arguments and `--out` below `folder`; the one line of its refusal.

    Asserts that it is one line that starts with `error:`, holds nothing that steers a terminal, and stands alone.
    """
    answer = invoke(["run", "--backends", "ort", "--out", str(folder / "out"), *map(str, arguments)])
    told = capsys.readouterr()
    assert answer == code, told.err + told.out
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert "Traceback" not in told.err
    assert not CONTROL.search(told.err)
    return told.err
