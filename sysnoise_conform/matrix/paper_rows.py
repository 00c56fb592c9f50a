"""A matrix as a row of the paper's tables: which noises a column stands for, and what they cost this model.

The options of a column are the paper's (three other decoders, ten other resizes), but for what it does not tell: which
chroma its YUV has, how it quantises, which of a detector's boxes lose their pixel: docs/paper-tables.md has those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sysnoise_conform.card import Card
from sysnoise_conform.matrix.facts import CellFacts, Matrix, Step
from sysnoise_conform.noise import precision

# By column of a table: the axis, and its levels. A card's own level is none of them.
COLUMNS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "decode": ("decoder", ("pillow", "opencv", "ffmpeg", "turbo-fast-upsample")),
    "resize": (
        "resize",
        (
            "pillow-nearest", "pillow-bilinear", "pillow-box", "pillow-hamming", "pillow-bicubic", "pillow-lanczos",
            "opencv-nearest", "opencv-bilinear", "opencv-area", "opencv-bicubic", "opencv-lanczos",
        ),
    ),
    "colour": ("colour", ("bt601-narrow-444-integer",)),
    "fp16": ("precision", ("fp16",)),
    "int8": ("precision", ("int8-tensorrt",)),
    "ceil_mode": ("ceil_mode", ("ceil",)),
    "upsample": ("upsample", ("linear",)),
    "post_processing": ("box_offset", ("all",)),
    "stft": ("stft", ("fft-fp64", "conv1d-fp32", "conv1d-fp16", "conv1d-int8")),
}  # fmt: skip
COMBINED = "combined"
TRAINED = "trained"
# In which the paper's Figure 3 puts them on, and which the last column has all of. fp16 and int8 exclude each other.
ORDER = ("decode", "resize", "colour", "stft", "int8", "ceil_mode", "upsample", "post_processing")
SEVERAL = ("decode", "resize", "stft")  # columns with a mean and a largest drop
_ALWAYS_SURE = 0.05  # of several levels the worst is told by its p, which is Holm's over all cells


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One cell, in points, of errors in their own unit; None where it was not measured, for `why`.

    `shows`: it is above its confidence interval.
    """

    mean: float | None = None
    largest: float | None = None
    interval: tuple[float, float] | None = None  # of the largest
    shows: bool = False
    levels: int = 0
    worst: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredRow:
    """A model's row. `member` is whose published row it stands beside, "" for none; `about` what it really is."""

    label: str
    member: str
    about: str
    data: str
    metric: str
    trained: float
    figures: Mapping[str, Measured]
    steps: tuple[tuple[str, Measured], ...]
    pictures: int
    noun: str
    seconds: float


def noises(columns: Sequence[str], card: Card) -> str:
    """What `--noise` has to ask for, for these columns of a model with this card."""
    own = _own(card)
    return ",".join(
        f"{axis}={level}"
        for column in columns
        if column in COLUMNS
        for axis, levels in [COLUMNS[column]]
        for level in levels
        if own.get(axis) != level
    )


def order(columns: Sequence[str]) -> tuple[str, ...]:
    """The order in which a table's noises come together, as a matrix takes it."""
    found = []
    for column in ORDER:
        if column in columns:
            axis, levels = COLUMNS[column]
            found.append(axis if column in SEVERAL else f"{axis}={levels[0]}")
    return tuple(found)


def row(found: Matrix, columns: Sequence[str], *, label: str, member: str, about: str) -> MeasuredRow:
    """The row that a matrix with `noises` and `order` makes."""
    scale = _scale(found)
    steps = tuple(_step(each, scale) for each in found.steps if each.order == "given")
    figures = {column: _column(found, column, scale) for column in columns if column in COLUMNS}
    if COMBINED in columns:
        figures[COMBINED] = steps[-1][1] if steps else Measured(why="no noise could be put on")
    return MeasuredRow(
        label=label, member=member, about=about, data=found.layout, metric=found.metric,
        trained=scale * found.baseline[found.metric], figures=figures, steps=steps, pictures=found.pictures,
        noun=found.noun, seconds=found.seconds,
    )  # fmt: skip


def _scale(found: Matrix) -> float:
    """Shares are told in points, as the paper has them; its Table 10 has errors, which have a unit of their own."""
    return 1.0 if found.task == "speak" else 100.0


def _own(card: Card) -> dict[str, str]:
    return {} if card.image is None else {"decoder": card.image.decoder, "resize": card.image.filter}


def _column(found: Matrix, column: str, scale: float) -> Measured:
    axis, levels = COLUMNS[column]
    cells = [each for each in found.cells if each.axis == axis and each.level in levels]
    told = [each for each in cells if each.status in ("measured", "noop")]
    if not told:
        return Measured(why=cells[0].reason if cells else "it was not measured")
    drops = {each.level: 0.0 if each.figures is None else scale * each.figures.delta for each in told}
    worst = max(told, key=lambda each: drops[each.level])
    figures = worst.figures
    sure = figures is not None and (
        figures.interval[0] > 0 if len(told) == 1 else (figures.p_holm or 0.0) < _ALWAYS_SURE
    )  # fmt: skip
    return Measured(
        mean=sum(drops.values()) / len(drops),
        largest=drops[worst.level],
        interval=None if figures is None else (scale * figures.interval[0], scale * figures.interval[1]),
        shows=sure,
        levels=len(told),
        worst=worst.level,
        why="; ".join(dict.fromkeys(_remarks(cells, told))),
    )


def _remarks(cells: Sequence[CellFacts], told: Sequence[CellFacts]) -> Iterator[str]:
    if all(each.figures is None for each in told):
        yield f"without effect: {told[0].reason}"
    for each in cells:
        if each not in told:
            yield f"without {each.level}: {each.reason}"
        elif each.axis == precision.AXIS.name and each.figures is not None and each.reason:
            yield each.reason  # what it was computed in


def _step(step: Step, scale: float) -> tuple[str, Measured]:
    column = next(name for name in ORDER if COLUMNS[name][0] == step.added)
    low, high = (scale * each for each in step.interval)
    return column, Measured(
        mean=scale * step.delta, largest=scale * step.delta, interval=(low, high), shows=low > 0, levels=1,
        worst=step.level,
    )
