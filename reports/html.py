"""`report.html`: one file that explains a run to a person, with nothing fetched from anywhere."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sysnoise_conform.judge import departure
from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.judge.verdict import Judgement
from sysnoise_conform.outcome import Measured, TensorDiff
from sysnoise_conform.printable import lines
from sysnoise_conform.report import Report
from sysnoise_conform.report.graphs import conversion_of, graph_of
from sysnoise_conform.reports import html_variant
from sysnoise_conform.reports.chart import Trace, chart
from sysnoise_conform.reports.html_parts import chip, facts_list, key, layer_name, relative_error, relative_floor
from sysnoise_conform.reports.markup import Markup, element, join, table, text
from sysnoise_conform.reports.page import page
from sysnoise_conform.reports.rows import VariantRow, layer_rows, variant_rows
from sysnoise_conform.reports.spread import in_words, spreads
from sysnoise_conform.reports.wording import (
    NOTHING,
    duration,
    floor_units,
    golden,
    runtime_of,
    shorten,
    status,
    trouble,
)

# Layers that can be pointed at or are named, over all variants: it bounds the size of the page.
NAMED = 4000
_SIGNS = {"PASS": "✓", "FAIL": "✗", "STALE": "✗"}


def render(report: Report, judgement: Judgement) -> str:
    """The whole page. No script; a content policy in its head forbids any."""
    rows = variant_rows(report, judgement)
    header = report.header
    budget = max(NAMED // max(len(rows), 1), 60)
    model = _part(header, "model")
    name = shorten(str(model.get("path") or "model").rpartition("/")[2] or "model", 120)
    body = join(
        element("h1", f"conform · {name}"),
        _banner(judgement),
        _strip(header, report.footer),
        _overview(rows, header),
        _together(rows, header),
        *(html_variant.section(header, row, judgement.sentence, f"v{at}", budget) for at, row in enumerate(rows)),
        _provenance(header),
        _glossary(),
    )
    return page(f"{judgement.verdict.name} · {name} · conform", body)


def _part(header: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = header.get(name)
    return part if isinstance(part, Mapping) else {}


def _banner(judgement: Judgement) -> Markup:
    word = judgement.verdict.name
    sentence = judgement.sentence.removeprefix(word).lstrip(": ")
    codes = ", ".join(str(each) for each in judgement.exit_codes if each not in (0, judgement.exit_code))
    also = f" (also applied: {codes})" if codes else ""
    return element(
        "div",
        element("strong", f"{_SIGNS.get(word, '?')} {word}"),
        element("p", text(sentence, 2000)),
        element("small", f"exit code {judgement.exit_code}{also}"),
        class_=f"banner {word}",
    )


def _strip(header: Mapping[str, Any], footer: Mapping[str, Any]) -> Markup:
    model, inputs, answer = (_part(header, each) for each in ("model", "inputs", "golden"))
    cells = [
        ("model", f"opset {model.get('opset', NOTHING)}, {counted(int(model.get('nodes') or 0), 'node')}"),
        ("inputs", f"{inputs.get('samples', 0)} × {inputs.get('kind', 'unknown')}"),
        ("golden", golden(answer)),
        ("started", str(header.get("started", NOTHING)).replace("T", " ").replace("+00:00", " UTC")),
    ]
    seconds = footer.get("seconds")
    if isinstance(seconds, int | float):
        cells.append(("took", duration(seconds)))
    facts = (element("div", element("dt", label), element("dd", fact)) for label, fact in cells)
    return element("section", element("dl", *facts, class_="strip"))


def _overview(rows: Sequence[VariantRow], header: Mapping[str, Any]) -> Markup:
    if not rows:
        return element("section", element("h2", "Variants"), element("p", "No variant ran: nothing was compared."))
    lined = [_overview_row(row, header, at) for at, row in enumerate(rows)]
    headings = ["variant", "verdict", "outcome", "precision used", "worst output, floor ×", "layers", "first departure"]
    over = [element("p", f"Presets of {said}.") for said in in_words(spreads(header, rows))]
    heading = element("header", element("h2", "Variants"))
    return element("section", heading, table(headings, lined, numeric=frozenset({4, 5})), *over)


def _overview_row(row: VariantRow, header: Mapping[str, Any], at: int) -> list[object]:
    outcome, facts = row.result.outcome, runtime_of(row.result.outcome)
    worst, layers = NOTHING, NOTHING
    if isinstance(outcome, Measured):
        if outcome.outputs:
            worst = floor_units(max(outcome.outputs, key=_badness))
        layers = f"{len(outcome.layers)} of {len(graph_of(header, row.result.variant).get('layers', ()))}"
    first = row.verdict.first_departure
    return [
        element("a", shorten(row.result.variant, 60), href=f"#v{at}"),
        chip(row.verdict.verdict.name),
        status(outcome).replace("_", " "),
        shorten(facts.effective_precision, 60) if facts else NOTHING,
        worst,
        layers,
        element("code", shorten(first, 48)) if first else NOTHING,
    ]


def _badness(diff: TensorDiff) -> float:
    if trouble(diff):
        return math.inf
    return departure.floor_units(diff) or 0.0


def _together(rows: Sequence[VariantRow], header: Mapping[str, Any]) -> Markup:
    """All variants of one graph, the model's own, in one drawing, where there is more than one to compare."""
    seen = [
        (row, row.result.outcome)
        for row in rows
        if isinstance(row.result.outcome, Measured) and conversion_of(header, row.result.variant) is None
    ]
    drawn = [(row, layer_rows(header, row.result.variant, outcome)) for row, outcome in seen if outcome.layers]
    if len(drawn) < 2:
        return Markup("")
    traces = [
        Trace(
            label=row.result.variant,
            values=[None if each.diff is None else relative_error(each.diff) for each in layers],
            colour=at,
        )
        for at, (row, layers) in enumerate(drawn)
    ]
    columns = zip(*(layers for _, layers in drawn), strict=True)
    diffs = [[each.diff for each in column if each.diff is not None] for column in columns]
    floor = [relative_floor(found[0]) if found else None for found in diffs]
    known = drawn[0][1]
    drawing = chart(
        traces,
        floor,
        about=f"relative error of {len(drawn)} variants along the graph, on a log axis, with the noise floor",
        title=lambda at: layer_name(known[at]),
        columns=300,
    )
    keys = [
        key(f"line c{at % 8}" + (f" dash{at // 8 % 3}" if at >= 8 else ""), shorten(each.label, 60))
        for at, each in enumerate(traces)
    ]
    return element(
        "section",
        element("header", element("h2", "All variants along the graph")),
        element("figure", drawing, element("ul", *keys, key("floor", "noise floor"), class_="legend")),
    )


