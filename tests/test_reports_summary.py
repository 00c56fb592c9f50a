from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from report_samples import HOSTILE, broken_numbers, every_outcome, hostile, measured, names_of, nothing, odd, single

from sysnoise_conform.outcome import Result
from sysnoise_conform.report import ReportWriter
from sysnoise_conform.reports.summary import render, summary

ODD = odd()


def validator(name: str) -> Draft202012Validator:
    text = (files("sysnoise_conform.reports") / "schema" / name).read_text(encoding="utf-8")
    Draft202012Validator.check_schema(json.loads(text))
    return Draft202012Validator(json.loads(text))


SUMMARY = validator("summary.json")


def variant(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in found["variants"] if each["variant"] == name)


def refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is not JSON")


def test_every_outcome_follows_the_schema() -> None:
    SUMMARY.validate(summary(*every_outcome()))


def test_hostile_names_follow_the_schema_and_come_back_as_they_are() -> None:
    found = json.loads(render(*hostile()))
    SUMMARY.validate(found)
    assert [each["name"] for each in variant(found, "ort")["outputs"]] == list(HOSTILE.values())


@pytest.mark.parametrize("kind", ODD)
def test_odd_reports_follow_the_schema(kind: str) -> None:
    SUMMARY.validate(summary(*ODD[kind]))


@pytest.mark.parametrize("kind", ODD)
def test_the_text_is_strict_json_without_nan(kind: str) -> None:
    json.loads(render(*ODD[kind]), parse_constant=refuse)


def test_it_has_the_keys_that_programs_rely_on() -> None:
    found = summary(*every_outcome())
    assert {"schema", "verdict", "exit_code", "model", "golden", "inputs", "variants"} <= set(found)
    assert set(found["model"]) == {"path", "sha256", "opset", "nodes"}
    assert set(found["golden"]) == {"torch", "cached", "source", "notes"}
    assert set(found["inputs"]) == {"kind", "samples", "sha256"}
    ort = variant(found, "ort")
    assert {
        "variant", "status", "verdict", "runtime", "outputs", "layers", "observer_effect",
        "seconds", "peak_rss_mb", "reason",
    } <= set(ort)  # fmt: skip
    assert {"name", "version", "device", "effective_precision", "options"} <= set(ort["runtime"])
    assert {
        "name", "max_abs", "rmse", "rel_l2", "sqnr_db", "cosine", "floor_ratio", "nan_mismatch",
    } <= set(ort["outputs"][0])  # fmt: skip
    assert {"total", "observable", "unobservable", "first_departure", "worst"} <= set(ort["layers"])
    assert set(ort["seconds"]) == {"compile", "run", "total"}


def test_the_file_that_ships_is_named_where_it_is_another_than_the_model() -> None:
    report, judgement = every_outcome()
    shipped = {"path": "det.tflite", "format": "tflite", "sha256": "ab" * 32, "names": {"y": "z"}, "layouts": {}}
    found = summary(replace(report, header={**report.header, "deployed": shipped}), judgement)

    assert found["deployed"] == {"path": "det.tflite", "format": "tflite", "sha256": "ab" * 32}
    SUMMARY.validate(found)
    assert summary(report, judgement)["deployed"] is None


def test_observable_and_unobservable_layers_make_the_total() -> None:
    found = summary(*every_outcome(120))
    for name in ("ort", "openvino:auto"):
        layers = variant(found, name)["layers"]
        assert layers["total"] == 120
        assert layers["observable"] + len(layers["unobservable"]) == 120


def test_a_layer_that_nobody_speaks_of_is_not_observable() -> None:
    names = names_of(6)
    found = summary(*single(measured(names, hidden=0, layers=measured(names, hidden=0).layers[:4]), names))
    layers = found["variants"][0]["layers"]
    assert layers["observable"] == 4
    assert [each["tensor"] for each in layers["unobservable"]] == names[4:]


def test_an_exact_output_has_no_decibels_and_says_exact() -> None:
    output = summary(*ODD["all exact"])["variants"][0]["outputs"][0]
    assert output["exact"] is True
    assert output["max_abs"] == 0
    assert output["sqnr_db"] is None


def test_what_is_not_finite_is_null_beside_the_count_of_nan() -> None:
    output = summary(*ODD["NaN"])["variants"][0]["outputs"][0]
    assert output["nan_mismatch"] == broken_numbers().nan_mismatch
    assert output["max_abs"] is None
    assert output["floor_ratio"] is None


def test_the_reason_stands_where_nothing_was_measured() -> None:
    found = summary(*every_outcome())
    crashed = next(each for each in found["variants"] if each["status"] == "crashed")
    assert "SIGSEGV" in crashed["reason"]
    assert crashed["layers"] is None
    assert variant(found, "ort")["reason"] is None


def test_a_run_of_nothing_is_not_green() -> None:
    found = summary(*nothing())
    assert found["variants"] == []
    assert found["exit_code"] != 0


def test_each_line_of_a_report_follows_its_schema(tmp_path: Path) -> None:
    lines = validator("report.json")
    report, _ = every_outcome(30)
    with ReportWriter(tmp_path) as writer:
        writer.header(report.header)
        for each in (
            *report.results,
            Result(variant="nan", outcome=measured(names_of(2), outputs=(broken_numbers(),))),
        ):
            writer.result(each)
        writer.footer({"golden": {"torch": "2.13.0"}, "seconds": 1.5})
    for line in (tmp_path / "report.jsonl").read_text(encoding="utf-8").splitlines():
        lines.validate(json.loads(line))
