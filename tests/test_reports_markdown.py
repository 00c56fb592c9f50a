from __future__ import annotations

import pytest
from report_samples import HOSTILE, every_outcome, hostile, shipped

from sysnoise_conform.reports.markdown import code, prose, render


def test_every_row_of_the_table_has_as_many_cells_as_its_head() -> None:
    for pair in (every_outcome(), hostile()):
        rows = [line for line in render(*pair).splitlines() if line.startswith("|")]
        assert len(rows) > 3
        assert {line.count("|") for line in rows} == {9}


def test_an_ordinary_name_is_a_code_span() -> None:
    assert code("/model/Conv_1:0") == "`/model/Conv_1:0`"


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_name_has_nothing_left_to_act_on(kind: str) -> None:
    said = prose(HOSTILE[kind])
    assert not set(said) & set("`*[]<>|~$")
    assert "@team" not in said
    assert "://" not in said


def test_the_file_that_ships_is_named() -> None:
    assert "Deployed: det&#91;1&#93;.tflite (tflite, sha256 c0dec0dec0de)." in render(*shipped())


def test_a_sentence_stays_readable() -> None:
    assert prose("FAIL: conv_1 (Conv) is off by 3.2 × the floor.") == "FAIL: conv_1 (Conv) is off by 3.2 × the floor."
