"""ONNX's node tests, all of them, and the rules under which a run of them fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from sysnoise_conform.golden import node_tests
from sysnoise_conform.golden.node_tests import Result, Status


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return node_tests.run_all()


def test_no_case_is_wrong_and_at_least_97_percent_pass(results: list[Result]) -> None:
    assert node_tests.faults(results, node_tests.known_cases()) == []


def test_every_case_of_the_default_domain_is_run(results: list[Result]) -> None:
    assert len(results) >= 1850
    assert node_tests.summary(results).endswith(f"wrong, of {len(results)}")


def test_what_is_unsupported_names_operator_opset_and_node(results: list[Result]) -> None:
    for each in results:
        if each.status is Status.UNSUPPORTED:
            assert "opset" in each.why
            assert "node" in each.why


def test_the_kept_table_is_that_of_this_run(results: list[Result]) -> None:
    kept = (Path(__file__).parents[1] / "docs" / "node-tests.md").read_text(encoding="utf-8")

    assert node_tests.table(results).strip() in kept
    assert node_tests.summary(results) in kept


def _passed(count: int) -> list[Result]:
    return [Result(case=f"test_{each}", operator="Add", status=Status.PASSED) for each in range(count)]


def test_a_shrunken_set_fails() -> None:
    assert node_tests.faults(_passed(1850), []) == []
    assert any("only 1849" in each for each in node_tests.faults(_passed(1849), []))


def test_a_known_case_that_no_longer_differs_fails() -> None:
    assert any("no longer differs" in each for each in node_tests.faults(_passed(1850), ["test_7"]))
    assert any("is no case" in each for each in node_tests.faults(_passed(1850), ["test_other"]))


def test_too_many_unsupported_cases_fail() -> None:
    refused = [Result(case=f"test_u{each}", operator="Add", status=Status.UNSUPPORTED) for each in range(60)]

    assert any("97%" in each for each in node_tests.faults(_passed(1800) + refused, []))


def test_a_known_case_is_neither_passed_nor_wrong() -> None:
    known = Result(case="test_k", operator="Add", status=Status.WRONG, known="the expected value is rounded twice")
    wrong = Result(case="test_w", operator="Add", status=Status.WRONG)

    assert node_tests.summary([*_passed(3), known, wrong]) == "node tests: 3 passed, 0 unsupported, 1 wrong, of 5"
