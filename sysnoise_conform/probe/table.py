"""What was measured, as text for people and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import assert_never

from sysnoise_conform.printable import one_line
from sysnoise_conform.probe.findings import amount
from sysnoise_conform.probe.kept import SCHEMA, Key, relation_fields
from sysnoise_conform.probe.measure import Measured
from sysnoise_conform.probe.relations import Relation
from sysnoise_conform.probe.result import Agrees, Crashed, Deviates, Result, Shows, Unsupported, as_fields, word

_VERBS = {"agrees": "agree", "deviates": "deviate", "unsupported": "unsupported", "crashed": "crashed"}


def as_json(measured: Measured, key: Key) -> str:
    """Everything about one target as one JSON object."""
    content = {
        "schema": SCHEMA,
        **key.fields(),
        "counts": counts(measured),
        "cases": [
            {
                "name": row.case.name, "op_type": row.case.op_type, "about": row.case.about, "opset": row.case.opset,
                "kind": row.case.kind.value, "right": row.case.why, "when": row.case.when,
                "reported": row.case.reported, **as_fields(row.result),
            }
            for row in measured.rows
        ],
        "relations": [relation_fields(each) for each in measured.relations],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def as_text(measured: Measured, key: Key, path: Path | None) -> str:
    """A row for each case, by operator; then the relations; the sum of it last."""
    rows = [("operator", "attributes", "kind", "result")]
    before, alike = "", Counter((row.case.op_type, row.case.about) for row in measured.rows)
    for row in measured.rows:
        case = row.case
        about = case.about if alike[case.op_type, case.about] == 1 else f"{case.about}, opset {case.opset}"
        rows.append((case.op_type if case.op_type != before else "", about, case.kind.value, said(row.result)))
        before = case.op_type
    runtime = f"{one_line(key.runtime, 60)} {one_line(key.version, 60)}"
    lines = [f"{one_line(key.variant, 200)}  {runtime}", "", *_columns(rows)]
    if measured.relations:
        related = [("network", "what must be the same", "", "result")]
        related += [(each.net, each.name, "", _held(each)) for each in measured.relations]
        lines += ["", *_columns(related)]
    lines += ["", summary(measured, key)]
    if path is not None:
        lines.insert(-1, f"kept in {one_line(path)}")
    return "\n".join(lines) + "\n"


def summary(measured: Measured, key: Key) -> str:
    """The sum of it, in a line."""
    found = counts(measured)
    parts = [f"{found[word]} {word if found[word] == 1 else verb}" for word, verb in _VERBS.items() if found[word]]
    asked = [each for each in measured.relations if not each.choice]
    if asked:
        hold = sum(isinstance(each.result, Agrees) for each in asked)
        parts.append(f"{hold} of {len(asked)} relations hold")
    cases = "1 case" if len(measured.rows) == 1 else f"{len(measured.rows)} cases"
    return f"{one_line(key.variant, 200)}: {cases}: {', '.join(parts)}"


def counts(measured: Measured) -> dict[str, int]:
    """How many cases came out how."""
    found = Counter(word(row.result) for row in measured.rows)
    return {each: found[each] for each in _VERBS}


def said(result: Result) -> str:
    """A result in some words."""
    match result:
        case Agrees():
            return "agrees"
        case Deviates():
            many = f", {result.beyond} of {result.of}" if result.beyond and result.max_rel else ""
            kind = "slightly: " if result.shows is Shows.SMALL else ""
            return f"DEVIATES {kind}{one_line(amount(result), 100)}{_share(result.max_rel)}{many}"
        case Unsupported():
            return f"unsupported ({result.stage}): {one_line(result.why, 70)}"
        case Crashed():
            return f"CRASHED ({result.stage}): {one_line(result.why, 70)}"
        case _:
            assert_never(result)


def _share(of_largest: float | None) -> str:
    if not of_largest:
        return ""
    told = f"{100 * of_largest:.2g} % of" if of_largest < 0.995 else f"{of_largest:.3g} times"
    return f" ({told} the largest)"


def _held(relation: Relation) -> str:
    match relation.result:
        case Agrees():
            off = relation.result.max_abs
            return "the same bits" if not off else f"the same but for rounding, {off:.2g} of the largest value"
        case Deviates():
            share = relation.result.max_rel
            return f"DIFFERS by {share:.2g} of the largest value" if share else f"DIFFERS: {relation.result.detail}"
        case Unsupported() | Crashed():
            return said(relation.result)
        case _:
            assert_never(relation.result)


def _columns(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    table = list(rows)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False) if width]
        yield "  ".join([*cells, row[-1]]).rstrip()
