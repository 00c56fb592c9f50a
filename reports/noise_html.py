"""`noise.html`: one file that shows what every mismatch costs, and how sure that is, with nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence

from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.matrix.cells import BACKEND, CONTROL
from sysnoise_conform.matrix.facts import CellFacts, Flip, Matrix
from sysnoise_conform.matrix.overall import overall
from sysnoise_conform.reports import noise_gallery
from sysnoise_conform.reports.html import provenance
from sysnoise_conform.reports.html_parts import chip, facts_list
from sysnoise_conform.reports.markup import Markup, element, join, table, text
from sysnoise_conform.reports.noise_bars import Scale, cell_track, cells_scale, shares, track, waterfalls
from sysnoise_conform.reports.noise_bars import scale as scale_of
from sysnoise_conform.reports.noise_heat import heat_map
from sysnoise_conform.reports.noise_rows import (
    MOST_USUAL,
    allowed,
    axis_rows,
    backends,
    cannot_tell,
    control,
    figure,
    interval,
    outstanding,
    plan_words,
    points,
    probability,
    sentence,
    some,
    status_words,
    tally,
    troubles,
    unit,
)
from sysnoise_conform.reports.page import page
from sysnoise_conform.reports.wording import NOTHING, duration, shorten

# Rows of a table: they bound the size of the page; noise.json and noise.csv hold all.
CELLS, FLIPS, PROBLEMS, UNFOLDED = 2000, 600, 300, 20
_SIGNS = {"PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?"}


def render(found: Matrix) -> str:
    """The whole page. No script; a content policy in its head forbids any, and any picture from elsewhere."""
    name = shorten(found.model.rpartition("/")[2] or "model", 120)
    word = overall(found).word
    body = join(
        element("h1", f"conform noise · {name}"),
        _banner(found),
        _strip(found),
        _section("What each noise costs", _axes(found), note=f"over its levels, in {unit(found)}; a drop is positive"),
        _section("Heat map", heat_map(found), note=f"drop of {found.metric} in {unit(found)}, every level"),
        _outstanding(found),
        _together(found),
        _shares(found),
        _troubles(found),
        _gallery(found),
        _flips(found),
        _every_cell(found),
        _provenance(found),
        element("details", element("summary", "What the words mean"), facts_list(_TERMS)),
    )
    return page(
        f"{word} · {name} · conform noise", body, styles=("report.css", "noise.css"), pictures=found.gallery is not None
    )


def _section(heading: str, *children: object, note: str = "", kind: str | None = None) -> Markup:
    said = [element("h2", heading)] + ([element("span", note, class_="soft")] if note else [])
    return element("section", element("header", *said), *children, class_=kind)


def _banner(found: Matrix) -> Markup:
    whole = overall(found)
    said = [f"{sentence(found)}.", f"{tally(found)}.", *(f"{each}." for each in (cannot_tell(found),) if each)]
    codes = ", ".join(str(each) for each in whole.exit_codes[1:])
    return element(
        "div",
        element("strong", f"{_SIGNS[whole.word]} {whole.word}"),
        *(element("p", text(each, 1000)) for each in said),
        element("small", f"exit code {whole.exit_code}{f' (also applied: {codes})' if codes else ''}"),
        class_=f"banner {whole.word}",
    )


def _strip(found: Matrix) -> Markup:
    others = [f"{name} {figure(name, value)}" for name, value in found.baseline.items() if name != found.metric][:3]
    resumed = f", {counted(found.resumed, found.noun)} resumed" if found.resumed else ""
    baseline = points(found.baseline.get(found.metric), found.metric)
    cells = [
        ("task", f"{found.task}, {counted(found.pictures, found.noun)} of {found.layout}"),
        ("baseline", f"{found.metric} {baseline} on {found.baseline_backend}"),
        ("control", control(found) or NOTHING),
        ("took", duration(found.seconds) + resumed),
    ]
    if others:
        cells.insert(2, ("further", ", ".join(others)))
    facts = (element("div", element("dt", label), element("dd", text(fact, 300))) for label, fact in cells)
    return element("section", element("dl", *facts, class_="strip"))


def _axes(found: Matrix) -> Markup:
    rows = axis_rows(found)
    if not rows:
        return element("p", "Nothing was measured.")
    drops = [value for each in rows for value in (each.mean, each.largest) if value is not None]
    on = scale_of(drops, found.margin, most=0.9)
    several = len(backends(found)) > 1
    lined: list[list[object]] = []
    for each in rows:
        drawing = track(
            on, margin=found.margin, bar=None if each.largest is None else (0.0, each.largest), dot=each.mean,
            kind=each.word.replace(" ", "-"),
            about=f"mean {points(each.mean, found.metric)}, largest {points(each.largest, found.metric)}",
        )  # fmt: skip
        lined.append([
            element("strong", each.axis, class_="name"), *([_name(each.backend, 24)] if several else []), each.counted,
            drawing, points(each.mean, found.metric), points(each.largest, found.metric),
            _name(each.worst or NOTHING, 30), _verdict(each.word),
        ])  # fmt: skip
    headings = ["noise", *(["backend"] if several else []), "levels", "largest drop as a bar, mean as a dot",
                "mean", "max", "worst level", "verdict"]  # fmt: skip
    at = 1 if several else 0
    return element("div", table(headings, lined, numeric=frozenset({1 + at, 3 + at, 4 + at})), class_="drawn")


def _name(name: str, width: int) -> Markup:
    """A name that no line is broken in."""
    return element("span", shorten(name, width), class_="name")


def _named(cell: CellFacts) -> Markup:
    """The axis small above its level."""
    if cell.axis == BACKEND:
        return element("span", "card", class_="name")
    return element("div", element("small", cell.axis), Markup("<br>"), shorten(cell.level, 40), class_="name")


def _verdict(word: str) -> Markup:
    return chip(word) if word in _SIGNS else element("span", word, class_="soft")


def _outstanding(found: Matrix) -> Markup:
    chosen = outstanding(found)
    if not chosen:
        said = "No cell fails, and none loses anything for sure (p below 0.05 after Holm’s correction)."
        return _section("What stands out", element("p", said))
    kind = "FAIL" if overall(found).word == "FAIL" else None
    on = cells_scale(chosen, found.margin)
    shown = [_cells(found, chosen[:UNFOLDED], on)]
    rest = chosen[UNFOLDED:CELLS]
    if rest:
        summary = f"and {counted(len(chosen) - UNFOLDED, 'cell')} more"
        shown.append(element("details", element("summary", summary), _cells(found, rest, on)))
    return _section("What stands out", *shown, note="the largest drop first", kind=kind)


def _cells(found: Matrix, cells: Sequence[CellFacts], on: Scale) -> Markup:
    several = len(backends(found)) > 1
    rows: list[list[object]] = []
    for each in cells:
        figures = each.figures
        head: list[object] = [_named(each), *([_name(each.backend, 24)] if several else [])]
        if figures is None:
            why = element("span", text(each.reason, 200), class_="soft")
            rows.append([*head, why, *[NOTHING] * 6, _verdict(status_words(each))])
            continue
        rows.append([
            *head, cell_track(each, on, found.margin, found.metric), points(figures.value, found.metric),
            points(figures.delta, found.metric), interval(figures, found.metric), f"{figures.lost:,}",
            f"{figures.won:,}",
            probability(figures.p if figures.p_holm is None else figures.p_holm), _decided(each),
        ])  # fmt: skip
    at = 1 if several else 0
    headings = ["noise", *(["backend"] if several else []), "drop and its 90 % interval",
                found.metric, "drop", "90 %", "lost", "won", "p", "verdict"]  # fmt: skip
    numbers = frozenset(range(2 + at, 8 + at))
    return element("div", table(headings, rows, numeric=numbers), class_="drawn cells")


def _decided(cell: CellFacts) -> Markup:
    figures = cell.figures
    assert figures is not None
    if figures.images_to_decide is None:
        return chip(figures.verdict)
    few = figures.images_to_decide <= MOST_USUAL
    return element(
        "span", chip(figures.verdict),
        title=f"{figures.images_to_decide:,} would tell" if few else f"not even {MOST_USUAL:,} would tell",
    )  # fmt: skip


def _together(found: Matrix) -> Markup:
    if not found.steps:
        return Markup("")
    note = f"the worst level of each, chosen on one half of the {found.noun}s, told on the other"
    return _section("One after another", waterfalls(found), note=note)


def _shares(found: Matrix) -> Markup:
    if not found.shares:
        return Markup("")
    return _section("Whose drop it is", shares(found), note="of the drop of all of them together")


def _troubles(found: Matrix) -> Markup:
    parts: list[object] = []
    lined: list[list[object]] = [
        [each.status, shorten(each.backend, 40), some(each.names, 12), text(each.why, 300)] for each in troubles(found)
    ]
    if lined:
        parts.append(table(["", "backend", "cells", "why"], lined))
    if found.problems:
        rows: list[list[object]] = [
            [element("code", shorten(each.name, 120)), text(each.why, 300)] for each in found.problems[:PROBLEMS]
        ]
        parts += [element("h3", "What was left out"), table(["which", "why"], rows)]
        parts.append(_more(len(found.problems) - PROBLEMS))
    return _section("What could not be measured", *parts) if parts else Markup("")


def _gallery(found: Matrix) -> Markup:
    if found.gallery is None:
        return Markup("")
    shown = noise_gallery.changed(found, found.gallery)
    name, views = noise_gallery.differences(found, found.gallery)
    parts = []
    if shown:
        note = f"made smaller: at most {noise_gallery.THUMB} pixels wide"
        parts.append(_section("Pictures whose answer changed", shown, note=note))
    if views:
        side = noise_gallery.CUT
        said = (
            f"Of {shorten(name, 60)}, at the network’s size: the middle {side} × {side} pixels of |noisy − card|, each"
            " drawn from its smallest to its largest value, so that faint differences look as strong as others; beside"
            " it the logarithm of the whole difference’s spectrum, frequency 0 in the middle."
        )
        parts.append(_section("What each noise does to a picture", element("p", text(said, 1000)), views))
    return join(*parts)


def _flips(found: Matrix) -> Markup:
    if not found.flips:
        return Markup("")
    rows = [_flip(each) for each in found.flips[:FLIPS]]
    headings = [found.noun, "noise", "backend", "baseline’s answer", "answer"]
    cells = len({(each.axis, each.level, each.backend) for each in found.flips})
    summary = f"{len(found.flips):,} changed answers in {cells:,} cells: of each at most twelve, those lost first"
    return _section(
        "Changed answers",
        element("details", element("summary", summary), table(headings, rows), _more(len(found.flips) - FLIPS)),
    )


def _flip(each: Flip) -> list[object]:
    marks = {None: "", True: " ✓", False: " ✗"}
    return [
        shorten(each.picture, 60), f"{each.axis}={shorten(each.level, 40)}", shorten(each.backend, 30),
        shorten(each.before, 80) + marks[each.right_before], shorten(each.after, 80) + marks[each.right_after],
    ]  # fmt: skip


def _every_cell(found: Matrix) -> Markup:
    if not found.cells:
        return Markup("")
    on = cells_scale([each for each in found.cells if each.axis != CONTROL], found.margin)
    drawn = join(_cells(found, found.cells[:CELLS], on), _more(len(found.cells) - CELLS))
    if len(found.cells) > UNFOLDED:
        drawn = element("details", element("summary", f"All {len(found.cells):,} cells"), drawn)
    return _section("Every cell", drawn, note=f"the margin is {allowed(found)}; p after Holm’s correction")


def _more(count: int) -> Markup:
    return element("p", f"and {count:,} more: noise.json names them") if count > 0 else Markup("")


def _provenance(found: Matrix) -> Markup:
    pairs: list[tuple[str, object]] = [
        ("model", element("code", text(found.model, 400))),
        ("work", ", ".join(f"{count:,} {name} (each cell by itself: {alone:,})"
                           for name, count, alone in plan_words(found))),
        ("seed", found.seed),
        *((f"runtime {shorten(name, 60)}", version) for name, version in found.runtimes.items()),
        *provenance(found.environment),
    ]  # fmt: skip
    return _section("Provenance", facts_list(pairs))


_TERMS: list[tuple[str, object]] = [
    ("drop", "The baseline’s figure minus the cell’s, over what both have an answer for; of errors the reverse."),
    ("90 %", "The drop’s two-sided interval: 95 % on each side. For shares of right answers Tango’s, else a bootstrap "
     "over what is judged; never narrower than what so few can’t exclude."),
    ("PASS", "The whole interval lies below the margin: the drop is surely smaller."),
    ("FAIL", "The whole interval lies above it."),
    ("INCONCLUSIVE", "The margin lies inside the interval: so few can’t tell."),
    ("lost, won", "Answers that went from right to wrong, and back; of detectors, boxes without a partner."),
    ("p", "How often chance alone would lose so much, corrected for the number of cells (Holm)."),
    ("control", "The baseline, run a second time: what it differs from itself by is no noise’s fault."),
]  # fmt: skip
