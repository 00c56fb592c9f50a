from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import date

import pytest
from report_samples import broken_numbers, every_outcome, hostile, measured, names_of, nothing, odd, shipped, single

from sysnoise_conform.judge import judge
from sysnoise_conform.judge.policy import parse_policy
from sysnoise_conform.outcome import Unobservable
from sysnoise_conform.reports.junit import render

ODD = odd()
REPORTS = {"every outcome": every_outcome(), "hostile": hostile(), "nothing": nothing(), **ODD}


def suites(kind: str) -> dict[str, ET.Element]:
    return {each.get("name", ""): each for each in ET.fromstring(render(*REPORTS[kind]).encode())}


def tags(suite: ET.Element) -> list[str]:
    return [child.tag for case in suite.iter("testcase") for child in case if child.tag != "system-out"]


@pytest.mark.parametrize("kind", REPORTS)
def test_it_is_well_formed_and_its_counts_are_right(kind: str) -> None:
    root = ET.fromstring(render(*REPORTS[kind]).encode())
    for element in (root, *root):
        assert element.get("tests") == str(len(list(element.iter("testcase"))))
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert element.get(count) == str(len(list(element.iter(tag))))


def test_a_variant_that_passes_is_green() -> None:
    assert tags(suites("every outcome")["ort"]) == []


def test_a_variant_that_fails_has_failures_with_the_sentence() -> None:
    failures = list(suites("every outcome")["openvino:auto"].iter("failure"))
    assert len(failures) == 2
    assert "first departure: Relu 'Relu_34' (layer 35 of 120)" in (failures[0].get("message") or "")


@pytest.mark.parametrize(
    ("variant", "tag"),
    [("backend0", "skipped"), ("backend1", "skipped"), ("backend2", "skipped"),
     ("backend3", "error"), ("backend4", "error"), ("backend5", "error")],
)  # fmt: skip
def test_what_was_not_measured_is_never_green(variant: str, tag: str) -> None:
    assert tags(suites("every outcome")[variant]) == [tag]


@pytest.mark.parametrize(
    ("variant", "word", "tag"), [("openvino:auto", "EXPECTED", "skipped"), ("ort", "STALE", "failure")]
)
def test_a_deviation_that_is_expected_is_not_green_and_a_stale_one_fails(variant: str, word: str, tag: str) -> None:
    report, _ = every_outcome()
    policy = parse_policy(
        f"""
        [[deviation]]
        variant = "{variant}"
        because = "it is known"
        owner = "ada"
        link = "https://example.org/1"
        expires = 2027-01-31
        """
    )
    judgement = judge(report, policy, today=date(2026, 11, 21))
    assert next(each for each in judgement.variants if each.variant == variant).verdict.name == word
    suite = ET.fromstring(render(report, judgement)).find(f"testsuite[@name='{variant}']")
    assert suite is not None
    assert tags(suite)[0] == tag


def test_a_run_of_nothing_is_an_error() -> None:
    assert tags(suites("nothing")["conform"]) == ["error"]


def test_an_output_that_was_not_compared_is_an_error() -> None:
    names = names_of(3)
    lost = (Unobservable(tensor="boxes", why="the golden keeps no sequence"),)
    root = ET.fromstring(render(*single(measured(names, missing_outputs=lost), names)))
    assert [child.tag for child in root.find(".//testcase[@name='boxes']") or ()] == ["error"]


def test_the_file_that_ships_is_a_property() -> None:
    root = ET.fromstring(render(*shipped()))
    found = {each.get("name"): each.get("value") for each in root.iter("property")}
    assert (found["deployed.path"], found["deployed.sha256"]) == ("det[1].tflite", "c0de" * 16)
    assert found["deployed.format"] == "tflite"


def test_nan_fails_its_output() -> None:
    names = names_of(3)
    root = ET.fromstring(render(*single(measured(names, outputs=(broken_numbers(),)), names)))
    case = root.find(".//testcase[@name='sigmoid_0.tmp_0']")
    assert case is not None
    assert [child.tag for child in case] == ["failure"]


def test_provenance_is_in_the_properties() -> None:
    found = {each.get("name"): each.get("value") for each in suites("every outcome")["openvino:auto"].iter("property")}
    assert found["effective_precision"] == "bf16"
    assert found["model.sha256"] == "5e8c" * 16
    assert found["environment.conform"] == "0.1.0"
