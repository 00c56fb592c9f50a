from __future__ import annotations

import numpy as np
import pytest

from sysnoise_conform.card import Card
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.graph.constants import parse_bindings, parse_constant


@pytest.mark.parametrize(
    ("text", "value", "dtype"),
    [
        ("16000", 16000, np.int64), ("-1", -1, np.int64), ("0.5", 0.5, np.float64), ("1e-3", 1e-3, np.float64),
        ("true", True, np.bool_), ("[1, 2,3]", [1, 2, 3], np.int64), ("[7]", [7], np.int64),
        ("1,2.5", [1, 2.5], np.float64), ("[true,false]", [True, False], np.bool_), ("inf", np.inf, np.float64),
    ],
)  # fmt: skip
def test_constants_are_read_as_numbers_write_them(text: str, value: object, dtype: type) -> None:
    array = parse_constant("x", text)

    assert array.dtype == dtype
    assert array.tolist() == value


@pytest.mark.parametrize("text", ["", "abc", "[1, two]", "1,,2", "9" * 400])
def test_what_is_no_number_is_bad_input(text: str) -> None:
    if text == "9" * 400:
        assert np.isinf(parse_constant("x", text))
        return
    with pytest.raises(BadInput, match="not a number"):
        parse_constant("x", text)


def test_the_command_line_overrides_the_card() -> None:
    card = Card(name="c", bind={"sr": 16000, "gain": 0.5})

    values = parse_bindings({"sr": "8000"}, card)

    assert {name: array.tolist() for name, array in values.items()} == {"sr": 8000, "gain": 0.5}
    with pytest.raises(UsageError, match="no number"):
        parse_bindings({}, Card(name="c", bind={"sr": "fast"}))
