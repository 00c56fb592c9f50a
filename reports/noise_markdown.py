"""`noise.md`: the matrix to paste into a pull request, in GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sysnoise_conform.matrix.facts import CellFacts, Matrix
from sysnoise_conform.matrix.overall import overall
from sysnoise_conform.reports.markdown import MARKS, code, prose
from sysnoise_conform.reports.noise_rows import (
    axis_rows,
    cannot_tell,
    control,
    interval,
    name_of,
    outstanding,
    plan_words,
    points,
    probability,
    sentence,
    some,
    status_words,
    tally,
    troubles,
)
from sysnoise_conform.reports.wording import NOTHING, duration


def render(found: Matrix) -> str:
    """The verdict, the axes, what stands out; every cell folded."""
    word = overall(found).word
    parts = [
        f"### {MARKS[word]} conform noise: {word}",
        f"{prose(sentence(found))}.",
        "\n".join(f"- {prose(each)}" for each in (tally(found), cannot_tell(found), control(found)) if each),
        _lines(_axes(found)),
    ]
    chosen = outstanding(found)
    if chosen:
        parts += ["**What stands out**", _lines(_cells(found, chosen))]
    parts += [_lines(_steps(found)), _lines(_shares(found))]
    problems = [f"- {prose(each.status)} on {code(each.backend)}: {prose(some(each.names, 12))}: {prose(each.why)}"
                for each in troubles(found)]  # fmt: skip
    problems += [f"- left out: {code(each.name)}: {prose(each.why)}" for each in found.problems]
    parts += [
        "\n".join(problems),
        "<details><summary>Every cell</summary>",
        _lines(_cells(found, found.cells)),
        _foot(found),
        "</details>",
    ]
    return "\n\n".join(each for each in parts if each) + "\n"


def _lines(rows: Iterator[str]) -> str:
    return "\n".join(rows)


def _axes(found: Matrix) -> Iterator[str]:
    rows = axis_rows(found)
    if rows:
        yield "| noise | backend | levels | mean drop | max | worst | verdict |"
        yield "|---|---|---:|---:|---:|---|---|"
    for each in rows:
        yield (
            f"| {code(each.axis)} | {code(each.backend)} | {each.counted} | {points(each.mean, found.metric)} "
            f"| {points(each.largest, found.metric)} | {code(each.worst) if each.worst else NOTHING} "
            f"| {_marked(each.word)} |"
        )


def _cells(found: Matrix, cells: Sequence[CellFacts]) -> Iterator[str]:
    yield f"| noise | backend | {prose(found.metric)} | drop | 90 % | lost | won | p (Holm) | verdict |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---|"
    for each in cells:
        head = f"| {code(name_of(each))} | {code(each.backend)} "
        figures = each.figures
        if figures is None:
            yield f"{head}| | | | | | | {status_words(each)}: {prose(each.reason)} |"
            continue
        yield (
            f"{head}| {points(figures.value, found.metric)} | {points(figures.delta, found.metric)} "
            f"| {interval(figures, found.metric)} | {figures.lost} "
            f"| {figures.won} | {probability(figures.p_holm)} | {_marked(figures.verdict)} |"
        )


def _steps(found: Matrix) -> Iterator[str]:
    if found.steps:
        yield f"| one after another | backend | order | {prose(found.metric)} | drop |"
        yield "|---|---|---|---:|---:|"
    for each in found.steps:
        yield (
            f"| + {code(f'{each.added}={each.level}')} | {code(each.backend)} | {each.order} "
            f"| {points(each.value, found.metric)} | {points(each.delta, found.metric)} |"
        )


def _shares(found: Matrix) -> Iterator[str]:
    if found.shares:
        yield "| whose drop it is | backend | gone without it | Shapley |"
        yield "|---|---|---:|---:|"
    for each in found.shares:
        yield (
            f"| {code(f'{each.axis}={each.level}')} | {code(each.backend)} | {points(each.recovered, found.metric)} "
            f"| {points(each.shapley, found.metric)} |"
        )


def _marked(word: str) -> str:
    return f"{MARKS[word]} {word}" if word in MARKS else word


def _foot(found: Matrix) -> str:
    work = ", ".join(f"{count:,} {name} of {alone:,}" for name, count, alone in plan_words(found))
    runtimes = ", ".join(f"{code(name)}: {prose(version)}" for name, version in found.runtimes.items())
    return f"Model {code(found.model)}; {runtimes}; {work}; {duration(found.seconds)}"
