"""What else may be odd: two runs on one store, a store with foreign things in it, a clock that goes wrong, one core."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from faults.observed import Make, Run

pytestmark = pytest.mark.faults

RUN = ("run", "-n", "1", "-b", "subject", "-o", "out", "-m")


def test_two_runs_at_once_on_one_cold_store_are_both_right(
    make: Make, model: Path, clean: Run, tmp_path: Path
) -> None:
    runs = [make(cache=tmp_path / "store").start(*RUN, model) for _ in range(2)]
    for each in runs:
        each.finish()

        assert each.code == 0, each.stderr
        assert each.numbers("subject") == clean.numbers("subject")
    assert len(list((tmp_path / "store").rglob("*.golden"))) == 1
    assert not list((tmp_path / "store").rglob("*.tmp"))


@pytest.fixture
def store(clean: Run, tmp_path: Path) -> Path:
    """A copy of the shared store, to be spoilt."""
    return Path(shutil.copytree(clean.store, tmp_path / "store"))


def of_version_0(entry: Path) -> Path:
    """The entry as an older version would have left it: in the folder of its format, which its header names."""
    content = entry.read_bytes()
    assert content.startswith(b"CONFORM GOLDEN 1\n")
    older = entry.parents[1] / "0" / entry.name
    older.parent.mkdir()
    older.write_bytes(content.replace(b"GOLDEN 1\n", b"GOLDEN 0\n", 1))
    return older


def test_a_store_of_an_older_version_and_foreign_files_are_left_alone(
    make: Make, model: Path, clean: Run, store: Path
) -> None:
    older = of_version_0(next(store.rglob("*.golden")))
    content = older.read_bytes()
    foreign = next(store.glob("golden/1")) / "notes.txt"
    foreign.write_text("mine")
    os.mkfifo(foreign.with_name("pipe.tmp"))
    os.mkfifo(foreign.with_name("pipe.golden"))
    run = make(cache=store).start(*RUN, model).finish()

    assert run.code == 0, run.stderr
    assert run.summary()["golden"]["source"] == "store"
    assert run.numbers("subject") == clean.numbers("subject")
    assert older.read_bytes() == content
    assert foreign.exists()


def test_a_golden_of_an_older_version_alone_is_no_golden(make: Make, model: Path, clean: Run, store: Path) -> None:
    """Neither in its own folder, nor where somebody copied it to the name that this version looks for."""
    entry = next(store.rglob("*.golden"))
    older = of_version_0(entry)
    content = older.read_bytes()
    entry.unlink()
    cold = make(cache=store).start(*RUN, model).finish()
    entry.write_bytes(content)
    copied = make(cache=store).start(*RUN, model).finish()

    for each in (cold, copied):
        assert each.code == 0, each.stderr
        assert each.summary()["golden"]["source"] == "computed"
        assert each.numbers("subject") == clean.numbers("subject")
    assert "is damaged" in copied.summary()["golden"]["notes"][0]
    assert older.read_bytes() == content


CLOCK = """
import datetime as dt, itertools, os, time
_now, _steps = time.time, itertools.count()
time.time = lambda: _now() - 3600.0 * next(_steps)  # an hour back at every look
class _Backwards(dt.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
dt.datetime = _Backwards
"""


def test_a_clock_that_runs_backwards_changes_no_number_and_no_duration(
    make: Make, model: Path, clean: Run, store: Path, tmp_path: Path
) -> None:
    tomorrow = time.time() + 86400
    os.utime(next(store.rglob("*.golden")), (tomorrow, tomorrow))
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join(filter(None, [str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")]))
    run = make(cache=store, env={"PYTHONPATH": path})
    run.out.mkdir()
    os.utime(run.out, (tomorrow, tomorrow))
    began = time.monotonic()
    run.start(*RUN, model).finish()

    assert run.code == 0, run.stderr
    assert run.numbers("subject") == clean.numbers("subject")
    assert 0 < run.records()[-1]["seconds"] <= time.monotonic() - began


def test_one_core_and_a_home_that_can_only_be_read_suffice(
    make: Make, model: Path, clean: Run, tmp_path: Path
) -> None:
    core = min(os.sched_getaffinity(0))
    run = make(env={"HOME": "/proc", "CONFORM_CACHE": ""})
    run.start(*RUN, model, preexec_fn=lambda: os.sched_setaffinity(0, {core})).finish()

    assert run.code == 0, run.stderr
    assert "can't be written" in run.summary()["golden"]["notes"][0]
    assert run.numbers("subject") == clean.numbers("subject")
    assert run.left() == []
