"""A single flipped bit, wherever it is, is noticed: a golden is computed anew, a report gives no verdict."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from faults.observed import Make, Run

from sysnoise_conform.cli import invoke
from sysnoise_conform.store import Store

pytestmark = pytest.mark.faults

FLIPS = 200


def flipped(content: bytes, seed: int) -> bytes:
    position = random.Random(seed).randrange(8 * len(content))
    changed = bytearray(content)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def the_entry(store: Path) -> Path:
    return next(store.rglob("*.golden"))


def test_each_of_200_flipped_bits_of_a_stored_golden_is_noticed(clean: Run, tmp_path: Path) -> None:
    entry = the_entry(clean.store)
    content = entry.read_bytes()
    with Store.open(tmp_path) as store:
        noticed = 0
        for seed in range(FLIPS):
            (store.folder / entry.name).write_bytes(flipped(content, seed))
            noticed += store.find(entry.stem) is None and "damaged" in store.notes[-1]

    assert noticed == FLIPS


def test_a_run_says_that_its_golden_was_damaged_and_gives_the_same_numbers(
    make: Make, model: Path, clean: Run, tmp_path: Path
) -> None:
    shutil.copytree(clean.store, tmp_path / "store")
    entry = the_entry(tmp_path / "store")
    entry.write_bytes(flipped(entry.read_bytes(), 1))
    run = make(cache=tmp_path / "store").start("run", "-n", "1", "-m", model, "-b", "subject", "-o", "out").finish()

    assert run.code == 0
    assert "is damaged" in run.summary()["golden"]["notes"][0]
    assert run.numbers("subject") == clean.numbers("subject")
    with Store.open(tmp_path / "store") as store:
        assert store.find(entry.stem) is not None


def test_each_of_200_flipped_bits_of_a_report_is_noticed(
    clean: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (clean.out / "report.jsonl").read_bytes()
    report = tmp_path / "report.jsonl"
    report.write_bytes(content)
    assert invoke(["judge", str(report)]) == 0
    capsys.readouterr()
    for seed in range(FLIPS):
        report.write_bytes(flipped(content, seed))
        assert invoke(["judge", str(report)]) in (2, 5)
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("error: ")
        assert len(told.err.splitlines()) == 1


def test_a_report_cut_off_anywhere_gives_no_verdict(
    clean: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (clean.out / "report.jsonl").read_bytes()
    report = tmp_path / "report.jsonl"
    for seed in range(50):
        report.write_bytes(content[: random.Random(seed).randrange(len(content))])
        assert invoke(["judge", str(report)]) in (2, 5)
        assert capsys.readouterr().out == ""
