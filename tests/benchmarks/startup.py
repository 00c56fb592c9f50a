"""How long `conform --help` takes, and what Python itself takes to start.

Run: python tests/benchmarks/startup.py. That it imports nothing heavy is what tests/test_startup.py holds.
"""

from __future__ import annotations

import statistics
import sys

from cold import Side, conform, environment, in_turns
from section import Figure, Section

TITLE = "Start"

ROUNDS = 9

TEXT = f"""
Cold processes, the median of {ROUNDS} rounds in turns after one that is discarded. Python alone is `python -c pass` of
the same environment.
"""


def measure() -> Section:
    """Both in turns."""
    help_, python = "conform --help", "python -c pass"
    times = in_turns(
        (
            Side(name=help_, command=conform("--help"), environment=environment()),
            Side(name=python, command=[sys.executable, "-c", "pass"], environment=environment()),
        ),
        ROUNDS,
    )
    return Section(
        title=TITLE,
        figures=(
            Figure(what="`conform --help`", value=statistics.median(times[help_]), unit="s", target=0.3),
            Figure(what="Python alone", value=statistics.median(times[python]), unit="s"),
        ),
        text=TEXT,
    )


if __name__ == "__main__":
    sys.stdout.write(measure().markdown() + "\n")
