"""The small texts of the command line."""

from __future__ import annotations

import pytest

from sysnoise_conform.cli import parse
from sysnoise_conform.errors import UsageError


def test_a_pair_splits_at_its_last_equals_sign() -> None:
    assert parse.pairs(["a=b=1", "c=2"], "--input") == {"a=b": "1", "c": "2"}


@pytest.mark.parametrize("texts", [["a"], ["=1"], ["a="], ["a=1", "a=2"]])
def test_a_broken_pair_names_the_option(texts: list[str]) -> None:
    with pytest.raises(UsageError, match="--input"):
        parse.pairs(texts, "--input")


@pytest.mark.parametrize(("text", "sizes"), [("1,3,8,8", (1, 3, 8, 8)), ("1x3", (1, 3)), ("7", (7,)), ("scalar", ())])
def test_a_shape_is_a_list_of_sizes(text: str, sizes: tuple[int, ...]) -> None:
    assert parse.shape("x", text) == sizes


@pytest.mark.parametrize("text", ["", "1,", "a", "-1", "1.5", "1,,2"])
def test_what_is_no_list_of_sizes_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shape"):
        parse.shape("x", text)


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 << 30), ("800M", 800 << 20), ("1.5k", 1536), ("2 GiB", 2 << 30), ("17", 17)]
)
def test_a_size_has_a_unit_of_1024(text: str, size: int) -> None:
    assert parse.size(text, "--memory") == size


@pytest.mark.parametrize("text", ["lots", "-1", "0", "G", "1e9", ""])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="800M"):
        parse.size(text, "--memory")


def test_channels_last_is_the_only_layout_to_declare() -> None:
    assert parse.layouts({"a": "NHWC", "b": "NCHW"}) == {"a": "NHWC"}
    with pytest.raises(UsageError, match="NHWC"):
        parse.layouts({"a": "CHWN"})
