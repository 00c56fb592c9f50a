"""A converted variant on paper: design and implementation apart, everywhere, and how its graph came about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_samples import HOSTILE, converted
from test_reports_summary import SUMMARY, refuse, validator

from sysnoise_conform.report import Report, ReportWriter
from sysnoise_conform.reports import html, junit, markdown, terminal
from sysnoise_conform.reports.parquet import frame
from sysnoise_conform.reports.summary import render, summary

NAME = "sigmoid_0.tmp_0"


@pytest.mark.parametrize("name", [NAME, *HOSTILE.values()])
def test_the_summary_follows_its_schema_whatever_the_names(name: str) -> None:
    SUMMARY.validate(json.loads(render(*converted(name=name)), parse_constant=refuse))


def test_the_summary_tells_both_parts_and_their_sum() -> None:
    plain, quantised = summary(*converted())["variants"]

    (output,) = quantised["outputs"]
    assert output["design"]["rel_l2"] == pytest.approx(0.04)
    assert output["design"]["sqnr_db"] == pytest.approx(27.96, abs=0.01)
    assert output["implementation"]["rel_l2"] == output["rel_l2"] == pytest.approx(1e-6)
    assert output["implementation"]["floor_ratio"] == output["floor_ratio"]
    assert output["total"]["rel_l2"] == pytest.approx(0.041)
    assert plain["outputs"][0]["design"] is None
    assert quantised["layers"]["total"] == quantised["layers"]["observable"] == 5


def test_a_converted_report_comes_back_as_it_went_in(tmp_path: Path) -> None:
    report, _ = converted()
    with ReportWriter(tmp_path) as writer:
        writer.header(report.header)
        for each in report.results:
            writer.result(each)
        writer.footer()

    assert Report.read(tmp_path).results == report.results
    lines = validator("report.json")
    for line in (tmp_path / "report.jsonl").read_text().splitlines():
        lines.validate(json.loads(line))


def test_people_read_both_parts_the_recipe_and_the_command_that_brings_it_back() -> None:
    for said in (terminal.render(*converted()), markdown.render(*converted()), html.render(*converted())):
        words = " ".join(said.split())
        assert "0.0400" in words  # design
        assert "28.0" in words  # its SQNR
        assert "0.0410" in words  # total
        assert "preset ort, observer minmax" in words
        assert "16 samples, split off from the inputs" in words
        assert "conform run --model models/det.onnx --backends ort:int8+preset=ort+observer=minmax" in words


@pytest.mark.parametrize("name", HOSTILE.values())
def test_no_name_gets_out_of_its_place(name: str) -> None:
    page = html.render(*converted(name=name))

    assert "<script" not in page
    assert "<img" not in page
    for said in (terminal.render(*converted(name=name)), markdown.render(*converted(name=name))):
        assert "\x1b" not in said
        assert "\u202e" not in said
    assert "<script>" not in markdown.render(*converted(name=name))
    junit.render(*converted(name=name))


def test_the_table_has_a_row_for_each_part() -> None:
    table = frame(converted()[0])

    roles = table.filter(table["variant"] == "ort:int8")["role"].value_counts().rows()
    assert dict(roles) == {"output": 1, "layer": 5, "observer": 1, "design": 5, "total": 1}
