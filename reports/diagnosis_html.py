"""`diagnosis.html`: one file that shows a person where a model diverges and why, with nothing fetched from anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from sysnoise_conform.diagnose.facts import Culprit, Diagnosis, VerdictWord
from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.reports import html_conversion
from sysnoise_conform.reports.chart import Trace, chart
from sysnoise_conform.reports.diagnosis_rows import (
    DiagnosedLayer,
    arithmetic_in_words,
    coverage_in_words,
    cumulative_in_words,
    deployed_in_words,
    diagnosed_layers,
    in_words,
    kind_in_words,
    known_in_words,
    method_in_words,
    observed_in_words,
    owner_in_words,
    parts_in_words,
    proof_in_words,
    reading_in_words,
    relative,
    relative_error,
    relative_unit,
    share_in_words,
    who,
    withheld_in_words,
)
from sysnoise_conform.reports.html import command_block, provenance
from sysnoise_conform.reports.html_design import design_section
from sysnoise_conform.reports.html_parts import facts_list, key
from sysnoise_conform.reports.html_variant import runtime_facts
from sysnoise_conform.reports.markup import Markup, element, join, table, text
from sysnoise_conform.reports.page import page
from sysnoise_conform.reports.wording import (
    NOTHING,
    duration,
    floor_units,
    golden,
    number,
    place,
    runtime,
    shorten,
    trouble,
)

# Layers that can be pointed at, culprits, rows of a table: they bound the size of the page.
POINTED, CULPRITS, LAYERS, RANKED, HIDDEN = 1500, 60, 3000, 200, 500
UNFOLDED = 3  # culprits whose evidence is in sight

_WORDS: dict[VerdictWord, tuple[str, str]] = {
    "culprits": ("FAIL", "✗"),
    "accumulated_rounding": ("INCONCLUSIVE", "≈"),
    "not_integers": ("FAIL", "✗"),
    "clean": ("PASS", "✓"),
    "unobservable": ("INCONCLUSIVE", "?"),
}


def render(diagnosis: Diagnosis) -> str:
    """The whole page. No script; a content policy in its head forbids any."""
    rows = diagnosed_layers(diagnosis)
    name = shorten(diagnosis.model.rpartition("/")[2] or "model", 120)
    body = join(
        element("h1", f"conform diagnose · {name} · {shorten(diagnosis.variant, 80)}"),
        _banner(diagnosis),
        _strip(diagnosis),
        _spine(rows),
        _culprits(diagnosis, rows),
        _ranking(diagnosis),
        design_section(diagnosis.design),
        _unobservable(diagnosis),
        _outputs(diagnosis),
        _layers(rows),
        _provenance(diagnosis),
        element("details", element("summary", "What the words mean"), facts_list(_TERMS)),
    )
    return page(f"{diagnosis.verdict.replace('_', ' ')} · {name} · conform diagnose", body)


def _section(heading: str, *children: object, note: str = "") -> Markup:
    head = [element("h2", heading)] + ([element("span", note, class_="soft")] if note else [])
    return element("section", element("header", *head), *children)


def _banner(diagnosis: Diagnosis) -> Markup:
    kind, sign = _WORDS[diagnosis.verdict]
    word = diagnosis.verdict.replace("_", " ")
    if diagnosis.culprits:
        word = counted(len(diagnosis.culprits), "culprit")
    return element(
        "div",
        element("strong", f"{sign} {word}"),
        element("p", text(diagnosis.sentence, 2000)),
        class_=f"banner {kind}",
    )


def _strip(diagnosis: Diagnosis) -> Markup:
    cells = [
        ("observer effect", observed_in_words(diagnosis)),
        ("coverage", coverage_in_words(diagnosis)),
        ("target", runtime(diagnosis.runtime)),
        ("truth", golden(diagnosis.golden)),
    ]
    if diagnosis.deployed is not None:
        cells.append(("deployed file", deployed_in_words(diagnosis.deployed)))
    computing = arithmetic_in_words(diagnosis)
    if computing is not None:
        cells.append(("arithmetic", computing))
    facts = (element("div", element("dt", label), element("dd", text(fact, 300))) for label, fact in cells)
    return element("section", element("dl", *facts, class_="strip"))


def _spine(rows: Sequence[DiagnosedLayer]) -> Markup:
    """Both errors along the graph: where they part ways, an operator has added its own."""
    if all(each.introduced is None and each.layer.cumulative is None for each in rows):
        return Markup("")
    blamed = frozenset(at for at, each in enumerate(rows) if each.culprit is not None)
    traces = [
        Trace(label="cumulative", values=[relative_error(each.layer.cumulative) for each in rows], colour=0),
        Trace(label="introduced", values=[relative_error(each.introduced) for each in rows], colour=1, blamed=blamed),
    ]
    drawing = chart(
        traces,
        [relative_unit(each.introduced) for each in rows],
        about=f"introduced and cumulative relative error of {len(rows)} layers in graph order, on a log axis",
        title=lambda at: _title(rows[at]),
        columns=POINTED,
    )
    keys = [
        key("line c1", "introduced: the operator’s own error, on its own inputs"),
        key("line c0", "cumulative: against PyTorch’s tensor of that name"),
        key("floor", "what that operator alone may be off"),
    ]
    if blamed:
        keys.append(key("mark", "culprit"))
    return _section(
        "Error along the graph",
        element("figure", drawing, element("ul", *keys, class_="legend")),
        note="relative L2, layers in graph order",
    )


def _title(row: DiagnosedLayer) -> str:
    layer = row.layer
    head = f"layer {row.number}  {shorten(layer.op_type, 40)}  {shorten(layer.output, 90)}"
    blamed = "  ← culprit" if row.culprit is not None else ""
    return f"{head}{blamed}\nintroduced: {in_words(row.introduced)}\ncumulative: {_plain(layer.cumulative)}"


def _plain(diff: TensorDiff | None) -> str:
    """A cumulative error: its z would be in units of something else."""
    if diff is None:
        return "not measured"
    return trouble(diff) or relative(0.0 if diff.exact else diff.rel_l2)


def _cell(diff: TensorDiff | None) -> str:
    """The relative error where a table has room for a number only."""
    if diff is None:
        return NOTHING
    if not diff.comparable:
        return "other shape" if diff.shape_got is not None else "other type"
    if diff.nan_mismatch:
        return "NaN, Inf"
    return relative(0.0 if diff.exact else diff.rel_l2)


def _culprits(diagnosis: Diagnosis, rows: Sequence[DiagnosedLayer]) -> Markup:
    shown = [(each, each.culprit) for each in rows if each.culprit is not None][:CULPRITS]
    if not shown:
        return Markup("")
    overview: list[list[object]] = [
        [
            row.number,
            element("a", shorten(row.layer.node or row.layer.output, 60), href=f"#v{row.number}"),
            shorten(row.layer.op_type, 40),
            number(culprit.diff.z),
            _cell(culprit.diff),
            relative(culprit.cumulative_before),
            _cell(row.layer.cumulative),
            shorten(kind_in_words(culprit), 40),
        ]
        for row, culprit in shown
    ]
    headings = ["#", "node", "op", "z", "introduced", "cumulative before", "after", "reading"]
    parts: list[object] = [table(headings, overview, numeric=frozenset({0, 3, 4, 5, 6}))]
    for at, (row, culprit) in enumerate(shown):
        said = [element("p", text(culprit.words, 1000), class_="finding")] if culprit.words else []
        # A link to what is folded opens it; of a network in bfloat16 every operator is a culprit, and all look alike.
        evidence = element("div", *said, facts_list(list(_evidence(culprit, diagnosis))), id=f"v{row.number}")
        if at < UNFOLDED:
            parts += [element("h3", who(row.layer, row)), evidence]
        else:
            parts.append(element("details", element("summary", who(row.layer, row)), evidence))
    more = len(diagnosis.culprits) - len(shown)
    if more > 0:
        parts.append(element("p", f"and {more} more: diagnosis.json names them"))
    withheld = withheld_in_words(diagnosis)
    if withheld is not None:
        parts.append(element("p", f"Reproducers: {withheld}."))
    return element("section", element("header", element("h2", "Culprits")), *parts, class_="FAIL")


def _evidence(culprit: Culprit, diagnosis: Diagnosis) -> Iterator[tuple[str, object]]:
    layer, diff = culprit.layer, culprit.diff
    if layer.attributes:
        yield "attributes", element("code", text(layer.attributes, 1000))
    yield "makes", join(element("code", shorten(layer.output, 120)), f" {diff.dtype} {list(diff.shape)}")
    if layer.block:
        yield "block", join(*_separated([element("code", shorten(each, 80)) for each in layer.block[-20:]]))
    yield "introduced", f"{in_words(diff)} ({method_in_words(culprit.method)})"
    if diff.worst is not None and not diff.exact:
        worst = diff.worst
        yield (
            "farthest at",
            f"sample {worst.sample} [{place(worst.index)}]: {worst.got:.7g} where {worst.golden:.7g} is right",
        )
    parts = parts_in_words(layer)
    if parts is not None:
        yield "parts", parts
    yield "cumulative", cumulative_in_words(culprit)
    yield "reading", reading_in_words(culprit)
    if diagnosis.deployed is not None:
        yield "owner", owner_in_words(culprit, diagnosis)
    for label, said in (("share", share_in_words(culprit)), ("proof", proof_in_words(culprit))):
        if said is not None:
            yield label, said
    for known in culprit.known:
        yield "known", known_in_words(known)
    if culprit.reproducer:
        yield "reproducer", join(element("code", shorten(culprit.reproducer, 120)), ": ", element("code", "repro.py"))
    elif culprit.no_reproducer:
        yield "reproducer", f"none: {culprit.no_reproducer}"


def _separated(names: Sequence[Markup]) -> Iterator[object]:
    for at, each in enumerate(names):
        if at:
            yield ", "
        yield each


def _ranking(diagnosis: Diagnosis) -> Markup:
    if not diagnosis.ranking:
        return Markup("")
    rows: list[list[object]] = [
        [
            at,
            _named(each.node, each.output),
            shorten(each.op_type, 40),
            relative(each.introduced_rel_l2),
            number(each.gain),
            relative(each.without),
        ]
        for at, each in enumerate(diagnosis.ranking[:RANKED], start=1)
    ]
    headings = ["#", "tensor", "op", "introduced", "gain", "output without"]
    return _section(
        "Whose rounding arrives",
        table(headings, rows, numeric=frozenset({0, 3, 4, 5})),
        _more(len(diagnosis.ranking) - RANKED),
        note="“output without”: its relative error when this layer and all above it answer in full",
    )


def _named(node: str, output: str) -> Markup:
    said = [element("code", shorten(output, 100))]
    if node:
        said += [Markup("<br>"), element("small", f"node {shorten(node, 100)}")]
    return element("div", *said)


def _unobservable(diagnosis: Diagnosis) -> Markup:
    if not diagnosis.unobservable:
        return Markup("")
    rows: list[list[object]] = [
        [element("code", shorten(each.tensor, 120)), shorten(each.why, 200)] for each in diagnosis.unobservable[:HIDDEN]
    ]
    listed = join(table(["tensor", "why"], rows), _more(len(diagnosis.unobservable) - HIDDEN))
    if len(rows) > 12:
        listed = element("details", element("summary", counted(len(diagnosis.unobservable), "tensor")), listed)
    return _section("What could not be seen", listed)


def _outputs(diagnosis: Diagnosis) -> Markup:
    if not diagnosis.outputs:
        return Markup("")
    rows: list[list[object]] = [
        [
            element("code", shorten(each.name, 120)),
            f"{each.dtype} {list(each.shape)}",
            floor_units(each),
            _cell(each),
            NOTHING if trouble(each) else number(each.max_abs),
        ]
        for each in diagnosis.outputs
    ]
    headings = ["output", "type", "floor ×", "rel. L2", "max abs"]
    return _section("Outputs, from the untouched graph", table(headings, rows, numeric=frozenset({2, 3, 4})))


def _layers(rows: Sequence[DiagnosedLayer]) -> Markup:
    if not rows:
        return Markup("")
    lined: list[list[object]] = [
        [
            each.number,
            _named(each.layer.node, each.layer.output),
            shorten(each.layer.op_type, 40),
            NOTHING if each.introduced is None or trouble(each.introduced) else _in_its_unit(each),
            _cell(each.introduced),
            _cell(each.layer.cumulative),
            element("strong", "culprit") if each.culprit is not None else shorten(each.layer.not_runnable, 120),
        ]
        for each in rows[:LAYERS]
    ]
    headings = ["#", "tensor", "op", "z", "introduced", "cumulative", ""]
    listed = table(headings, lined, numeric=frozenset({0, 3, 4, 5}))
    return _section(
        "Layers",
        element(
            "details",
            element("summary", f"Introduced and cumulative error of {counted(len(rows), 'layer')}"),
            listed,
            _more(len(rows) - LAYERS),
        ),
    )


def _in_its_unit(row: DiagnosedLayer) -> str:
    """z, with the name of its unit where that is not float32."""
    diff = row.layer.in_unit or row.introduced
    said = NOTHING if diff is None else number(diff.z)
    return said if row.layer.in_unit is None else f"{said} {row.layer.arithmetic}"


def _more(count: int) -> Markup:
    return element("p", f"and {count} more: diagnosis.json names them") if count > 0 else Markup("")


def _provenance(diagnosis: Diagnosis) -> Markup:
    file = diagnosis.deployed
    deployed = [] if file is None else [("deployed", element("code", f"{text(file.file, 200)} sha256 {file.sha256}"))]
    pairs: list[tuple[str, object]] = [
        ("model", element("code", diagnosis.model)),
        *deployed,
        ("variant", element("code", diagnosis.variant)),
        *runtime_facts(diagnosis.runtime),
        ("golden", golden(diagnosis.golden)),
        *provenance(diagnosis.environment),
    ]
    if diagnosis.notes:
        pairs.append(("notes", element("ul", *(element("li", text(each, 600)) for each in diagnosis.notes))))
    if diagnosis.seconds:
        pairs.append(("time", _times(diagnosis.seconds)))
    parts: list[Markup] = []
    if diagnosis.command:
        parts += [element("h3", "The exact command"), command_block(diagnosis.command)]
    if diagnosis.conversion is not None:
        parts.extend(html_conversion.recipe(diagnosis.conversion, diagnosis.variant))
    return _section("Provenance", *parts, facts_list(pairs))


def _times(seconds: Mapping[str, float]) -> str:
    told = {name: duration(taken) for name, taken in seconds.items() if math.isfinite(taken)}
    stages = [f"{name} {taken}" for name, taken in told.items() if name != "total"]
    return ", ".join([*stages, *([f"{told['total']} in all"] if "total" in told else [])])


_TERMS: list[tuple[str, object]] = [
    ("introduced", "An operator’s output against the float64 operator on the very inputs that it was given."),
    ("cumulative", "The same output against PyTorch’s tensor of that name: what all before it did comes with it."),
    (
        "z",
        "rms(introduced) in units of what correct arithmetic may be off in this one operator: 1 is rounding. The unit "
        "is float32’s, or that of the arithmetic that is named beside it.",
    ),
    ("floor ×", "rms(target − golden) ÷ the rounding that PyTorch’s own float32 has at that tensor."),
    ("gain", "How much of a relative error that is made here arrives at the output."),
    (
        "observer effect",
        "Showing inner tensors can change how a runtime fuses them: how far that moved the outputs is measured.",
    ),
]
