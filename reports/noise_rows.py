"""A matrix in rows and words that the terminal, the page and the Markdown share."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.matrix.cells import BACKEND, CONTROL
from sysnoise_conform.matrix.facts import CellFacts, Figures, Matrix
from sysnoise_conform.matrix.overall import overall
from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.wording import NOTHING

# Of one cell's drop, after Holm's correction over all cells: the usual rate of false findings.
SIGNIFICANT = 0.05
# ImageNet's validation set, the largest that these tasks are usually judged on: nobody can act on a larger number.
MOST_USUAL = 50_000

# Figures that are no share of anything, and their units; all others are 0..1 and told in points.
UNITS = {
    "kl": "nats", "smallest_lead": "", "log_p": "nats", "perplexity": "", "cosine_moved": "", "mel_mse": "nats²",
    "mel_mse_moved": "nats²", "spectral_distance": "dB", "duration_off": "s", "sound_mse": "",
}  # fmt: skip

_STATUS_WORDS = {
    "noop": "without effect",
    "not_applicable": "not applicable",
    "unavailable": "not available here",
    "unsupported": "refused",
    "crashed": "crashed",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AxisRow:
    """An axis on one backend in one line; `word` is the gravest verdict of its levels.

    `levels` are those with a drop, `of` also those without effect; without any drop there is no mean and no largest.
    """

    axis: str
    backend: str
    levels: int
    of: int
    mean: float | None
    largest: float | None
    worst: str
    word: str

    @property
    def counted(self) -> str:
        """How many levels the mean is over: `3`, or `2 of 3` where one is without effect."""
        return str(self.levels) if self.levels == self.of else f"{self.levels} of {self.of}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Cells of one backend without a figure for one and the same reason."""

    status: str
    backend: str
    names: tuple[str, ...]
    why: str


def points(value: float | None, metric: str) -> str:
    """A figure, or what two of them differ by: a share as points with two decimals, others as they are with four.

    The minus is a real one.
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    said = f"{value:.4f}" if metric in UNITS else f"{value * 100:.2f}"
    return said.lstrip("-") if float(said) == 0 else said.replace("-", "−")


def unit(found: Matrix) -> str:
    """What the figures of a matrix are in: `points`, or a unit of their own."""
    return UNITS.get(found.metric, "points")


def interval(figures: Figures, metric: str) -> str:
    """The two ends of a drop's interval."""
    low, high = figures.interval
    return f"{points(low, metric)} … {points(high, metric)}"


def figure(name: str, value: float) -> str:
    """Any figure of a task in its own units."""
    if name in UNITS:
        return f"{value:.3g} {UNITS[name]}".strip() if math.isfinite(value) else NOTHING
    return points(value, name)


def probability(value: float | None) -> str:
    """A p value in as many digits as anybody wants."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def allowed(found: Matrix) -> str:
    """The margin in words."""
    if found.metric in UNITS:
        return f"{found.margin:g} {UNITS[found.metric]}".strip()
    size = found.margin * 100
    return f"{size:g} {'point' if size == 1 else 'points'}"


def name_of(cell: CellFacts) -> str:
    """`decoder=opencv`; the card's own way on a backend is `card`."""
    return "card" if cell.axis == BACKEND else f"{cell.axis}={cell.level}"


def judged(found: Matrix) -> list[CellFacts]:
    """The cells but for the control."""
    return [each for each in found.cells if each.axis != CONTROL]


def sentence(found: Matrix) -> str:
    """What was measured, against what."""
    value = points(found.baseline.get(found.metric), found.metric)
    return (
        f"{found.metric} {value} on {counted(found.pictures, found.noun)} ({one_line(found.layout, 60)}), baseline"
        f" {one_line(found.baseline_backend, 60)}; a drop of {allowed(found)} is allowed"
    )


def tally(found: Matrix) -> str:
    """How many cells came to what."""
    counts = overall(found).counts
    with_figures = sum(counts.get(each, 0) for each in ("PASS", "FAIL", "INCONCLUSIVE"))
    words = ("PASS", "pass"), ("FAIL", "fail"), ("INCONCLUSIVE", "inconclusive")
    said = "no cell was measured"
    noises = [each for each in judged(found) if each.axis != BACKEND]
    if with_figures and noises and not any(each.figures is not None for each in noises):
        said = f"none of the {len(noises):,} noises could be measured, only the backends themselves"
    elif with_figures:
        said = f"{counted(with_figures, 'cell')} measured: " + ", ".join(f"{counts.get(k, 0):,} {w}" for k, w in words)
    rest = [f"{counts[each]} {word}" for each, word in _STATUS_WORDS.items() if counts.get(each)]
    return f"{said}; {', '.join(rest)}" if rest else said


