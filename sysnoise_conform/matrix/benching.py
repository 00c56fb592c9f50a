"""What `conform bench` measures: which models stand for a table, on which data, with which noises.

Without a model those that come with the project, on their own data.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sysnoise_conform import exporting
from sysnoise_conform.card import load_card
from sysnoise_conform.case import Limits
from sysnoise_conform.datasets import read_data
from sysnoise_conform.datasets.questions import SUFFIXES, read_questions
from sysnoise_conform.datasets.recordings import read_recordings
from sysnoise_conform.errors import UsageError
from sysnoise_conform.matrix import paper_rows
from sysnoise_conform.matrix.course import MatrixCase
from sysnoise_conform.models.tiny import held_out
from sysnoise_conform.models.zoo import paper
from sysnoise_conform.models.zoo.member import Member, member
from sysnoise_conform.models.zoo.places import Found, look
from sysnoise_conform.precision.calibration import DEFAULT_SAMPLES
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import Variant, nearest

ALL = "all"  # of --member
TINY: Mapping[str, str] = {
    "classify": "tiny-cls", "detect": "tiny-det", "segment": "tiny-seg", "choose": "tiny-lm", "speak": "tiny-tts",
}  # fmt: skip


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
    """A model to measure: beside the row of `member`, "" for none of the paper's; `about` says what it really is.

    `part` names one of several data sets, which have a row each.
    """

    label: str
    member: str
    about: str
    model: Path
    card: Path
    data: Path
    labels: Path | None = None
    part: str = ""

    @property
    def place(self) -> str:
        """What the folder of its run is called."""
        return "-".join(each for each in (self.model.stem, self.part) if each)


def checked(asked: Asked) -> None:
    """Raises UsageError for what can't be asked together, before anything is exported or run."""
    for each in asked.tables:
        if each not in paper.tables():
            raise UsageError(f"there is no table {one_line(each, 40)!r}", hint=nearest(each, paper.tables()))
    if asked.published:
        return
    if asked.card is not None and asked.model is None:
        raise UsageError("a card goes with a model", hint="give --model, too")
    if asked.model is None and not asked.members and (asked.data is not None or asked.labels is not None):
        raise UsageError(
            "there is no model to measure on these data",
            hint="give --model or --member; without data, too, the models that come with the project are measured",
        )
    if asked.model is not None and asked.members:
        raise UsageError("a model of yours and members of the zoo are asked for", hint="give --model or --member")
    if (asked.model is not None or asked.members) and asked.data is None:
        raise UsageError("there are no data to measure on", hint="give --data DIR, or --published alone")
    for each in asked.members:
        if each != ALL and member(each).table not in _member_tables(asked.tables):
            raise UsageError(f"{each} is a row of {member(each).table}, which is not asked for")
    if asked.model is not None:
        own = load_card(_card(asked)).task
        if own not in {task for each in asked.tables for task in _tasks(each)}:
            of = "one that the paper has no table of" if own not in TINY else f"that of another table: {own}"
            raise UsageError(f"the task of {one_line(asked.model.name, 80)} is {of}", hint=_table_of(own))


def subjects(asked: Asked, task: str, table: str, work: Path) -> Iterator[Subject]:
    """The models of one table, those of the zoo exported into `work`. Raises UsageError, and what an export raises."""
    if asked.model is not None:
        own = _own(asked, table)
        if load_card(own.card).task == task:  # of one half of a figure it is none
            yield from _by_part(own, task)
        return
    if not asked.members:
        yield from _by_part(_with_the_project(TINY[task]), task)
        return
    assert asked.data is not None
    for name in _named(asked, table):
        one = member(name)
        target = work / f"{name}.onnx"
        if not target.is_file():
            work.mkdir(parents=True, exist_ok=True)
            exporting.export_member(name, out=target)
        found = Subject(
            label=one.row, member=name, about=_of_the_zoo(one), model=target, card=target.with_suffix(".toml"),
            data=asked.data, labels=asked.labels,
        )  # fmt: skip
        yield from _by_part(found, task)


def case(asked: Asked, subject: Subject, columns: tuple[str, ...], task: str) -> MatrixCase:
    """The matrix of a row. As many items as are asked for, but some are left for the calibration of integers."""
    whole = _count(subject, task)
    spared = min(DEFAULT_SAMPLES, whole // 2)
    return MatrixCase(
        model=subject.model, data=subject.data, variants=(asked.variant,), baseline=asked.baseline, task=task,
        noise=paper_rows.noises(columns, load_card(subject.card)), card=subject.card, labels=subject.labels,
        samples=min(asked.samples or whole, whole - spared), combine=frozenset(), order=paper_rows.order(columns),
        seed=asked.seed, limits=asked.limits, resume=asked.resume,
    )  # fmt: skip


def _count(subject: Subject, task: str) -> int:
    match task:
        case "choose":
            return len(read_questions(subject.data).questions)
        case "speak":
            return len(read_recordings(subject.data).recordings)
        case _:
            return len(read_data(subject.data, task, labels=subject.labels).pictures)


def _by_part(whole: Subject, task: str) -> Iterator[Subject]:
    """A model on each data set of its folder: questions of several collections lie in a folder each."""
    folders = sorted(each for each in whole.data.iterdir() if each.is_dir()) if whole.data.is_dir() else []
    parts = [each for each in folders if any(file.suffix in SUFFIXES for file in each.iterdir())]
    if task != "choose" or not parts:
        yield whole
        return
    for each in parts:
        yield replace(whole, data=each, part=each.name)


def _with_the_project(name: str) -> Subject:
    model, data = held_out.tiny(name), held_out.data(name)
    figures = ", ".join(f"{key} {value:g}" for key, value in model.figures.items())
    known = data.other or f"recorded on all of these data in PyTorch: {figures}"
    return Subject(
        label=name, member="", about=f"comes with the project, not the paper's model ({known})", model=model.model,
        card=model.card, data=data.folder,
    )  # fmt: skip


def _card(asked: Asked) -> Path:
    assert asked.model is not None
    card = asked.card or asked.model.with_suffix(".toml")
    if not card.is_file():
        raise UsageError(
            f"{one_line(asked.model.name, 80)} has no card: {one_line(card, 160)} is not there", hint="give --card"
        )
    return card


def _tasks(table: str) -> tuple[str, ...]:
    return tuple(each.task for each in paper.panels()) if table == paper.FIGURE else (paper.table(table).task,)


def _table_of(task: str | None) -> str:
    found = [each for each in paper.tables() if task in _tasks(each)]
    return f"conform bench {' '.join(found)}" if found else "conform noise measures it"


def _own(asked: Asked, table: str) -> Subject:
    assert asked.model is not None
    assert asked.data is not None
    card = _card(asked)
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
