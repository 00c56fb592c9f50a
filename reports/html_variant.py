"""One variant's section of the HTML report: its error along the graph, its outputs, its layers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from sysnoise_conform.judge.departure import floor_units as floor_ratio
from sysnoise_conform.judge.verdict import Finding
from sysnoise_conform.outcome import Measured, RuntimeFacts, TensorDiff
from sysnoise_conform.report.graphs import conversion_of
from sysnoise_conform.reports import html_conversion
from sysnoise_conform.reports.chart import Trace, chart
from sysnoise_conform.reports.html_parts import chip, facts_list, key, layer_name, relative_error, relative_floor
from sysnoise_conform.reports.markup import Markup, element, join, table, text
from sysnoise_conform.reports.rows import LayerRow, VariantRow, layer_rows
from sysnoise_conform.reports.wording import (
    NOTHING,
    coverage,
    decibels,
    duration,
    figure,
    floor_units,
    number,
    observer,
    place,
    reading,
    reason,
    runtime_of,
    shorten,
    status,
    trouble,
)

WORST = 5
WORST_OF_A_FAILURE = 15
FINDINGS = 40
MOST_LISTED = 12  # entries of one option


def section(header: Mapping[str, Any], row: VariantRow, whole: str, anchor: str, budget: int) -> Markup:
    """Everything about one variant that the `whole` run's sentence does not say; `budget` bounds the layers named."""
    outcome = row.result.outcome
    heading = element(
        "header",
        element("h2", shorten(row.result.variant, 120)),
        chip(row.verdict.verdict.name),
        element("span", status(outcome).replace("_", " "), class_="soft"),
    )
    said = reason(outcome) or row.verdict.sentence
    parts = [heading]
    if said != whole:  # of one variant the banner has said it
        parts.append(element("p", text(said, 1000)))
    parts.extend(_findings(row.verdict.findings, row.verdict.first_departure))
    if isinstance(outcome, Measured):
        parts.extend(_measured(header, row, outcome, budget))
    made = conversion_of(header, row.result.variant)
    if made is not None:
        parts.extend(html_conversion.recipe(made, row.result.variant))
    facts = runtime_of(outcome)
    pairs = [*(runtime_facts(facts) if facts else ()), *_costs(row)]
    if pairs:
        parts.append(element("h3", "How it ran"))
        parts.append(facts_list(pairs))
    return element("section", *parts, id=anchor, class_=row.verdict.verdict.name)


def _findings(findings: Sequence[Finding], departure: str | None) -> Iterator[Markup]:
    """The first departure in sight, the others folded: most of them only pass its error on."""
    if not findings:
        return
    first, *others = findings
    label = "First departure: " if first.tensor == departure else "Broken: "
    yield element("p", element("strong", label), text(first.sentence, 1000), class_="finding")
    if others:
        shown = [element("li", text(each.sentence, 600)) for each in others[:FINDINGS]]
        if len(others) > FINDINGS:
            shown.append(element("li", f"and {len(others) - FINDINGS} more"))
        yield element("details", element("summary", f"{len(others)} more that depart"), element("ul", *shown))


def _measured(header: Mapping[str, Any], row: VariantRow, measured: Measured, budget: int) -> Iterator[Markup]:
    layers = layer_rows(header, row.result.variant, measured)
    if any(each.diff is not None for each in layers):
        yield _along_the_graph(row, layers, budget)
    yield element("h3", "Outputs, from the untouched graph")
    yield _outputs(measured)
    yield from html_conversion.apart(measured)
    yield from html_conversion.along_the_original(header, row.result.variant, measured, budget)
    yield from _remarks(measured, row.verdict.departing)
    if measured.probe:
        yield element("h3", "What this target is known to get wrong")
        yield element("ul", *(element("li", text(each, 1000)) for each in measured.probe))
    worst = _worst(layers, WORST_OF_A_FAILURE if row.verdict.findings else WORST)
    if worst:
        yield element("h3", "Worst layers")
        yield _layer_table(worst)
    yield element("h3", "Coverage")
    inner = int((header.get("model") or {}).get("inner_tensors") or 0)
    seen = [each.diff for each in layers if each.diff is not None]
    yield element("p", text(coverage(len(layers), seen, measured.unobservable, inner), 1000))
    yield from _hidden(layers, budget)
    yield element("h3", "Observer effect")
    yield element("p", text(observer(measured.observer_effect), 1000))
    if measured.tasks:
        yield element("h3", "Task")
        rows: list[list[object]] = [[each.name.replace("_", " "), figure(each), each.about] for each in measured.tasks]
        yield table(["figure", "value", "what it counts"], rows, numeric=frozenset({1}))


