"""Every noise alone, on every backend: which cells that makes, and what is known of them without running."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from sysnoise_conform.card import ImageInput
from sysnoise_conform.datasets import DataSet
from sysnoise_conform.errors import BackendError, BadInput
from sysnoise_conform.graph.intake import Port
from sysnoise_conform.graph.rewrite import NoOp, NotApplicable, Rewritten
from sysnoise_conform.graph.shapes import numpy_type
from sysnoise_conform.matrix.cells import Asked, Cell
from sysnoise_conform.matrix.facts import Feed, Status
from sysnoise_conform.matrix.graphs import Distinct, Graphs, reason
from sysnoise_conform.noise import AXES, precision
from sysnoise_conform.pictures.place import Fixed
from sysnoise_conform.variant import Variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Singles:
    """The cells in their order; `known` are those that need no run, `notes` what is told of one beside its figures."""

    cells: list[Cell] = field(default_factory=list)
    known: dict[Cell, tuple[Status, str]] = field(default_factory=dict)
    notes: dict[Cell, str] = field(default_factory=dict)


def singles(
    variants: Sequence[Variant], wanted: Sequence[Asked], spec: ImageInput | None, base: Cell, graphs: Graphs,
    feed: Feed | None,
) -> Singles:  # fmt: skip
    """Every level alone on every backend, with the card's own way on each.

    Levels of a graph's axis that make the same graph are one cell, under the first one's name; its note names the
    others. `feed` is one that the model gets, or None where there is none.
    """
    made = Singles()
    distinct = _distinct(wanted, graphs, feed)
    for variant in variants:
        own = Cell(levels=(), variant=variant)
        if own != base:
            made.cells.append(own)
        for each in wanted:
            if each.axis == precision.AXIS.name and own.graph_levels():  # the backend's name says it already
                continue
            for name in each.levels:
                cell = Cell(levels=((each.axis, name),), variant=variant)
                if each.axis in distinct:
                    if name not in distinct[each.axis]:
                        continue
                    _of_graph(made, cell, distinct[each.axis][name], graphs)
                elif missing := AXES[each.axis].level(name).missing:
                    made.known[cell] = ("unavailable", missing)
                elif _same_way(cell, own, spec):
                    made.known[cell] = ("noop", "the card's own way is the same")
                made.cells.append(cell)
    return made


def first_tensor(base: Cell, spec: ImageInput, data: DataSet, fixed: Fixed, port: Port) -> np.ndarray | None:
    """The tensor of the first picture that can be read; None where none can."""
    way = base.preparation(spec)
    for picture in data.pictures:
        try:
            placed = way.placed(way.coloured(way.decoded(picture.path)), fixed)
        except BadInput:  # told where the pictures are run
            continue
        return way.tensor(placed).astype(numpy_type(port), copy=False)
    return None


def touches_graphs(wanted: Sequence[Asked]) -> bool:
    """Whether an axis of the graph is among them."""
    return any(AXES[each.axis].stage == "graph" for each in wanted)


def _distinct(wanted: Sequence[Asked], graphs: Graphs, feed: Feed | None) -> dict[str, dict[str, Distinct]]:
    """By axis and level; an axis is missing where nobody can be asked: its cells tell why as they are run."""
    found: dict[str, dict[str, Distinct]] = {}
    for each in wanted:
        if AXES[each.axis].stage == "graph" and feed is not None:
            try:
                found[each.axis] = {one.level: one for one in graphs.distinct(each.axis, each.levels, feed)}
            except BackendError:
                continue
    return found


def _of_graph(made: Singles, cell: Cell, distinct: Distinct, graphs: Graphs) -> None:
    same = ", ".join(distinct.same)
    more = f"; the same holds for {same}" if same else ""
    match distinct.found:
        case NotApplicable():
            made.known[cell] = ("not_applicable", reason(distinct.found) + more)
        case NoOp():
            if graphs.settled(distinct.found):
                made.known[cell] = ("noop", distinct.found.why + more)
        case Rewritten():
            if same:
                made.notes[cell] = f"on these sizes the same as {same}"
            if distinct.found.precision in precision.PRESETS:
                made.notes[cell] = f"calibrated on {graphs.calibrated_on} that are not judged"
        case _:
            assert_never(distinct.found)


def _same_way(cell: Cell, own: Cell, spec: ImageInput | None) -> bool:
    same = cell.inference_key(spec) == own.inference_key(spec)
    return same and cell.decoding() == own.decoding()
