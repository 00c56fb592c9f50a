"""How far the presets of one backend are apart, in every form of a report."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace

import pytest
from report_samples import converted, diff, judged, runtime
from test_reports_summary import validator

from sysnoise_conform.judge.verdict import Judgement
from sysnoise_conform.outcome import Measured, Result
from sysnoise_conform.report import Report
from sysnoise_conform.reports import html as page
from sysnoise_conform.reports import markdown, summary, terminal
from sysnoise_conform.reports.rows import variant_rows
from sysnoise_conform.reports.spread import in_words, spreads

SAID = "ort:int8, y: design SQNR 14.0 dB (snpe) to 40.0 dB (qnn, mse) over 3 presets"


def over_presets(costs: dict[str, float], *, name: str = "y") -> tuple[Report, Judgement]:
    """One variant for each text, whose design error at the output is given; the first sample's makes the rest."""
    report, _ = converted(name=name)
    (made,) = report.header["conversions"]
    _, result = report.results
    assert isinstance(result.outcome, Measured)
    conversions, results = [], []
    for text, rel in costs.items():
        preset = re.search(r"preset=(\w+)", text)
        assert preset is not None
        recipe = {**made["record"]["recipe"], "preset": preset[1], "observer": text.partition("+observer=")[2]}
        conversions.append({**made, "variants": [text], "record": {**made["record"], "recipe": recipe}})
        design = (diff(name, rel=rel, floor=0.0),)
        outcome = replace(result.outcome, design=design, runtime=runtime(precision="int8", asked="int8"))
        results.append(Result(variant=text, outcome=outcome))
    head = {**report.header, "conversions": conversions, "variants": list(costs)}
    found = Report(header=head, results=tuple(results), footer={})
    return found, judged(found)


EVERY = {"ort:int8+preset=ort": 0.1, "ort:int8+preset=snpe": 0.2, "ort:int8+preset=qnn+observer=mse": 0.01}


def test_the_best_and_the_worst_preset_of_a_backend_are_told_with_their_number() -> None:
    report, judgement = over_presets({**EVERY, "openvino:int8+preset=ort": 0.5})
    found = spreads(report.header, variant_rows(report, judgement))
    assert [(each.variant, each.output) for each in found] == [("ort:int8", "y")]  # of one preset there is no spread
    assert found[0].sqnr_db == pytest.approx({"ort": 20.0, "snpe": 13.98, "qnn, mse": 40.0}, abs=0.01)
    assert list(in_words(found)) == [SAID]


def test_every_form_of_a_report_has_the_line() -> None:
    report, judgement = over_presets(EVERY)
    for form in (terminal.render, markdown.render, page.render):
        text = html.unescape(re.sub(r"<[^>]*>", " ", form(report, judgement)))
        assert SAID in " ".join(text.split()), form.__module__
    told = json.loads(summary.render(report, judgement))
    validator("summary.json").validate(told)
    (spread,) = told["presets"]
    assert (spread["variant"], spread["lowest"], spread["highest"]) == ("ort:int8", "snpe", "qnn, mse")


def test_a_run_without_two_presets_has_no_such_line() -> None:
    report, judgement = converted()
    assert summary.summary(report, judgement)["presets"] == []
    for form in (terminal.render, markdown.render, page.render):
        assert "design SQNR" not in form(report, judgement)


def test_options_that_are_no_preset_make_groups_of_their_own() -> None:
    report, judgement = over_presets({
        "ort:int8+opt=basic+preset=ort": 0.1, "ort:int8+preset=snpe+opt=basic": 0.2, "ort:int8+preset=qnn": 0.3,
    })  # fmt: skip
    (found,) = spreads(report.header, variant_rows(report, judgement))
    assert found.variant == "ort:int8+opt=basic"


def test_an_output_without_an_error_has_no_decibels() -> None:
    report, judgement = over_presets({"ort:int8+preset=ort": 0.0, "ort:int8+preset=qnn": 0.0})
    assert spreads(report.header, variant_rows(report, judgement)) == ()