def _along_the_graph(row: VariantRow, layers: Sequence[LayerRow], budget: int) -> Markup:
    blamed = {each.tensor for each in row.verdict.findings}
    departures = frozenset(at for at, each in enumerate(layers) if each.tensor in blamed)
    first = next((at for at, each in enumerate(layers) if each.tensor == row.verdict.first_departure), None)
    trace = Trace(
        label=row.result.variant,
        values=[None if each.diff is None else relative_error(each.diff) for each in layers],
        departures=departures,
        first=first,
    )
    drawing = chart(
        [trace],
        [None if each.diff is None else relative_floor(each.diff) for each in layers],
        about=f"relative error of {len(layers)} layers in graph order, on a log axis, with the noise floor",
        title=lambda at: _title(layers[at]),
        columns=budget,
    )
    keys = [key("line c0", "relative L2 error, tapped graph"), key("floor", "noise floor: PyTorch float32 itself")]
    if departures or first is not None:
        keys.append(key("mark", "departure"))
    return element(
        "figure", element("figcaption", "Error along the graph"), drawing, element("ul", *keys, class_="legend")
    )


def _title(layer: LayerRow) -> str:
    head = layer_name(layer)
    if layer.diff is None:
        return f"{head}\nnot observable: {shorten(layer.why, 90)}"
    return f"{head}\n{trouble(layer.diff) or _numbers(layer.diff)}"


def _numbers(diff: TensorDiff) -> str:
    if diff.exact or diff.empty:
        return floor_units(diff)
    units = floor_ratio(diff)
    times = "" if units is None else f", {number(units)} × the noise floor"
    return f"rel. L2 {number(diff.rel_l2)}{times}"


def _outputs(measured: Measured) -> Markup:
    rows: list[list[object]] = [
        [
            element("code", shorten(each.name, 120)),
            f"{each.dtype} {list(each.shape)}",
            floor_units(each),
            *_metrics(each),
            f"{each.cosine:.7f}" if _known(each) and each.cosine is not None else NOTHING,
            _farthest(each),
        ]
        for each in measured.outputs
    ]
    rows += [
        [element("code", shorten(each.tensor, 120)), "not compared", *[NOTHING] * 5, shorten(each.why, 120)]
        for each in measured.missing_outputs
    ]
    headings = ["output", "type", "floor ×", "rel. L2", "SQNR dB", "max abs", "cosine", "farthest at"]
    return table(headings, rows, numeric=frozenset(range(2, 7)))


def _known(diff: TensorDiff) -> bool:
    return diff.comparable and diff.finite > 0


def _metrics(diff: TensorDiff) -> tuple[str, str, str]:
    if not _known(diff):
        return NOTHING, NOTHING, NOTHING
    return number(diff.rel_l2), decibels(diff.sqnr_db), number(diff.max_abs)


def _farthest(diff: TensorDiff) -> str:
    if diff.worst is None or diff.exact or not _known(diff):
        return ""
    worst = diff.worst
    return f"sample {worst.sample} [{place(worst.index)}]: {worst.got:.7g}, golden {worst.golden:.7g}"


