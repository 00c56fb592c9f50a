from __future__ import annotations

import io
import re

import pytest
from report_samples import every_outcome, hostile, odd
from rich.cells import cell_len
from rich.console import Console

from sysnoise_conform.reports.terminal import render, show

ODD = odd()


def widest(text: str) -> int:
    """Columns of the widest line but the verdict's, which a pipe gets whole."""
    return max(cell_len(line) for line in text.splitlines()[:-1])


@pytest.mark.parametrize("kind", ODD)
def test_no_line_is_wider_than_80_columns(kind: str) -> None:
    assert widest(render(*ODD[kind])) <= 80


def test_hostile_names_keep_to_80_columns() -> None:
    assert widest(render(*hostile())) <= 80


def test_the_verdict_sentence_is_the_last_line_of_a_pipe() -> None:
    report, judgement = every_outcome()
    assert render(report, judgement).splitlines()[-1] == judgement.sentence


def test_a_pipe_gets_neither_colours_nor_boxes() -> None:
    text = render(*every_outcome())
    assert "\x1b" not in text
    assert not re.search("[\u2500-\u257f]", text)


def test_a_terminal_gets_colours_but_no_name_can_set_them() -> None:
    stream = io.StringIO()
    show(*hostile(), Console(file=stream, width=80, force_terminal=True, color_system="standard", highlight=False))
    codes = set(re.findall(r"\x1b\[[0-9;]*m", stream.getvalue()))
    assert codes <= {"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m"}
    assert "[red]" in stream.getvalue()


def test_numbers_stay_whole_beside_a_long_name() -> None:
    text = render(*hostile())
    assert text.count("1.00e-06") == 11
    assert text.count("6.00e-06") == 11


def test_the_first_departure_is_told_with_operator_node_and_reading() -> None:
    text = " ".join(render(*every_outcome()).split())
    assert "departs Relu 'Relu_34' (layer 35 of 120) is 4,690 floor units off" in text
    assert "this looks like bfloat16 arithmetic" in text


def test_coverage_and_observer_effect_are_told() -> None:
    text = " ".join(render(*every_outcome()).split())
    assert "118 of 120 layers compared (98.3 %)" in text
    assert "12 more tensors inside If, Loop or Scan bodies" in text
    assert "tapping moves the outputs by up to 0.250 × the noise floor" in text


def test_nan_is_told_with_its_place() -> None:
    text = " ".join(render(*ODD["NaN"]).split())
    assert "NaN or Inf on one side only in 4 of 4 elements, first at sample 0, index 0,2" in text


def test_another_shape_is_told() -> None:
    assert "shape [1, 8] where the golden has [1, 4, 32, 32]" in " ".join(render(*ODD["another shape"]).split())


def test_a_stdout_without_the_letters_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    show(*every_outcome())
    assert b"\\u2713" in raw.getvalue()
