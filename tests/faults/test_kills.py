"""`kill -9` at any moment: no orphan after a second, nothing left, nothing half-written, the store intact."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.observed import Make, Run, until

from sysnoise_conform.store.entry import GoldenSample

pytestmark = pytest.mark.faults

SEEDS = range(20)
COLD = range(2)  # of the seeds: these compute their golden, so that a kill can hit that, too
SENTINELS = range(2, 6)  # these kill any child, the sentinel as well
AT_ONCE = 4
HITS = 12  # of the seeds: so many kills must find somebody alive, or these tests prove nothing
CHILD_HITS = 6  # of the seeds that are no sentinel's; children come and go, and on a fast machine one is often gone


def start(make: Make, model: Path, workplace: Path, seed: int, who: str) -> Run:
    cold = workplace / f"cold-{who}-{seed}" if seed in COLD else None
    return make(cache=cold).start("run", "-n", "1", "-m", model, "-b", "subject", "-o", "out")


def moment(seed: int, seconds: float) -> float:
    """A moment of a run that takes about this long: each seed has a share of the run to itself, in mixed order."""
    share = (7 * seed + 3) % len(SEEDS)
    return (share + random.Random(seed).random()) / len(SEEDS) * seconds


def store_is_intact(folder: Path) -> bool:
    for entry in folder.rglob("*.golden"):
        GoldenSample(entry).close()  # verifies every bit
    return not list(folder.rglob("*.tmp"))


@dataclass(frozen=True)
class Usual:
    """Seconds that a run takes, and those of them in which it has a child that computes."""

    whole: float
    with_child: float


@pytest.fixture(scope="module")
def usual(make: Make, model: Path, clean: Run) -> Usual:
    """The least of as many runs at once as are killed at once, on this machine as it is now."""

    def measured(_: int) -> Usual:
        began = time.monotonic()
        run = make().start("run", "-n", "1", "-m", model, "-b", "subject", "-o", "out")
        assert run.popen is not None
        seen = []
        while run.popen.poll() is None:
            if run.workers():
                seen.append(time.monotonic())
            time.sleep(0.02)
        whole = time.monotonic() - began
        run.finish()
        return Usual(whole, seen[-1] - seen[0])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        all_ = list(pool.map(measured, range(AT_ONCE)))
    return Usual(min(each.whole for each in all_), min(each.with_child for each in all_))


@pytest.fixture(scope="module")
def parents_killed(make: Make, model: Path, workplace: Path, usual: Usual) -> list[Run]:
    def kill(seed: int) -> Run:
        run = start(make, model, workplace, seed, "parent")
        assert run.popen is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.popen.wait(moment(seed, usual.whole * (2 if seed in COLD else 1)))
        run.popen.kill()
        run.popen.wait()
        run.orphaned = not until(lambda: not run.mine(), within_s=1)
        run.cleared = until(lambda: run.left() == [], within_s=1)
        run.finish()
        run.hit = run.code == -signal.SIGKILL
        return run

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(kill, SEEDS))


def test_most_kills_found_the_parent_alive(parents_killed: list[Run]) -> None:
    assert sum(each.hit for each in parents_killed) >= HITS


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_parent_leaves_no_orphan_no_folder_and_nothing_half_written(
    parents_killed: list[Run], workplace: Path, seed: int
) -> None:
    run = parents_killed[seed]

    assert run.code == (-signal.SIGKILL if run.hit else 0)
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
def children_killed(make: Make, model: Path, workplace: Path, usual: Usual) -> list[Run]:
    def kill(seed: int) -> Run:
        run = start(make, model, workplace, seed, "child")
        assert run.popen is not None
        wanted = None  # from the first sight of somebody to kill: what goes before takes long on a slow machine
        while run.popen.poll() is None and not run.hit:
            victims = run.children() if seed in SENTINELS else run.workers()
            if victims and wanted is None:
                wanted = time.monotonic() + moment(seed, usual.with_child)
            if victims and wanted is not None and time.monotonic() >= wanted:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(random.Random(seed).choice(victims), signal.SIGKILL)
                    run.hit = seed not in SENTINELS
                    break
            time.sleep(0.01)
        return run.finish()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(kill, SEEDS))


def test_kills_found_children_alive_and_some_cost_a_cell(children_killed: list[Run]) -> None:
    assert sum(each.hit for each in children_killed) >= CHILD_HITS
    assert sum(each.code == 3 for each in children_killed) >= CHILD_HITS // 2  # the others hit who had answered


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_child_is_named_and_costs_its_own_cell(
    children_killed: list[Run], clean: Run, workplace: Path, seed: int
) -> None:
    run = children_killed[seed]
    outputs = [each for each in clean.numbers("subject") if '"role": "outputs"' in each]

    assert run.code in ((0, 3) if run.hit or seed in SENTINELS else (0,)), run.stderr
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
