"""Any text at all on the command line means something or is a UsageError of one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bounded import fuzz
from hypothesis import example, given
from hypothesis import strategies as st
from refusing import is_one_line

from sysnoise_conform.cli import parse
from sysnoise_conform.errors import UsageError
from sysnoise_conform.variant import parse_variant, parse_variants

PIECES = st.sampled_from([
    "ort", "openvino", ":", "@", "+", "=", ",", "x", "-", ".", "0", "1", "9" * 30, "fp16", "auto", "NHWC", "G", "iB",
    " ", "\t", "\n", "\0", "\x1b[2J", "\u202e", "\ud800", "é", "٣", "²", "1e9", "1e999", "nan", "scalar", "threads",
])  # fmt: skip
TEXTS = st.text(max_size=30) | st.lists(PIECES, max_size=12).map("".join)
READERS: dict[str, Callable[[str], object]] = {
    "variant": parse_variant,
    "variants": parse_variants,
    "shape": lambda text: parse.shape("x", text),
    "size": lambda text: parse.size(text, "--memory"),
    "pairs": lambda text: parse.pairs([text], "--map"),
    "layouts": lambda text: parse.layouts(parse.pairs([text], "--layout")),
    "arguments": lambda text: parse.refuse_empty([text, "--model", text]),
}


def told(reader: Callable[[str], object], text: str) -> object:
    try:
        return reader(text)
    except UsageError as err:
        assert is_one_line(str(err)), ascii(str(err))
        return None


@pytest.mark.parametrize("name", READERS)
@fuzz(500)
@given(TEXTS)
@example("9" * 400 + "G")
@example("1" * 400)
@example("٣")
def test_any_text_is_read_or_refused_in_one_line(name: str, text: str) -> None:
    told(READERS[name], text)


@fuzz(1000)
@given(TEXTS)
def test_a_variant_that_parses_prints_to_a_text_that_means_the_same(text: str) -> None:
    found = told(parse_variant, text)

    assert found is None or parse_variant(str(found)) == found


@fuzz(1000)
@given(TEXTS)
def test_a_list_of_variants_that_parses_prints_to_a_list_that_means_the_same(text: str) -> None:
    found = told(parse_variants, text)

    if isinstance(found, tuple):
        assert parse_variants(",".join(str(each) for each in found)) == found


@fuzz(1000)
@given(TEXTS)
def test_a_size_is_a_positive_number_of_bytes(text: str) -> None:
    found = told(READERS["size"], text)

    assert found is None or (isinstance(found, int) and found > 0)
