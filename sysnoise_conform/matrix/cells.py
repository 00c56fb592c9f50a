"""Which cells there are: a way of preparing, a graph, a backend and a way of decoding, each named by its levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

from sysnoise_conform.card import ImageInput
from sysnoise_conform.errors import UsageError
from sysnoise_conform.matrix.facts import Levels, PlanCounts
from sysnoise_conform.noise import AXES, IDENTITY, STAGES, axis, precision
from sysnoise_conform.noise.outputs import decoding
from sysnoise_conform.noise.preparation import Key, Preparation, prepared
from sysnoise_conform.precision.presets import PRESETS
from sysnoise_conform.precision.recipe import INT8, recipe_of
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.variant import Variant

CONTROL = "control"  # the axis of a cell that is the baseline again
BACKEND = "backend"  # of one that is the card's own way on a backend
_NO_PICTURES = ("choose", "speak")


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
        """Those that rewrite the graph; a precision that the backend's name asks for is one of them, the last."""
        level = own_precision(self.variant)
        named = level and all(name != precision.AXIS.name for name, _ in self.levels)
        own = ((precision.AXIS.name, level),) if named else ()
        return tuple(each for each in self.levels if AXES[each[0]].stage == "graph") + own

    def sound_levels(self) -> Levels:
        """Those of the front end of a speech model."""
        return tuple((name, level) for name, level in self.levels if AXES[name].stage == "audio")

    def preparation(self, spec: ImageInput) -> Preparation:
        """How pictures become tensors in this cell."""
        return _prepared(spec, self.levels)

    def decoding(self) -> Decoding:
        """How outputs become answers."""
        return decoding(self.levels)

    def inference_key(self, spec: ImageInput | None) -> Key:
        """What determines the raw outputs of one item; `spec` is None where items are no pictures."""
        feed = self.sound_levels() if spec is None else self.preparation(spec).tensor_key()
        return (feed, self.graph_levels(), str(self.variant), self.again)


def own_precision(variant: Variant) -> str:
    """The level of the axis precision that a backend's name asks for; "" where the graph stays as it is.

    Raises UsageError for an int8 with another observer than its preset's.
    """
    recipe = recipe_of(variant)
    if recipe is None:
        return ""
    if recipe.precision != INT8:
        return recipe.precision
    if recipe.observer != PRESETS[recipe.preset].observer:
        raise UsageError(
            f"{variant}: noises quantise with the preset's own observer", hint="leave out +observer, or use conform run"
        )
    return next(level for level, preset in precision.PRESETS.items() if preset == recipe.preset)


@lru_cache(maxsize=4096)  # asked for again for each picture
def _prepared(spec: ImageInput, levels: Levels) -> Preparation:
    return prepared(spec, dict(levels))


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """An axis and its levels to try, without the identity."""

    axis: str
    levels: tuple[str, ...]


def asked(words: str, *, task: str) -> tuple[Asked, ...]:
    """What `--noise` asks for: `all`, `default`, `paper`, axes, or axis=level, comma-separated; all of it together.

    Raises UsageError for a name that is not there, with the nearest.
    """
    found: dict[str, dict[str, None]] = {}  # by axis its levels, each once
    for word in (each.strip() for each in words.split(",")):
        name, given, level = word.partition("=")
        if word in ("all", "default", "paper"):
            chosen = [
                each for each in AXES.values()
                if word == "all" or (each.paper if word == "paper" else not each.mistake)
            ]  # fmt: skip
            for each in chosen:
                if _fits(each.name, task, named=False):
                    every = [level.name for level in each.levels[1:]]
                    usual = [level for level in each.named if level not in each.rare]
                    found.setdefault(each.name, {}).update(dict.fromkeys(every if word == "all" else usual))
        elif given:
            if axis(name).level(level).name == IDENTITY:
                raise UsageError(f"{name}={level} is the card's own way, which is measured anyway", hint="name another")
            found.setdefault(name, {})[level] = None
        else:
            named = axis(name).named
            if not _fits(name, task):
                raise UsageError(f"the noise {name!r} does not fit the task {task}", hint=AXES[name].about)
            found.setdefault(name, {}).update(dict.fromkeys(named))
    order = list(AXES)
    return tuple(Asked(axis=name, levels=tuple(found[name])) for name in sorted(found, key=order.index))


def _fits(name: str, task: str, *, named: bool = True) -> bool:
    """Whether an axis can touch a task; of a graph that reads texts or sounds all but the type wait to be named."""
    axis = AXES[name]
    if task in _NO_PICTURES and axis.stage not in ("graph", "audio"):
        return False
    if task in _NO_PICTURES and axis.stage == "graph" and name != precision.AXIS.name:
        return named
    return not axis.tasks or task in axis.tasks


def in_order(levels: Mapping[str, str]) -> Levels:
    """Levels in the order of the pipeline."""
    order = list(AXES)
    return tuple(sorted(levels.items(), key=lambda each: (STAGES.index(AXES[each[0]].stage), order.index(each[0]))))


def counts(cells: Sequence[Cell], spec: ImageInput | None, pictures: int, *, runs: int | None = None) -> PlanCounts:
    """The work of these cells over so many pictures, shared and by themselves; `runs` of one cell where items have
    several.
    """
    inferences = pictures if runs is None else runs
    distinct = len({each.inference_key(spec) for each in cells})
    if spec is None:
        return PlanCounts(
            decodes=0, resizes=0, inferences=inferences * distinct, naive_decodes=0, naive_resizes=0,
            naive_inferences=inferences * len(cells),
        )  # fmt: skip
    ways = [each.preparation(spec) for each in cells]
    return PlanCounts(
        decodes=pictures * len({each.decode_key() for each in ways}),
        resizes=pictures * len({each.place_key() for each in ways}),
        inferences=inferences * distinct,
        naive_decodes=pictures * len(cells),
        naive_resizes=pictures * len(cells),
        naive_inferences=pictures * len(cells),
    )


def total(passes: Sequence[PlanCounts]) -> PlanCounts:
    """The work of passes that share nothing with one another."""
    return PlanCounts(**{each.name: sum(getattr(one, each.name) for one in passes) for each in fields(PlanCounts)})
