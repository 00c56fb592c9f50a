"""`kill -9` at any moment: no orphan after a second, nothing left, nothing half-written, the store intact."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faults.observed import Make, Run, until

from sysnoise_conform.store.entry import GoldenSample

pytestmark = pytest.mark.faults

SEEDS = range(20)
COLD = range(2)  # of the seeds: these compute their golden, so that a kill can hit that, too
AT_ONCE = 4


def start(make: Make, model: Path, workplace: Path, seed: int, who: str) -> Run:
    cold = workplace / f"cold-{who}-{seed}" if seed in COLD else None
    return make(cache=cold).start("run", "-n", "1", "-m", model, "-b", "subject", "-o", "out")


def moment(seed: int, seconds: float) -> float:
    """A moment of a run that takes about this long, the same for the same seed."""
    return random.Random(seed).uniform(0.02, 1) * seconds


def store_is_intact(folder: Path) -> bool:
    for entry in folder.rglob("*.golden"):
        GoldenSample(entry).close()  # verifies every bit
    return not list(folder.rglob("*.tmp"))


@pytest.fixture(scope="module")
def usual_seconds(make: Make, model: Path, clean: Run) -> float:
    began = time.monotonic()
    make().start("run", "-n", "1", "-m", model, "-b", "subject", "-o", "out").finish()
    return (time.monotonic() - began) * AT_ONCE / 2  # as many as run at once share the cores


@pytest.fixture(scope="module")
def parents_killed(make: Make, model: Path, workplace: Path, usual_seconds: float) -> list[Run]:
    def kill(seed: int) -> Run:
        run = start(make, model, workplace, seed, "parent")
        assert run.popen is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.popen.wait(moment(seed, usual_seconds * (2 if seed in COLD else 1)))
        run.popen.kill()
        run.popen.wait()
        run.orphaned = not until(lambda: not run.mine(), within_s=1)
        run.cleared = until(lambda: run.left() == [], within_s=1)
        return run.finish()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(kill, SEEDS))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_parent_leaves_no_orphan_no_folder_and_nothing_half_written(
    parents_killed: list[Run], workplace: Path, seed: int
) -> None:
    run = parents_killed[seed]

    assert run.code in (-signal.SIGKILL, 0)
    assert not run.orphaned
    assert run.cleared, run.left()
    if (run.out / "summary.json").exists():
        assert run.summary()["verdict"] == "PASS"
    assert store_is_intact(workplace / (f"cold-parent-{seed}" if seed in COLD else "store"))


def test_a_run_after_twenty_kills_is_clean_and_equal(
    parents_killed: list[Run], make: Make, model: Path, workplace: Path, clean: Run
) -> None:
    cache = workplace / f"cold-parent-{COLD[-1]}"
    after = make(cache=cache).start("run", "-n", "1", "-m", model, "-b", "subject", "-o", "out").finish()

    assert after.code == 0
    assert after.numbers("subject") == clean.numbers("subject")
    assert after.left() == []


@pytest.fixture(scope="module")
def children_killed(make: Make, model: Path, workplace: Path, usual_seconds: float) -> list[Run]:
    def kill(seed: int) -> Run:
        run = start(make, model, workplace, seed, "child")
        assert run.popen is not None
        victims: list[int] = []
        wanted = moment(seed, usual_seconds)
        began = time.monotonic()
        while run.popen.poll() is None:
            victims = run.children()
            if victims and time.monotonic() - began >= wanted:
                break
            time.sleep(0.02)
        if victims:
            try:
                os.kill(random.Random(seed).choice(victims), signal.SIGKILL)
            except ProcessLookupError:
                victims = []
        return run.finish()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(kill, SEEDS))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_child_is_named_and_costs_its_own_cell(
    children_killed: list[Run], clean: Run, workplace: Path, seed: int
) -> None:
    run = children_killed[seed]
    outputs = [each for each in clean.numbers("subject") if '"role": "outputs"' in each]

    assert run.code in (0, 3), run.stderr
    if run.code == 0:
        assert [each for each in run.numbers("subject") if '"role": "outputs"' in each] == outputs
    elif run.stderr:  # the golden's own child: there is nothing to judge
        assert "golden" in run.one_error()
        assert not (run.out / "summary.json").exists()
    else:
        assert run.variant("subject")["status"] == "crashed"
    assert until(lambda: not run.mine(), within_s=1)
    assert until(lambda: run.left() == [], within_s=1)
    assert store_is_intact(workplace / (f"cold-child-{seed}" if seed in COLD else "store"))