def _remarks(measured: Measured, departing: Container[str]) -> Iterator[Markup]:
    said = [f"{shorten(each.name, 120)}: {trouble(each)}" for each in measured.outputs if trouble(each)]
    said += [
        f"{shorten(each.name, 120)}: {reading(found)}"
        for each in measured.outputs
        if each.name in departing
        for found in each.readings
    ]
    said += [
        f"{shorten(name, 120)}: another result when the same inputs ran twice" for name in measured.nondeterministic
    ]
    said += list(measured.notes)
    if said:
        yield element("ul", *(element("li", each) for each in said))


def _worst(layers: Sequence[LayerRow], count: int) -> list[LayerRow]:
    """The layers farthest off in floor units; what has no finite number first."""

    def badness(layer: LayerRow) -> float:
        diff = layer.diff
        if diff is None or diff.exact:
            return -1.0
        if trouble(diff):
            return math.inf
        units = floor_ratio(diff)
        return float(diff.mismatches > 0) if units is None else units

    ranked = sorted((each for each in layers if badness(each) >= 0), key=badness, reverse=True)
    return ranked[:count]


def _layer_table(layers: Sequence[LayerRow]) -> Markup:
    rows: list[list[object]] = []
    for each in layers:
        assert each.diff is not None
        where = join(
            element("code", shorten(each.tensor, 100)),
            Markup("<br>"),
            element("small", f"node {shorten(each.node, 100)}"),
        )
        rows.append(
            [
                each.number,
                element("div", where),
                shorten(each.op_type, 40),
                floor_units(each.diff),
                *_metrics(each.diff),
                number(each.diff.z),
            ]
        )
    headings = ["#", "tensor", "op", "floor ×", "rel. L2", "SQNR dB", "max abs", "z"]
    return table(headings, rows, numeric=frozenset({0, 3, 4, 5, 6, 7}))


def _hidden(layers: Sequence[LayerRow], budget: int) -> Iterator[Markup]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for each in layers:
        if each.diff is None:
            by_reason[shorten(each.why, 160)].append(each.tensor)
    if not by_reason:
        return
    parts = []
    for why, names in list(by_reason.items())[:50]:
        shown = [element("code", shorten(name, 90)) for name in names[: max(budget // 4, 20)]]
        more = f", and {len(names) - len(shown)} more: layers.parquet names them" if len(names) > len(shown) else ""
        listed = join(*(join(", " if at else "", each) for at, each in enumerate(shown)))
        parts.append(element("p", f"{why} ({len(names)}): ", listed, more))
    total = sum(len(names) for names in by_reason.values())
    yield element("details", element("summary", f"The {total} layers that were not observable"), *parts)


def runtime_facts(facts: RuntimeFacts) -> Iterator[tuple[str, object]]:
    """The runtime as it was, label by label."""
    yield "runtime", f"{facts.name} {facts.version}"
    yield "device", facts.device
    yield (
        "effective precision",
        join(
            element("strong", facts.effective_precision or "unknown"),
            f" (asked: {facts.asked_precision or 'the model’s own'})",
        ),
    )
    if facts.options:
        yield "options", element("code", ", ".join(f"{name}={_told(value)}" for name, value in facts.options.items()))
    if facts.python:
        yield "interpreter", element("code", facts.python)


def _told(value: object) -> str:
    """An option's value; of a long list, such as an engine's layers, how long it is: summary.json has all of it."""
    if isinstance(value, list) and len(value) > MOST_LISTED:
        return f"{len(value)} entries, see summary.json"
    return str(value)


def _costs(row: VariantRow) -> Iterator[tuple[str, object]]:
    outcome = row.result.outcome
    if isinstance(outcome, Measured):
        taken = outcome.seconds
        yield (
            "time",
            f"{duration(taken.compile)} compiling, {duration(taken.run)} running, {duration(taken.total)} in all",
        )
        if outcome.peak_rss_mb is not None:
            yield "peak memory", f"{outcome.peak_rss_mb:.0f} MB"
    if row.result.log:
        yield "log", element("code", row.result.log)