def _provenance(header: Mapping[str, Any]) -> Markup:
    return element(
        "section",
        element("header", element("h2", "Provenance")),
        element("h3", "The exact command"),
        command_block(str(header.get("command", ""))),
        element("h3", "What went in, and where it ran"),
        facts_list(list(_origin(header))),
    )


def _origin(header: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    model, inputs, answer = (_part(header, each) for each in ("model", "inputs", "golden"))
    where = _part(header, "environment")
    yield "model", element("code", model.get("path", NOTHING))
    yield "its sha256", element("code", model.get("sha256", NOTHING))
    if model.get("bound"):
        yield "inputs bound", ", ".join(str(each) for each in model["bound"])
    yield "inputs", f"{inputs.get('samples', 0)} × {inputs.get('kind', 'unknown')}, seed {inputs.get('seed', NOTHING)}"
    yield "their sha256", element("code", inputs.get("sha256", NOTHING))
    deployed = _part(header, "deployed")
    if deployed:
        yield "deployed file", join(element("code", deployed.get("path", NOTHING)), f" ({deployed.get('format', '')})")
        yield "its sha256 ", element("code", deployed.get("sha256", NOTHING))
    if header.get("card"):
        yield "model card", str(header["card"])
    if inputs.get("names"):
        yield "their names", ", ".join(shorten(each, 60) for each in inputs["names"][:30])
    yield "golden", golden(answer)
    notes = [*(inputs.get("chosen") or ()), *(inputs.get("notes") or ()), *(answer.get("notes") or ())]
    if notes:
        yield "notes", "; ".join(str(each) for each in notes)
    yield from provenance(where)


def command_block(command: str) -> Markup:
    """A command line as it was given."""
    return element("pre", Markup(html.escape(lines(command)[:20_000])))


def provenance(where: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """A run's `environment`, label by label."""
    for label, name in (("conform", "conform"), ("Python", "python"), ("platform", "platform"), ("processor", "cpu")):
        yield label, where.get(name, NOTHING)
    yield "instruction sets", ", ".join(str(each) for each in where.get("cpu_flags", ())) or NOTHING
    yield (
        "threads",
        f"{where.get('threads', NOTHING)} (0: the runtime’s own choice), {where.get('cores', NOTHING)} cores",
    )
    packages = where.get("packages")
    if isinstance(packages, Mapping):
        yield "packages", ", ".join(f"{name} {version}" for name, version in packages.items())


_TERMS: list[tuple[str, object]] = [
    ("golden", "PyTorch’s answer in float64, operator by operator, from the same ONNX graph."),
    ("noise floor", "How far PyTorch’s own float32 run, or rounding to the declared type, is from that answer."),
    ("floor ×", "rms(target − golden) ÷ noise floor. About 1 is what an honest float32 implementation has."),
    (
        "design, implementation",
        "Of a graph in another precision: golden(converted) − golden(original), which is the conversion’s, and "
        "target − golden(converted), which is the runtime’s. Their sum is the total. Unit × is the latter’s error in "
        "units of what correct arithmetic of the graph’s types may be off, or of the noise floor if that is larger.",
    ),
    ("rel. L2", "‖target − golden‖ ÷ ‖golden‖; SQNR is the same in decibels."),
    ("z", "rms(target − golden) in units of the rounding that the operator’s own operands explain."),
    (
        "observer effect",
        "Showing inner layers can change how a runtime fuses them; verdicts on outputs never use that run.",
    ),
]


def _glossary() -> Markup:
    return element("details", element("summary", "What the words mean"), facts_list(_TERMS))
