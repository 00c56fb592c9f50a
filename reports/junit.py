"""`junit.xml` for CI: a test case per variant and output; green only for what was compared and conforms."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.judge.verdict import Judgement
from sysnoise_conform.outcome import Measured, NoOp, NotApplicable, Skipped, TensorDiff, Unobservable
from sysnoise_conform.printable import one_line
from sysnoise_conform.report import Report
from sysnoise_conform.reports.rows import VariantRow, variant_rows
from sysnoise_conform.reports.wording import (
    decibels,
    duration,
    floor_units,
    number,
    reason,
    runtime_of,
    status,
    trouble,
)

# What XML 1.0 (clause 2.2, Char) has no place for. `printable` has escaped most of it before.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME_LIMIT = 200
# INCONCLUSIVE and whatever comes later is an error: what was not judged is not green.
_TAGS = {"FAIL": "failure", "STALE": "failure", "EXPECTED": "skipped"}


def render(report: Report, judgement: Judgement) -> str:
    """The report as JUnit XML: `failure` for what departs, `error` for what could not be judged."""
    rows = variant_rows(report, judgement)
    root = ET.Element("testsuites", name="conform")
    root.append(_whole(judgement))
    for row in rows:
        root.append(_suite(report.header, row))
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _whole(judgement: Judgement) -> ET.Element:
    """The run as one test case, so that a run without variants is not green for want of a failure."""
    suite = ET.Element("testsuite", name="conform")
    case = ET.SubElement(suite, "testcase", classname="conform", name="verdict")
    word, said = judgement.verdict.name, judgement.sentence
    if word == "PASS":
        _note(case, said)
    else:
        _say(case, _TAGS.get(word, "error"), word, said, said)
    return _counted(suite, 0.0)


def _counted(suite: ET.Element, seconds: float) -> ET.Element:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", f"{seconds:.3f}")
    return suite


def _suite(header: Mapping[str, Any], row: VariantRow) -> ET.Element:
    outcome = row.result.outcome
    suite = ET.Element("testsuite", name=_attribute(row.result.variant))
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(header, row):
        ET.SubElement(properties, "property", name=_attribute(name), value=_attribute(value))
    seconds = outcome.seconds.total if isinstance(outcome, Measured) else 0.0
    suite.append(_verdict(row, seconds))
    if isinstance(outcome, Measured):
        suite.extend(_output(row, each) for each in outcome.outputs)
        suite.extend(_missing(row, each) for each in outcome.missing_outputs)
    return _counted(suite, seconds)


def _verdict(row: VariantRow, seconds: float) -> ET.Element:
    """The variant's own test case: the one that is never green without a PASS."""
    case = _case(row, "verdict")
    case.set("time", f"{seconds:.3f}")
    said = row.verdict.sentence
    outcome = row.result.outcome
    why = reason(outcome)
    detail = "\n".join([said, *([why] if why else []), *(each.sentence for each in row.verdict.findings)])
    word = row.verdict.verdict.name
    if isinstance(outcome, Skipped | NoOp | NotApplicable):
        _say(case, "skipped", status(outcome), why or said, detail)
    elif word == "PASS":
        _note(case, detail)
    else:
        _say(case, _TAGS.get(word, "error"), status(outcome) if why else word, said, detail)
    return case


def _output(row: VariantRow, diff: TensorDiff) -> ET.Element:
    case = _case(row, one_line(diff.name, _NAME_LIMIT))
    word = row.verdict.verdict.name
    sentences = [each.sentence for each in row.verdict.findings if each.tensor == diff.name]
    moot = trouble(diff)
    if word in ("FAIL", "STALE") and (sentences or moot):
        said = sentences[0] if sentences else str(moot)
        _say(case, "failure", word, said, "\n".join([*sentences, _numbers(diff)]))
    elif word in ("PASS", "FAIL", "STALE"):
        _note(case, _numbers(diff))
    else:
        _say(case, "skipped", word, row.verdict.sentence, _numbers(diff))
    return case


def _missing(row: VariantRow, missing: Unobservable) -> ET.Element:
    case = _case(row, one_line(missing.tensor, _NAME_LIMIT))
    _say(case, "error", "not_compared", f"this output was not compared: {missing.why}", row.verdict.sentence)
    return case


def _case(row: VariantRow, name: str) -> ET.Element:
    return ET.Element("testcase", classname=_attribute(row.result.variant), name=_attribute(name))


def _say(case: ET.Element, tag: str, kind: str, message: str, detail: str) -> None:
    ET.SubElement(case, tag, type=_attribute(kind), message=_attribute(message)).text = _text(detail)


def _note(case: ET.Element, said: str) -> None:
    ET.SubElement(case, "system-out").text = _text(said)


def _numbers(diff: TensorDiff) -> str:
    moot = trouble(diff)
    if moot:
        return moot
    return (
        f"floor units {floor_units(diff)}, rel L2 {number(diff.rel_l2)}, SQNR {decibels(diff.sqnr_db)} dB, "
        f"max abs {number(diff.max_abs)} over {counted(diff.n, 'element')} of {counted(diff.samples, 'sample')}"
    )


def _properties(header: Mapping[str, Any], row: VariantRow) -> Iterator[tuple[str, str]]:
    for part in ("model", "deployed", "golden", "inputs", "environment"):
        facts = header.get(part)
        for name, value in facts.items() if isinstance(facts, Mapping) else ():
            if isinstance(value, str | int | float | bool):
                yield f"{part}.{name}", str(value)
    yield "command", str(header.get("command", ""))
    facts = runtime_of(row.result.outcome)
    if facts is not None:
        yield "runtime", f"{facts.name} {facts.version}"
        yield "device", facts.device
        yield "effective_precision", facts.effective_precision
    if isinstance(row.result.outcome, Measured):
        yield "compile", duration(row.result.outcome.seconds.compile)
    yield "verdict", row.verdict.verdict.name


def _attribute(text: object) -> str:
    return _NOT_XML.sub("", one_line(text, 1000))


def _text(text: str) -> str:
    return _NOT_XML.sub("", "\n".join(one_line(each, 2000) for each in text.split("\n")))
