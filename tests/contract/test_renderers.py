"""What every renderer must do: tell of every outcome, obey no name, and say the same thing twice alike."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET

import pytest
from report_samples import HOSTILE, OUTCOMES, every_outcome, hostile, nothing, odd

from sysnoise_conform.errors import UsageError
from sysnoise_conform.outcome import Measured
from sysnoise_conform.reports import FORMATS, render
from sysnoise_conform.reports.wording import reason

# The controls that could steer a terminal or turn text around; line breaks and tabs are layout.
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
ODD = odd()

pytestmark = pytest.mark.parametrize("form", FORMATS)


def plain(form: str, text: str) -> str:
    """The text without its format's escapes and layout."""
    if form == "junit":
        text = " ".join(
            each for node in ET.fromstring(text).iter() for each in (*node.attrib.values(), node.text or "")
        )
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split()).replace("’", "'")


@pytest.mark.parametrize("kind", OUTCOMES)
def test_every_outcome_is_told_with_its_reason(form: str, kind: str) -> None:
    text = plain(form, render(form, *every_outcome()))
    words = {kind, kind.replace("_", " ")}
    assert any(word in text for word in words)
    why = reason(OUTCOMES[kind])
    assert why is not None
    assert why in text


def test_what_was_measured_is_told_with_its_verdict_and_its_precision(form: str) -> None:
    text = render(form, *every_outcome())
    assert "openvino:auto" in text
    assert "sigmoid_0.tmp_0" in text
    assert "FAIL" in text
    assert "bf16" in text


def test_the_verdict_sentence_stands_in_it(form: str) -> None:
    report, judgement = every_outcome()
    assert judgement.sentence.removeprefix("FAIL: ") in plain(form, render(form, report, judgement))


def test_no_control_character_of_a_name_comes_through(form: str) -> None:
    assert CONTROLS.findall(render(form, *hostile())) == []


def test_a_hostile_text_can_be_written_as_utf8(form: str) -> None:
    render(form, *hostile()).encode("utf-8")


def test_no_name_becomes_markup(form: str) -> None:
    text = render(form, *hostile())
    if form in ("html", "junit", "markdown"):
        assert "<script" not in text
        assert "<img" not in text
        assert "<!DOCTYPE x" not in text
        assert "<!--" not in text


def test_a_name_of_ten_thousand_letters_is_shortened_for_people(form: str) -> None:
    if form != "summary":  # programs get the name as it is
        assert HOSTILE["long"] not in render(form, *hostile())


def test_the_same_facts_give_the_same_bytes(form: str) -> None:
    assert render(form, *every_outcome()) == render(form, *every_outcome())


@pytest.mark.parametrize("kind", ODD)
def test_odd_reports_are_rendered(form: str, kind: str) -> None:
    report, judgement = ODD[kind]
    text = render(form, report, judgement)
    assert judgement.verdict.name in text
    for result in report.results:
        assert isinstance(result.outcome, Measured)
        assert result.variant in html.unescape(text)


def test_a_run_without_variants_is_rendered_and_never_green(form: str) -> None:
    text = render(form, *nothing())
    assert "INCONCLUSIVE" in text


def test_verdicts_of_another_run_are_refused(form: str) -> None:
    report, _ = every_outcome()
    with pytest.raises(ValueError, match="do not belong"):
        render(form, report, nothing()[1])


def test_an_unknown_format_is_a_usage_error_that_knows_better(form: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean '{form}'"):
        render(form[:-1], *nothing())
