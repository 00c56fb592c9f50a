"""Text from strangers can't steer a terminal."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from sysnoise_conform.printable import lines, one_line

HOSTILE = "\x1b[31mred\x1b[0m \x1b]0;title\x07 nul\x00 bidi\u202e bom\ufeff\nnext\ttab"


def test_escapes_controls_and_bidi_overrides_do_not_survive() -> None:
    assert one_line(HOSTILE) == "red nul\\x00 bidi\\u202e bom\\ufeff next tab"


@given(st.text())
def test_one_line_is_one_printable_line(text: str) -> None:
    shown = one_line(text)
    assert len(shown) <= 400
    assert not any(unicodedata.category(each) in {"Cc", "Zl", "Zp", "Cs"} for each in shown)


@given(st.text())
def test_lines_keep_their_breaks_and_nothing_else_that_controls(text: str) -> None:
    assert not any(unicodedata.category(each) in {"Cc", "Cs"} for each in lines(text).replace("\n", ""))


def test_a_long_name_is_cut_and_says_so() -> None:
    assert one_line("x" * 1000, 10) == "xxxxxxxxx…"
