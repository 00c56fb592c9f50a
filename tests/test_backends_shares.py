"""Shares of precisions, in words and in numbers."""

from __future__ import annotations

import pytest

from sysnoise_conform.backends.shares import Shares, worded


@pytest.mark.parametrize(("counts", "words"), [
    ({}, ""), ({"fp32": 7}, "fp32"), ({"fp32": 1, "int8": 3}, "int8 75 %, fp32 25 %"),
    ({"int8": 999, "fp32": 1}, "int8 >99 %, fp32 <1 %"),  # what is not all of it never reads as 100 %
])  # fmt: skip
def test_shares_in_words(counts: dict[str, int], words: str) -> None:
    assert worded(counts) == words


def test_layers_and_operations_are_counted_apart() -> None:
    shares = Shares()
    shares.add("int8", 900)
    shares.add("fp32")
    shares.add("fp32", 100)
    assert shares.text == "fp32 67 %, int8 33 %"
    assert shares.told == {"operations": "int8 90 %, fp32 10 %"}
    assert shares.fields() == {
        "layers": {"fp32": pytest.approx(2 / 3, abs=1e-6), "int8": pytest.approx(1 / 3, abs=1e-6)},
        "flops": {"int8": 0.9, "fp32": 0.1},
    }


def test_without_products_no_share_of_operations_is_claimed() -> None:
    shares = Shares()
    shares.add("fp32")
    assert shares.told == {}
    assert "flops" not in shares.fields()
