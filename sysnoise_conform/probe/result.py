"""What came of a case or of a relation: a closed union, and the same as JSON."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


class Shows(enum.Enum):
    """In what a deviation shows."""

    SHAPE = "shape"
    TYPE = "type"
    NONFINITE = "nan or infinity"  # on one side only
    VALUES = "values"
    SMALL = "small"  # values, by less than a sixty-fourth of the largest: another precision, or an approximation
    UNSTEADY = "unsteady"  # another answer at the second run
    NO_ERROR = "no error"  # an answer where an error is right


@dataclass(frozen=True, kw_only=True, slots=True)
class Agrees:
    """Within what correct arithmetic may be off; by how much it is off."""

    max_abs: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviates:
    """Off by more. `max_rel` is `max_abs` over the largest right value; None where the difference has no size."""

    shows: Shows
    max_abs: float | None = None
    max_rel: float | None = None
    beyond: int = 0  # elements, of so many
    of: int = 0
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsupported:
    """The runtime refuses, by a clean error."""

    stage: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Crashed:
    """The child died of it, or ran past its limit."""

    stage: str
    cause: str
    why: str


Result = Agrees | Deviates | Unsupported | Crashed

_WORDS: dict[str, type[Agrees | Deviates | Unsupported | Crashed]] = {
    "agrees": Agrees, "deviates": Deviates, "unsupported": Unsupported, "crashed": Crashed,
}  # fmt: skip


def word(result: Result) -> str:
    """The result's kind in one word: agrees, deviates, unsupported, crashed."""
    return type(result).__name__.lower()


def as_fields(result: Result) -> dict[str, Any]:
    """The result as JSON; a number that is not finite is null."""
    found = {
        key: value.value if isinstance(value, Shows) else _finite(value) for key, value in asdict(result).items()
    }
    return {"result": word(result), **found}


def from_fields(fields: Mapping[str, Any]) -> Result:
    """What `as_fields` wrote. Raises ValueError, TypeError or KeyError for anything else."""
    given = {key: value for key, value in fields.items() if key != "result"}
    kind = _WORDS[fields["result"]]
    if kind is Deviates:
        given["shows"] = Shows(given["shows"])
    if kind is Agrees and given.get("max_abs") is None:
        given["max_abs"] = 0.0
    for key, value in given.items():
        if not isinstance(value, str | int | float | Shows | None):
            raise TypeError(f"{key} is a {type(value).__name__}")
    return kind(**given)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
