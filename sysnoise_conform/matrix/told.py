"""Which task over texts or sounds a card and its data come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.datasets import OnBad
from sysnoise_conform.datasets.questions import read_questions
from sysnoise_conform.datasets.recordings import read_recordings
from sysnoise_conform.errors import UsageError
from sysnoise_conform.files import content
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.noise.audio import front_end, log_mel, of_card
from sysnoise_conform.precision.calibration import DEFAULT_SAMPLES
from sysnoise_conform.printable import one_line
from sysnoise_conform.tasks.choose import Continued, Likened
from sysnoise_conform.tasks.evaluation import Told
from sysnoise_conform.tasks.speak import Speech
from sysnoise_conform.texts.tokens import Tokens, tokens_of

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Where the items lie, and which of them are wanted; `held` are others to calibrate on."""

    place: Path
    samples: int | None
    on_bad: OnBad
    allow_linked: bool
    held: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """A task with its data; `identity` is of all of the data that determines a result."""

    told: Told
    layout: str
    identity: tuple[str, ...]


def telling(task: str, card: Card, model: Model, given: Given) -> Telling:
    """Raises UsageError where the card does not say what the task needs, BadInput for what is wrong with the data."""
    found = _made(task, card, model, given, given.place, lambda items: _judged(items, given))
    assert found is not None
    return found


def calibrating(task: str, card: Card, model: Model, given: Given) -> Telling | None:
    """The task over what is not judged: all of `given.held`, else at most 16 of what is left over; None of nothing.

    Raises what `telling` raises, and UsageError where everything that was given is judged as well.
    """
    if given.held is None:
        return _made(task, card, model, given, given.place, lambda items: _rest(items, given))
    judged = set(telling(task, card, model, given).identity)
    found = _made(task, card, model, given, given.held, lambda items: items)
    if found is None or judged & set(found.identity[1:]):
        raise UsageError(
            f"what is in {one_line(given.held, 200)!r} to calibrate on is judged as well", hint="name other data"
        )
    return found


def _judged(items: Sequence[T], given: Given) -> Sequence[T]:
    return [items[at] for at in spread(len(items), given.samples, "items")]


def _rest(items: Sequence[T], given: Given) -> Sequence[T]:
    judged = set(spread(len(items), given.samples, "items"))
    left = [each for at, each in enumerate(items) if at not in judged]
    return [left[at] for at in spread(len(left), min(DEFAULT_SAMPLES, len(left)), "items")]


def _made(
    task: str, card: Card, model: Model, given: Given, place: Path, chosen: Callable[[Sequence[Any]], Sequence[Any]]
) -> Telling | None:
    return (_sounds if task == "speak" else _questions)(card, model, given, place, chosen)


def _sounds(
    card: Card, model: Model, given: Given, place: Path, chosen: Callable[[Sequence[Any]], Sequence[Any]]
) -> Telling | None:
    spec = card.speech
    if spec is None:
        raise UsageError(
            "speech needs a model card that says what the model reads and says, and this one has no [speech] table",
            hint='write mel = "name of the features" into it, see docs/tasks.md',
        )
    tokens = _tokens(card, model) if spec.reads == "text" else None
    data = read_recordings(place, on_bad=given.on_bad, allow_linked=given.allow_linked)
    data = replace(data, recordings=tuple(chosen(data.recordings)))
    if not data.recordings:
        return None
    base = of_card(spec)

    def features(sound: np.ndarray, levels: Mapping[str, str]) -> np.ndarray:
        return log_mel(sound, front_end(base, levels))

    told = Speech(card, data, tokens, features, model, on_bad=given.on_bad)
    files = (f"{each.name}\0{content(each.path)}\0{each.text}" for each in data.recordings)
    return Telling(told=told, layout=data.layout, identity=("" if tokens is None else tokens.identity, *files))


def _questions(
    card: Card, model: Model, given: Given, place: Path, chosen: Callable[[Sequence[Any]], Sequence[Any]]
) -> Telling | None:
    tokens = _tokens(card, model)
    asked = read_questions(place, on_bad=given.on_bad, allow_linked=given.allow_linked)
    asked = replace(asked, questions=tuple(chosen(asked.questions)))
    if not asked.questions:
        return None
    kind = Likened if card.task == "embed" else Continued
    told = kind(card, asked, tokens, model, on_bad=given.on_bad)
    contents = (repr((each.options, each.asked, sorted(each.right))) for each in asked.questions)
    return Telling(told=told, layout=asked.layout, identity=(tokens.identity, *contents))


def _tokens(card: Card, model: Model) -> Tokens:
    if card.text is None:
        raise UsageError(
            "questions need a model card that says how texts become tokens, and this one has no [text] table",
            hint='write tokenizer = "tokenizer.json" into it, see docs/tasks.md',
        )
    return tokens_of(card.text, (card.path or model.path).resolve().parent)


def spread(count: int, samples: int | None, what: str) -> Sequence[int]:
    """Which of so many are taken: every so many-th, since the first of a set are alike. Raises UsageError."""
    if samples is None:
        return range(count)
    if samples > count:
        raise UsageError(
            f"{samples} {one_line(what)} were asked for, there are {count}", hint="give a smaller --samples"
        )
    return [int(at * count / samples) for at in range(samples)]
