"""Runs cells over texts and sounds: what an item is fed is made once for all cells that feed it the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sysnoise_conform.errors import BadInput
from sysnoise_conform.matrix.cells import Cell
from sysnoise_conform.matrix.engine import Passes, same_bits
from sysnoise_conform.matrix.facts import Feed, Levels, shapes_of
from sysnoise_conform.noise.preparation import Key
from sysnoise_conform.tasks.evaluation import Result, Told

ANSWERED_BYTES = 64 << 20  # of outputs that come from a child at once: those of a language model are large


@dataclass(slots=True, kw_only=True)
class Feeding(Passes):
    """Cells over the items of a task that makes feeds itself."""

    told: Told
    noun: ClassVar[str] = "items"
    _largest: int = 0  # bytes of one run's outputs

    def first(self, levels: Levels = ()) -> Feed | None:
        """The first feed that can be made; None where none can."""
        for at in range(len(self.names)):
            try:
                return self.told.feeds(at, dict(levels))[0]
            except BadInput:  # told where the items are run
                continue
        return None

    def _item(self, at: int, missing: Sequence[Cell], base: Cell | None) -> Mapping[str, tuple[Result | None, bool]]:
        own = None if base is None else base.sound_levels()
        feeds = {levels: self._feeds(at, levels, own) for levels in {each.sound_levels() for each in missing}}
        plain = feeds.get(missing[0].sound_levels() if own is None else own)
        if plain is None and own is not None:
            plain = self._feeds(at, own, own)
        groups: dict[Key, list[Cell]] = {}
        for cell in missing:
            groups.setdefault(cell.inference_key(None), []).append(cell)
        found: dict[str, tuple[Result | None, bool]] = {}
        for group in groups.values():
            mine = feeds[group[0].sound_levels()]
            answers = None if mine is None else self._answers(group[0], mine)
            for cell in group:
                found[cell.key] = self._result(at, cell, answers), _same(mine, plain)
        return found

    def _feeds(self, at: int, levels: Levels, own: Levels | None) -> tuple[Feed, ...] | None:
        try:
            return self.told.feeds(at, dict(levels))
        except BadInput as err:
            # What the card's own way reads is no bad item: another front end's refusal costs its own cells.
            if self.on_bad == "fail" and levels == own:
                raise
            self._left_out(at, err)
            return None

    def _answers(self, cell: Cell, feeds: tuple[Feed, ...]) -> list[Mapping[str, np.ndarray]] | None:
        """The outputs of each feed, as many in one exchange as are of the same shapes and not too large."""
        answers: list[Mapping[str, np.ndarray]] = []
        while len(answers) < len(feeds):
            left = feeds[len(answers) :]
            most = max(1, ANSWERED_BYTES // self._largest) if self._largest else 1
            alike = next((at for at, each in enumerate(left) if shapes_of(each) != shapes_of(left[0])), len(left))
            found = self._inferred(cell, left[: min(alike, most)])
            if found is None:
                return None
            answers += found
            self._largest = max(self._largest, *(sum(array.nbytes for array in each.values()) for each in found))
        return answers

    def _result(self, at: int, cell: Cell, answers: Sequence[Mapping[str, np.ndarray]] | None) -> Result | None:
        if answers is None:
            return None
        try:
            return self.told.result(at, answers, dict(cell.sound_levels()))
        except BadInput as err:
            if self.on_bad == "fail":
                raise
            self._left_out(at, err)
            return None


def _same(one: tuple[Feed, ...] | None, other: tuple[Feed, ...] | None) -> bool:
    """Whether two feeds are one and the same, bit for bit."""
    if one is None or other is None or len(one) != len(other):
        return False
    return all(
        a.keys() == b.keys() and all(same_bits(a[name], b[name]) for name in a)
        for a, b in zip(one, other, strict=True)
    )
