"""The journal of the measurement of what is located: it goes on where it was ended, and never mixes two states."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.locating import cells
from benchmarks.locating.cells import Cell, Journal

CELL = Cell(network="unet_1", backend="ort", fault="border_lost", tensor="conv_4", outcome="located", seconds=0.5)


def test_what_was_finished_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cells.jsonl"
    Journal(path).add(CELL)
    Journal(path).add(replace(CELL, tensor="conv_6", outcome="missed", said="named nobody"))

    found = Journal(path).cells()

    assert found[CELL.key] == CELL
    assert [each.outcome for each in found.values()] == ["located", "missed"]


def test_a_line_that_was_cut_off_is_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    Journal(path).add(CELL)
    path.write_text(path.read_text()[:-20])

    assert Journal(path).cells() == {}


def test_a_cell_after_a_line_that_was_cut_off_is_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    Journal(path).add(CELL)
    path.write_text(path.read_text()[:-20])
    Journal(path).add(CELL)

    assert list(Journal(path).cells()) == [CELL.key]


def test_other_sources_make_it_all_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cells.jsonl"
    Journal(path).add(CELL)
    monkeypatch.setattr(cells, "state", lambda: "another")

    assert Journal(path).cells() == {}


def test_two_processes_do_not_take_the_same_cells(tmp_path: Path) -> None:
    first, second = Journal(tmp_path / "cells.jsonl"), Journal(tmp_path / "cells.jsonl")

    with first.alone("unet_1 ort") as mine, second.alone("unet_1 ort") as theirs, second.alone("unet_1 mnn") as other:
        assert (mine, theirs, other) == (True, False, True)
    with second.alone("unet_1 ort") as theirs:
        assert theirs
