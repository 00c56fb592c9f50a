"""What `conform bench` measures: which models stand for a table, on which pictures, with which noises."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sysnoise_conform import exporting
from sysnoise_conform.card import load_card
from sysnoise_conform.case import Limits
from sysnoise_conform.datasets import read_data
from sysnoise_conform.errors import UsageError
from sysnoise_conform.matrix import paper_rows
from sysnoise_conform.matrix.course import MatrixCase
from sysnoise_conform.models.zoo import paper
from sysnoise_conform.models.zoo.member import Member, member
from sysnoise_conform.models.zoo.places import Found, look
from sysnoise_conform.precision.calibration import DEFAULT_SAMPLES
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import Variant, nearest

ALL = "all"  # of --member
PICTURES = ("classify", "detect", "segment")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One `conform bench`."""

    tables: tuple[str, ...]
    model: Path | None = None
    card: Path | None = None
    members: tuple[str, ...] = ()
    data: Path | None = None
    labels: Path | None = None
    variant: Variant
    baseline: Variant
    samples: int | None = None
    published: bool = False
    seed: int = 0
    resume: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A model to measure: beside the row of `member`, "" for none of the paper's; `about` says what it really is."""

    label: str
    member: str
    about: str
    model: Path
    card: Path
    data: Path
    labels: Path | None = None


def checked(asked: Asked) -> None:
    """Raises UsageError for what can't be asked together, before anything is exported or run."""
    for each in asked.tables:
        if each not in paper.tables():
            raise UsageError(f"there is no table {one_line(each, 40)!r}", hint=nearest(each, paper.tables()))
    if asked.published:
        return
    for each in asked.tables:
        if each != paper.FIGURE and paper.table(each).task not in PICTURES:
            raise UsageError(f"{each} is not measured by this version", hint="--published prints the paper's figures")
    if asked.card is not None and asked.model is None:
        raise UsageError("a card goes with a model", hint="give --model, too")
    if asked.model is None and not asked.members:
        raise UsageError("there is no model to measure", hint="give --model and --data, --member, or --published alone")
    if asked.model is not None and asked.members:
        raise UsageError("a model of yours and members of the zoo are asked for", hint="give --model or --member")
    if (asked.model is not None or asked.members) and asked.data is None:
        raise UsageError("there are no pictures to measure on", hint="give --data DIR, or --published alone")
    for each in asked.members:
        if each != ALL and member(each).table not in _member_tables(asked.tables):
            raise UsageError(f"{each} is a row of {member(each).table}, which is not asked for")


def subjects(asked: Asked, task: str, table: str, work: Path) -> Iterator[Subject]:
    """The models of one table, those of the zoo exported into `work`. Raises UsageError, and what an export raises."""
    if asked.model is not None:
        yield _own(asked, table)
        return
    assert asked.data is not None
    for name in _named(asked, table):
        one = member(name)
        target = work / f"{name}.onnx"
        if not target.is_file():
            work.mkdir(parents=True, exist_ok=True)
            exporting.export_member(name, out=target)
        yield Subject(
            label=one.row, member=name, about=_of_the_zoo(one), model=target, card=target.with_suffix(".toml"),
            data=asked.data, labels=asked.labels,
        )  # fmt: skip


def fits(subject: Subject, task: str) -> bool:
    """Whether the model is one of this task; half of a figure may not be."""
    return load_card(subject.card).task == task


def case(asked: Asked, subject: Subject, columns: tuple[str, ...], task: str) -> MatrixCase:
    """The matrix of a row. As many pictures as are asked for, but some are left for the calibration of integers."""
    whole = len(read_data(subject.data, task, labels=subject.labels).pictures)
    spared = min(DEFAULT_SAMPLES, whole // 2)
    return MatrixCase(
        model=subject.model, data=subject.data, variants=(asked.variant,), baseline=asked.baseline, task=task,
        noise=paper_rows.noises(columns, load_card(subject.card)), card=subject.card, labels=subject.labels,
        samples=min(asked.samples or whole, whole - spared), combine=frozenset(), order=paper_rows.order(columns),
        seed=asked.seed, limits=asked.limits, resume=asked.resume,
    )  # fmt: skip


def _own(asked: Asked, table: str) -> Subject:
    assert asked.model is not None
    assert asked.data is not None
    card = asked.card or asked.model.with_suffix(".toml")
    if not card.is_file():
        raise UsageError(
            f"{one_line(asked.model.name, 80)} has no card: {one_line(card, 160)} is not there", hint="give --card"
        )
    table_of = tomllib.loads(card.read_text(encoding="utf-8")) if load_card(card) else {}
    zoo = table_of.get("zoo", {})
    weights = str(table_of.get("export", {}).get("weights", ""))
    beside = str(table_of.get("name", "")) if zoo.get("table") in _member_tables((table,)) else ""
    about = f"{weights} weights, which have learned nothing" if weights.startswith("random") else ""
    return Subject(
        label=str(zoo.get("row") or asked.model.stem), member=beside, model=asked.model, card=card, data=asked.data,
        about=about or ("not the paper's weights" if beside else "no model of the paper's"), labels=asked.labels,
    )  # fmt: skip


def _named(asked: Asked, table: str) -> tuple[str, ...]:
    here = [row.member for row in paper.table(table).rows] if table != paper.FIGURE else []
    here = here or [each.member for each in paper.panels()]
    if ALL not in asked.members:
        return tuple(each for each in dict.fromkeys(here) if each in asked.members)
    found = tuple(each for each in dict.fromkeys(here) if isinstance(look(member(each)), Found))
    if not found:
        raise UsageError(f"no model of {table} has weights on this machine", hint="conform zoo says what brings them")
    return found


def _member_tables(tables: tuple[str, ...]) -> set[str]:
    """Those whose members can be measured for these; the figure's are of two tables."""
    return {each for name in tables for each in (("table2", "table3") if name == paper.FIGURE else (name,))}


def _of_the_zoo(one: Member) -> str:
    found = look(one)
    weights = found.path.name if isinstance(found, Found) else "unknown"
    return f"not the paper's weights ({one_line(weights, 80)}){f'; {one.note}' if one.note else ''}"
