"""A case's outputs against its truth: each way in which an answer can be off is told as what it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sysnoise_conform.probe.case import Kind, ProbeCase, Property, Refusal, Values, case
from sysnoise_conform.probe.contrast import contrast
from sysnoise_conform.probe.result import Agrees, Crashed, Deviates, Result, Shows, Unsupported, as_fields, from_fields

X = np.float32([1, -2, 3, 4])


def a_case(truth: Any = None, **more: Any) -> ProbeCase:
    values = Values(arrays={"y": np.float64([1, 0, 3, 100])}, allowed=1e-3, why="a test")
    return case("a", "Relu", "", Kind.CONTROL, "", {"x": X}, values if truth is None else truth, **more)


def answer(*values: float, dtype: Any = np.float32) -> dict[str, np.ndarray[Any, Any]]:
    return {"y": np.array(values, dtype)}


def test_what_is_within_the_allowance_agrees() -> None:
    found = contrast(a_case(), answer(1, 0.0005, 3, 100), None)

    assert isinstance(found, Agrees)
    assert found.max_abs == pytest.approx(0.0005)


@pytest.mark.parametrize(
    ("got", "shows"),
    [
        ({"y": np.zeros((1, 4), np.float32)}, Shows.SHAPE),
        (answer(1, 0, 3, 100, dtype=np.float64), Shows.TYPE),
        (answer(1, np.nan, 3, 100), Shows.NONFINITE),
        (answer(1, 0, 3, np.inf), Shows.NONFINITE),
        (answer(1, 0, 3, 90), Shows.VALUES),
        (answer(1, 0, 3, 99.5), Shows.SMALL),
    ],
)
def test_a_deviation_shows_in_something(got: dict[str, np.ndarray[Any, Any]], shows: Shows) -> None:
    found = contrast(a_case(), got, None)

    assert isinstance(found, Deviates)
    assert found.shows is shows


def test_a_deviation_is_measured_and_its_first_place_is_named() -> None:
    found = contrast(a_case(), answer(1, 0, 13, 90), None)

    assert isinstance(found, Deviates)
    assert (found.max_abs, found.max_rel, found.beyond, found.of) == (10.0, 0.1, 2, 4)
    assert found.detail == "13 in place of 3 at 2"


def test_a_nan_that_belongs_there_agrees_and_one_that_is_hidden_does_not() -> None:
    wanted = a_case(np.float32([1, np.nan, -np.inf]))

    assert isinstance(contrast(wanted, answer(1, np.nan, -np.inf), None), Agrees)
    for got in (answer(1, 0, -np.inf), answer(1, np.nan, np.inf)):
        found = contrast(wanted, got, None)
        assert isinstance(found, Deviates)
        assert (found.shows, found.beyond) == (Shows.NONFINITE, 1)


def test_integers_have_no_allowance() -> None:
    wanted = a_case(np.int64([1, 2]))
    found = contrast(wanted, {"y": np.int64([1, 3])}, None)

    assert isinstance(found, Deviates)
    assert found.shows is Shows.VALUES


def test_another_answer_at_the_second_run_is_told_unless_chance_belongs_to_it() -> None:
    first, second = answer(1, 0, 3, 100), answer(1, 0, 3, 99.9999)

    found = contrast(a_case(), first, second)
    assert isinstance(found, Deviates)
    assert found.shows is Shows.UNSTEADY
    assert isinstance(contrast(a_case(steady=False), first, second), Agrees)
    wrong = contrast(a_case(), answer(9, 0, 3, 100), second)
    assert isinstance(wrong, Deviates)
    assert wrong.shows is Shows.VALUES
    assert wrong.detail.endswith("and another answer at the second run")


def test_an_answer_where_an_error_is_right_is_a_deviation() -> None:
    found = contrast(a_case(Refusal(why="an index is out of bounds")), answer(5, 0, 0), None)

    assert isinstance(found, Deviates)
    assert found.shows is Shows.NO_ERROR
    assert "out of bounds" in found.detail


def test_a_property_says_what_is_wrong() -> None:
    wanted = a_case(Property(check=lambda outputs: "" if outputs["y"].all() else "a zero", about="no zeros"))

    assert isinstance(contrast(wanted, answer(1, 2), None), Agrees)
    found = contrast(wanted, answer(1, 0), None)
    assert isinstance(found, Deviates)
    assert found.detail == "a zero"
    assert isinstance(contrast(wanted, {}, None), Deviates)


def test_an_output_that_is_not_there_is_not_supported() -> None:
    assert isinstance(contrast(a_case(), {}, None), Unsupported)


@pytest.mark.parametrize(
    "result",
    [
        Agrees(max_abs=1e-7),
        Deviates(shows=Shows.VALUES, max_abs=2.5, max_rel=0.25, beyond=3, of=9, detail="1 in place of 2 at 0"),
        Deviates(shows=Shows.SHAPE, detail="shape [1] in place of [2]"),
        Unsupported(stage="convert", why="no kernel"),
        Crashed(stage="run", cause="crash", why="died of SIGSEGV"),
    ],
)
def test_a_result_comes_back_from_json(result: Result) -> None:
    assert from_fields(as_fields(result)) == result


@pytest.mark.parametrize(
    "fields",
    [{}, {"result": "splendid"}, {"result": "deviates", "shows": "smell"}, {"result": "agrees", "max_abs": []},
     {"result": "agrees", "more": 1}],
)  # fmt: skip
def test_what_is_no_result_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        from_fields(fields)
