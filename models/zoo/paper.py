"""The paper's tables: what their columns are, which members are their rows, which cells are doubtful (tables.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from sysnoise_conform.models.zoo.member import Member, member

FIGURE = "fig3"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A published row: a member on a data set; `figures` by column, `decode_mean` and `decode_max` among them."""

    member: str
    label: str
    data: str
    figures: Mapping[str, float]
    doubts: Mapping[str, str]  # by the figure's name: why


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of the paper. A column of `columns` is one figure, or the mean and the largest of several."""

    name: str
    title: str
    task: str
    unit: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Half of Figure 3: noises put on one after another, and the drop after each."""

    member: str
    task: str
    data: str
    steps: tuple[tuple[str, float], ...]


def tables() -> tuple[str, ...]:
    """The names of those that there are, the figure last."""
    return (*(name for name, each in _all().items() if "rows" in each), FIGURE)


@lru_cache
def table(name: str) -> Table:
    """One of them, with its published rows in the paper's order."""
    found = _all()[name]
    return Table(
        name=name, title=found["title"], task=found["task"], unit=found["unit"], columns=tuple(found["columns"]),
        rows=tuple(row for each in found["rows"] for row in _rows(name, member(each))),
    )  # fmt: skip


@lru_cache
def panels() -> tuple[Panel, ...]:
    """Both halves of Figure 3."""
    return tuple(
        Panel(member=each["member"], task=each["task"], data=each["data"],
              steps=tuple((step, float(drop)) for step, drop in each["steps"]))
        for each in _all()[FIGURE]["panels"]
    )  # fmt: skip


def figure_title() -> str:
    """Figure 3's."""
    title: str = _all()[FIGURE]["title"]
    return title


def doubts(table: str, name: str, data: str) -> dict[str, str]:
    """The doubtful cells of a row: the figure's name and why."""
    return {
        column: each["why"]
        for each in _all()["doubts"]
        if each["table"] == table and name in each["rows"] and each.get("data", data) == data
        for column in each["columns"]
    }


def _rows(table: str, one: Member) -> Iterator[Row]:
    for data, figures in one.published.items():
        yield Row(member=one.name, label=one.row, data=data, figures=figures, doubts=doubts(table, one.name, data))


@lru_cache
def _all() -> dict[str, Any]:
    text = (resources.files("sysnoise_conform.models.zoo") / "tables.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
