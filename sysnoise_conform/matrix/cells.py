"""Which cells there are: a way of preparing, a graph, a backend and a way of decoding, each named by its levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

from sysnoise_conform.card import ImageInput
from sysnoise_conform.errors import UsageError
from sysnoise_conform.matrix.facts import Levels, PlanCounts
from sysnoise_conform.noise import AXES, IDENTITY, STAGES, axis
from sysnoise_conform.noise.outputs import decoding
from sysnoise_conform.noise.preparation import Key, Preparation, prepared
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.variant import Variant

CONTROL = "control"  # the axis of a cell that is the baseline again
BACKEND = "backend"  # of one that is the card's own way on a backend


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """What is run. `again` tells the control from the baseline: it is the same, computed anew."""

    levels: Levels
    variant: Variant
    again: bool = False

    @property
    def key(self) -> str:
        """Names the cell in the journal."""
        levels = "+".join(f"{name}={level}" for name, level in self.levels)
        return f"{self.variant}|{levels}{'|again' if self.again else ''}"

    def graph_levels(self) -> Levels:
        """Those that rewrite the graph."""
        return tuple((name, level) for name, level in self.levels if AXES[name].stage == "graph")

    def preparation(self, spec: ImageInput) -> Preparation:
        """How pictures become tensors in this cell."""
        return _prepared(spec, self.levels)

    def decoding(self) -> Decoding:
        """How outputs become answers."""
        return decoding(self.levels)

    def inference_key(self, spec: ImageInput) -> Key:
        """What determines the raw outputs of one picture."""
        return (self.preparation(spec).tensor_key(), self.graph_levels(), str(self.variant), self.again)


@lru_cache(maxsize=4096)  # asked for again for each picture
def _prepared(spec: ImageInput, levels: Levels) -> Preparation:
    return prepared(spec, dict(levels))


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """An axis and its levels to try, without the identity."""

    axis: str
    levels: tuple[str, ...]


def asked(words: str, *, task: str) -> tuple[Asked, ...]:
    """What `--noise` asks for: `all`, `default`, `paper`, axes, or axis=level, comma-separated.

    Raises UsageError for a name that is not there, with the nearest.
    """
    found: dict[str, list[str]] = {}
    for word in (each.strip() for each in words.split(",")):
        name, given, level = word.partition("=")
        if word in ("all", "default", "paper"):
            chosen = [
                each for each in AXES.values()
                if word == "all" or (each.paper if word == "paper" else not each.mistake)
            ]  # fmt: skip
            for each in chosen:
                if _fits(each.name, task):
                    levels = [level.name for level in each.levels[1:] if word == "all" or level.name not in each.rare]
                    found.setdefault(each.name, levels)
        elif given:
            if axis(name).level(level).name == IDENTITY:
                raise UsageError(f"{name}={level} is the card's own way, which is measured anyway", hint="name another")
            levels = found.setdefault(name, [])
            if level not in levels:
                levels.append(level)
        else:
            levels = [level.name for level in axis(name).levels[1:]]
            if not _fits(name, task):
                raise UsageError(f"the noise {name!r} does not fit the task {task}", hint=AXES[name].about)
            found[name] = levels
    order = list(AXES)
    return tuple(Asked(axis=name, levels=tuple(found[name])) for name in sorted(found, key=order.index))


def _fits(name: str, task: str) -> bool:
    tasks = AXES[name].tasks
    return not tasks or task in tasks


def in_order(levels: Mapping[str, str]) -> Levels:
    """Levels in the order of the pipeline."""
    order = list(AXES)
    return tuple(sorted(levels.items(), key=lambda each: (STAGES.index(AXES[each[0]].stage), order.index(each[0]))))


def counts(cells: Sequence[Cell], spec: ImageInput, pictures: int) -> PlanCounts:
    """The work of these cells over so many pictures, shared and by themselves."""
    ways = [each.preparation(spec) for each in cells]
    return PlanCounts(
        decodes=pictures * len({each.decode_key() for each in ways}),
        resizes=pictures * len({each.place_key() for each in ways}),
        inferences=pictures * len({each.inference_key(spec) for each in cells}),
        naive_decodes=pictures * len(cells),
        naive_resizes=pictures * len(cells),
        naive_inferences=pictures * len(cells),
    )


def total(passes: Sequence[PlanCounts]) -> PlanCounts:
    """The work of passes that share nothing with one another."""
    return PlanCounts(**{each.name: sum(getattr(one, each.name) for one in passes) for each in fields(PlanCounts)})
