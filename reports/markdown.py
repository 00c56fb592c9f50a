"""A table to paste into a pull request, in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sysnoise_conform.judge.verdict import Judgement
from sysnoise_conform.outcome import Measured, TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.report import Report
from sysnoise_conform.report.graphs import conversion_of
from sysnoise_conform.reports.conversion_rows import command_of, facts_of, in_units, parts, relative, sqnr
from sysnoise_conform.reports.rows import VariantRow, layer_rows, variant_rows
from sysnoise_conform.reports.spread import in_words, spreads
from sysnoise_conform.reports.wording import (
    NOTHING,
    coverage,
    decibels,
    deployed,
    floor_units,
    number,
    observer,
    reason,
    runtime_of,
    shorten,
    status,
)

MARKS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔", "EXPECTED": "☑️", "STALE": "❌"}
# What a code span shows as it is: no backtick, no column mark, nothing that a sloppy renderer takes for HTML.
_PLAIN = re.compile(r"[^`|<>&\\]+")
# What has a meaning in Markdown, HTML, or as GitHub's mention, reference, formula or bare link.
_ACTIVE = re.compile(
    r"[\\`*\[\]<>|~&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|[@#](?=\w)|:(?=//)|(?<=www)\.", re.IGNORECASE
)


def render(report: Report, judgement: Judgement) -> str:
    """The verdict, a table of variants and outputs, and what was found, folded."""
    model = report.header.get("model") or {}
    rows = variant_rows(report, judgement)
    shipped = deployed(report.header)
    parts = [
        f"### {MARKS.get(judgement.verdict.name, '')} conform: {judgement.verdict.name}",
        prose(judgement.sentence),
        "\n".join(
            [
                "| variant | verdict | precision | output | error / noise floor | rel. L2 | SQNR dB | max abs |",
                "|---|---|---|---|---:|---:|---:|---:|",
                *(line for row in rows for line in _lines(row)),
            ]
        ),
        *_apart(rows),
        *(f"Presets of {prose(said)}." for said in in_words(spreads(report.header, rows))),
        "<details><summary>Details</summary>",
        "\n".join(_detail(report, row) for row in rows) or "No variant ran.",
        f"Model {code(model.get('path', 'unknown'))}, sha256 {code(model.get('sha256', 'unknown'))}. "
        f"{f'Deployed: {prose(shipped)}. ' if shipped else ''}"
        f"Command: {code(report.header.get('command', ''))}",
        "</details>",
    ]
    return "\n\n".join(parts) + "\n"


def _lines(row: VariantRow) -> list[str]:
    outcome = row.result.outcome
    verdict = f"{MARKS.get(row.verdict.verdict.name, '')} {row.verdict.verdict.name}"
    facts = runtime_of(outcome)
    precision = code(facts.effective_precision) if facts else NOTHING
    head = f"| {code(row.result.variant)} | {verdict} | {precision} "
    if not isinstance(outcome, Measured) or not outcome.outputs:
        why = reason(outcome) or "no output was compared"
        return [f"{head}| {status(outcome).replace('_', ' ')}: {prose(one_line(why, 200))} | | | | |"]
    return [f"{head if not at else '| | | '}{_cells(diff)}" for at, diff in enumerate(outcome.outputs)]


def _apart(rows: Sequence[VariantRow]) -> list[str]:
    """Converted graphs, where there are any: what the conversion costs beside what the runtime gets wrong."""
    lines = [
        f"| {code(row.result.variant)} | {code(each.name)} | {relative(each.design)} | {sqnr(each.design)} "
        f"| {relative(each.implementation)} | {in_units(each.implementation)} | {relative(each.total)} |"
        for row in rows
        if isinstance(row.result.outcome, Measured)
        for each in parts(row.result.outcome)
    ]
    if not lines:
        return []
    head = "| variant | output | design, rel. L2 | SQNR dB | implementation, rel. L2 | in its unit | total |"
    return [
        "Design is the conversion's, PyTorch against PyTorch; implementation is the runtime's, against PyTorch on the "
        "same converted graph.",
        "\n".join([head, "|---|---|---:|---:|---:|---:|---:|", *lines]),
    ]


def _cells(diff: TensorDiff) -> str:
    known = diff.comparable and diff.finite > 0
    return (
        f"| {code(diff.name)} | {floor_units(diff)} | {number(diff.rel_l2 if known else None)} "
        f"| {decibels(diff.sqnr_db if known else None)} | {number(diff.max_abs if known else None)} |"
    )


def _detail(report: Report, row: VariantRow) -> str:
    outcome = row.result.outcome
    said = [f"- {code(row.result.variant)}: {prose(row.verdict.sentence)}"]
    made = conversion_of(report.header, row.result.variant)
    if made is not None:
        said += [f"  - {label}: {prose(fact)}" for label, fact in facts_of(made)]
        command = command_of(made, row.result.variant)
        said += [f"  - again: {code(command, 1000)}"] if command else []
    if isinstance(outcome, Measured):
        layers = layer_rows(report.header, row.result.variant, outcome)
        inner = int((report.header.get("model") or {}).get("inner_tensors") or 0)
        seen = [each.diff for each in layers if each.diff is not None]
        said.append(f"  - layers: {prose(coverage(len(layers), seen, outcome.unobservable, inner))}")
        said.append(f"  - observer effect: {prose(observer(outcome.observer_effect))}")
        said.extend(f"  - {prose(each)}" for each in outcome.probe)
    said.extend(f"  - {prose(each.sentence)}" for each in row.verdict.findings)
    return "\n".join(said)


def code(name: object, width: int = 80) -> str:
    """A name in a code span; one with characters that Markdown could act on as escaped HTML code."""
    safe = shorten(name, width)
    if _PLAIN.fullmatch(safe) and safe.strip() == safe:
        return f"`{safe}`"
    return f"<code>{_entities(safe)}</code>"


def prose(sentence: str) -> str:
    """A sentence that may hold a model's names, with nothing left for Markdown to act on."""
    return _entities(one_line(sentence, 1000))


def _entities(text: str) -> str:
    return _ACTIVE.sub(lambda match: f"&#{ord(match.group())};", text)