def cannot_tell(found: Matrix) -> str:
    """How many pictures would tell where these do not; "" where every cell was decided."""
    open_ones = [
        each.figures for each in judged(found) if each.figures is not None and each.figures.verdict == "INCONCLUSIVE"
    ]
    if not open_ones:
        return ""
    wanted = sorted(each.images_to_decide for each in open_ones if each.images_to_decide is not None)
    usual = [each for each in wanted if each <= MOST_USUAL]
    head = f"{counted(found.pictures, found.noun)} can't tell {allowed(found)} in {counted(len(open_ones), 'cell')}"
    if not wanted:
        return f"{head}: their drops are at the margin itself"
    if not usual:
        return f"{head}: their drops are so near the margin that not even {MOST_USUAL:,} would"
    half, most = statistics.median_high(usual), usual[-1]
    if len(usual) < len(open_ones):
        return f"{head}: {most:,} would in {len(usual):,} of them, not even {MOST_USUAL:,} in the others"
    if half == most:
        return f"{head}: {most:,} would"
    return f"{head}: {half:,} would in half of them, {most:,} in all"


def control(found: Matrix) -> str:
    """What the baseline, run again, differs from itself by; "" where there is no control."""
    for each in found.cells:
        if each.axis == CONTROL:
            if each.figures is None:
                return f"the baseline could not be run again: {each.reason}"
            if not each.figures.changed and each.figures.delta == 0:
                return "the baseline, run again, gives the same answers"
            return (
                f"the baseline, run again, gives {counted(each.figures.changed, 'other answer')} and is"
                f" {points(each.figures.delta, found.metric)} {unit(found)} off itself: a drop of that size is no"
                " noise's"
            )
    return ""


def axis_rows(found: Matrix) -> list[AxisRow]:
    """One row for the card's own way on each backend, then one for each axis."""
    rows = [
        AxisRow(
            axis="card", backend=each.backend, levels=1, of=1, mean=each.figures.delta, largest=each.figures.delta,
            worst="", word=each.figures.verdict,
        )
        for each in found.cells
        if each.axis == BACKEND and each.figures is not None
    ]  # fmt: skip
    words: dict[tuple[str, str], set[str]] = {}
    for each in judged(found):
        if each.figures is not None:
            words.setdefault((each.axis, each.backend), set()).add(each.figures.verdict)
    for facts in found.axes:
        levels = words.get((facts.axis, facts.backend), set())
        word = next((each for each in ("FAIL", "INCONCLUSIVE", "PASS") if each in levels), "no effect")
        rows.append(AxisRow(
            axis=facts.axis, backend=facts.backend, levels=sum(each is not None for each in facts.deltas.values()),
            of=len(facts.deltas), mean=facts.mean_delta, largest=facts.max_delta,
            worst="" if facts.max_delta is None or zero(facts.max_delta, found.metric) else facts.worst or "",
            word=word,
        ))  # fmt: skip
    return rows


def zero(value: float, metric: str) -> bool:
    """Whether a figure is told as nothing."""
    return not points(value, metric).strip("0.")


def stands_out(cell: CellFacts) -> bool:
    """It fails, or really loses something."""
    figures = cell.figures
    if figures is None or cell.axis == CONTROL:
        return False
    certain = figures.p_holm is not None and figures.p_holm < SIGNIFICANT
    return figures.verdict == "FAIL" or certain


def outstanding(found: Matrix) -> list[CellFacts]:
    """The cells that a person should look at, the largest drop first."""
    chosen = [each for each in found.cells if stands_out(each)]
    return sorted(chosen, key=lambda each: -(each.figures.delta if each.figures is not None else 0.0))


def troubles(found: Matrix) -> list[Trouble]:
    """Cells without a figure, but for those without effect, gathered by reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for each in judged(found):
        if each.figures is None and each.status != "noop":
            groups.setdefault((each.status, each.backend, each.reason), []).append(name_of(each))
    return [
        Trouble(status=_STATUS_WORDS[status], backend=backend, names=tuple(names), why=why)
        for (status, backend, why), names in groups.items()
    ]


def backends(found: Matrix) -> list[str]:
    """The backends that have cells, in order."""
    return list(dict.fromkeys(each.backend for each in judged(found)))


def some(names: Sequence[str], most: int) -> str:
    """The first of some names, and how many more."""
    said = ", ".join(names[:most])
    return f"{said} and {len(names) - most} more" if len(names) > most else said


def status_words(cell: CellFacts) -> str:
    """A cell's verdict, or why it has none."""
    return cell.figures.verdict if cell.figures is not None else _STATUS_WORDS[cell.status]


def plan_words(found: Matrix) -> Iterator[tuple[str, int, int]]:
    """What was done how often, and how often each cell by itself would have done it."""
    plan = found.plan
    if plan.naive_decodes:
        yield "decodes", plan.decodes, plan.naive_decodes
        yield "resizes", plan.resizes, plan.naive_resizes
    yield "inferences", plan.inferences, plan.naive_inferences
