"""The beginning of a run: what was asked is read and checked, and nothing is started yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from sysnoise_conform.card import Card, find_card, load_card
from sysnoise_conform.case import Case
from sysnoise_conform.errors import Interrupted, StorageError
from sysnoise_conform.graph.constants import parse_constant
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.inputs import Samples, load_samples
from sysnoise_conform.precision.calibration import Calibration
from sysnoise_conform.runner import calibrating
from sysnoise_conform.runner.plan import Plan, check_variants, make_plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A case whose files are read and checked."""

    card: Card | None
    model: Model
    samples: Samples
    plan: Plan
    calibration: Calibration | None = None  # where a variant asks for int8


def open_case(case: Case) -> Opened:
    """Raises UsageError, BadModel and BadInput for what was asked wrongly."""
    check_variants(case)
    card = load_card(case.card) if case.card is not None else find_card(case.model)
    model = open_model(
        case.model,
        bind=_bindings(case, card),
        shapes={**({} if card is None else card.shapes), **case.shapes},
        allow_linked_data=case.allow_linked_data,
    )
    samples = load_samples(
        model, inputs=case.inputs, card=card, samples=case.samples, seed=case.seed, shapes=case.shapes
    )
    calibration = None
    if case.deployed is None and any(each.precision == "int8" for each in case.variants):
        samples, calibration = calibrating.choose(case, model, card, samples, case.calibration)
        samples = calibrating.judged_alone(samples, calibration)
    plan = make_plan(case, model, samples.feed(0))
    return Opened(card=card, model=model, samples=samples, plan=plan, calibration=calibration)


def _bindings(case: Case, card: Card | None) -> dict[str, np.ndarray]:
    """The card's constants, and those of the command line, which win."""
    given = {name: parse_constant(name, text) for name, text in case.bind.items()}
    return {**({} if card is None else {name: np.asarray(value) for name, value in card.bind.items()}), **given}


@contextmanager
def told(left: str = "what was measured is in the report, which has no footer and proves nothing") -> Iterator[None]:
    """What ends a run in the middle, in words: an interrupt, a disk that is full or refuses.

    `left` says what becomes of what was measured until then.
    """
    try:
        yield
    except KeyboardInterrupt as err:
        raise Interrupted(f"interrupted; {left}") from err
    except OSError as err:
        raise StorageError(
            f"{err.strerror}: {err.filename}" if err.filename else str(err),
            hint="free some space, or choose another --out, CONFORM_CACHE or TMPDIR",
        ) from err
