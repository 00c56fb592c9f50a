"""Ctrl-C and SIGTERM at any stage: over within two seconds, 130, one line, and a report that proves nothing."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.observed import COMMAND, Make, Run, until

pytestmark = pytest.mark.faults

WITHIN_S = 2.0


def catches(run: Run, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal: the first thing that conform does."""
    assert run.popen is not None
    for line in Path(f"/proc/{run.popen.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def has_loaded(run: Run, library: str) -> bool:
    assert run.popen is not None
    return library in Path(f"/proc/{run.popen.pid}/maps").read_text()


# What the run is doing when the signal comes: its arguments, and how an observer knows.
MOMENTS: dict[str, tuple[str, Callable[[Run], bool]]] = {
    "imports": ("subject", lambda run: catches(run, signal.SIGTERM)),
    "intake": ("subject", lambda run: has_loaded(run, "onnx_cpp2py_export")),
    "golden": ("subject", lambda run: len(run.children()) > 1 and bool(list(run.store.rglob("*.tmp")))),
    "start": ("subject", lambda run: bool(run.children())),
    "compile": ("subject+does=hang+at=compile", lambda run: (run.stamps / "hang-compile").exists()),
    "run": ("subject,subject+does=hang+at=run", lambda run: (run.stamps / "hang-run").exists()),
    "result": ("subject,subject+does=hang+at=run", lambda run: any(r["record"] == "outcome" for r in run.records())),
    "publishing": ("subject", lambda run: any(r["record"] == "footer" for r in run.records())),
}


# Both signals where a stage is entered by different code, one elsewhere.
CASES = [
    *((doing, signal.SIGTERM) for doing in MOMENTS),
    *((doing, signal.SIGINT) for doing in ("imports", "intake", "start", "run")),
]


@pytest.mark.parametrize(("doing", "number"), CASES, ids=lambda each: getattr(each, "name", each))
def test_an_interrupt_ends_everything_within_two_seconds(
    make: Make, model: Path, clean: Run, workplace: Path, doing: str, number: signal.Signals
) -> None:
    variants, reached = MOMENTS[doing]
    cold = workplace / f"cold-{doing}-{number}" if doing == "golden" else None
    run = make(cache=cold).start("run", "-n", "1", "-m", model, "-b", variants, "-o", "out")
    assert run.popen is not None
    assert until(lambda: reached(run), within_s=60)
    began = time.monotonic()
    run.popen.send_signal(number)
    run.finish()

    assert time.monotonic() - began < WITHIN_S
    assert "Traceback" not in run.stdout + run.stderr
    assert until(lambda: not run.mine(), within_s=1)
    assert until(lambda: run.left() == [], within_s=1)
    ended = [each["record"] for each in run.records()][-1:] == ["footer"]
    if doing == "publishing" and run.code == 0:  # it was quicker
        return
    assert run.code == 130
    assert run.one_error().startswith("error: interrupted")
    if not ended:
        assert not (run.out / "summary.json").exists()
        judged = subprocess.run([*COMMAND, "judge", "out"], cwd=run.folder, capture_output=True, env=run.env)
        assert judged.returncode == (5 if run.records() else 2)
    if doing == "result":
        assert run.numbers("subject") == clean.numbers("subject")


def test_a_second_ctrl_c_ends_it_at_once_and_without_a_traceback(make: Make, model: Path, clean: Run) -> None:
    run = make().start("run", "-n", "1", "-m", model, "-b", "subject+does=hang+at=run", "-o", "out")
    assert run.popen is not None
    assert until(lambda: (run.stamps / "hang-run").exists(), within_s=60)
    began = time.monotonic()
    for _ in range(3):
        run.popen.send_signal(signal.SIGINT)
    run.finish()

    assert time.monotonic() - began < WITHIN_S
    assert run.code == 130
    assert run.one_error().startswith("error: interrupted")
    assert until(lambda: not run.mine() and run.left() == [], within_s=1)


def test_a_background_job_does_not_hear_ctrl_c(make: Make, model: Path, clean: Run) -> None:
    run = make().start(
        "run", "-n", "1", "-m", model, "-b", "subject", "-o", "out",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    assert run.popen is not None
    assert until(lambda: bool(run.children()), within_s=60)
    run.popen.send_signal(signal.SIGINT)

    assert run.finish().code == 0
