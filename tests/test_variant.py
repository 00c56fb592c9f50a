"""The spec grammar: what parses, what it prints to, and how a typo is answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysnoise_conform.errors import ConformError, UsageError
from sysnoise_conform.variant import PRECISIONS, Variant, parse_variant, parse_variants

NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9_./-]{1,12}", fullmatch=True)
VARIANTS = st.builds(
    Variant,
    backend=NAMES,
    precision=st.none() | st.sampled_from(PRECISIONS),
    device=st.none() | st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True),
    options=st.dictionaries(NAMES, VALUES, max_size=3).map(lambda found: tuple(found.items())),
)


@given(VARIANTS)
def test_a_variant_parses_from_the_text_it_prints_to(variant: Variant) -> None:
    assert parse_variant(str(variant)) == variant


@given(st.text(max_size=40))
def test_any_text_is_a_variant_or_one_line_of_usage(text: str) -> None:
    try:
        parse_variants(text)
    except ConformError as err:
        assert isinstance(err, UsageError)
        assert "\n" not in str(err)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ort", Variant(backend="ort")),
        ("openvino:auto@GPU", Variant(backend="openvino", precision="auto", device="GPU")),
        ("trt:fp16@0", Variant(backend="trt", precision="fp16", device="0")),
        ("tflite+delegate=none+threads=1", Variant(backend="tflite", options=(("delegate", "none"), ("threads", "1")))),
        ("ort+python=/opt/a+b/bin/python", Variant(backend="ort", options=(("python", "/opt/a+b/bin/python"),))),
    ],
)
def test_each_part_of_the_grammar_lands_in_its_place(text: str, expected: Variant) -> None:
    assert parse_variant(text) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no backend"),
        ("ort,,openvino", "between the commas"),
        ("ort,ort", "stands twice"),
        ("ort:fp61", "did you mean 'fp16'"),
        ("ort+opt=", "has no value"),
        ("ort+opt=a+opt=b", "stands twice"),
        (":fp16", "does not start with"),
        ("ort@", "device"),
    ],
)
def test_a_typo_is_answered_with_the_part_that_is_wrong(text: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        parse_variants(text)
