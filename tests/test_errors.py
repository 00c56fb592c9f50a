"""Errors travel from a child to its parent and stay themselves."""

from __future__ import annotations

import pytest

from sysnoise_conform.errors import (
    BackendDied,
    BackendUnavailable,
    BadModel,
    ConformError,
    StorageError,
    TruncatedReport,
    Unsupported,
    UnsupportedOperator,
    UsageError,
    from_fields,
)

EACH = [
    UsageError("what", hint="do"),
    BadModel("broken"),
    UnsupportedOperator("no", op="Foo", opset=3, node="n"),
    StorageError("full"),
    TruncatedReport("cut"),
    BackendUnavailable("absent", hint="pip install it"),
    Unsupported("refused", stage="convert", node="n", op="Conv"),
    BackendDied("gone", stage="run", cause="crash", signal="SIGSEGV"),
]


@pytest.mark.parametrize("err", EACH, ids=lambda each: type(each).__name__)
def test_an_error_that_went_through_json_is_the_same_error(err: ConformError) -> None:
    back = from_fields(err.fields())

    assert type(back) is type(err)
    assert back.fields() == err.fields()
    assert str(back) == str(err)


def test_an_unknown_error_is_still_an_error_with_its_message() -> None:
    assert str(from_fields({"error": "os.system", "message": "hello"})) == "hello"
    assert type(from_fields({"error": "Exception", "message": "x"})) is ConformError


def test_the_hint_follows_the_message_on_the_same_line() -> None:
    assert str(UsageError("no backend is called 'otr'", hint="did you mean 'ort'?")) == (
        "no backend is called 'otr'; did you mean 'ort'?"
    )
