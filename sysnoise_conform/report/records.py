"""Facts as JSON objects and back: what is not finite becomes null, and no fact is lost on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

from sysnoise_conform.errors import TruncatedReport
from sysnoise_conform.outcome import (
    Crashed,
    Floor,
    Measured,
    NoOp,
    NotApplicable,
    Outcome,
    Reading,
    RuntimeFacts,
    Seconds,
    Skipped,
    TaskFigure,
    TensorDiff,
    Unavailable,
    Unobservable,
    Unsupported,
    Worst,
)

Record = dict[str, Any]

OUTCOMES: Mapping[str, type[Outcome]] = {
    each.__name__: each for each in (Measured, NoOp, Skipped, NotApplicable, Unsupported, Crashed, Unavailable)
}


def encode(fact: Any) -> Any:
    """A dataclass, mapping, sequence or scalar as JSON: NaN and Inf are null, bytes and paths their text."""
    kind = type(fact)  # most facts are plain scalars: they go first
    if kind is float:
        return fact if math.isfinite(fact) else None
    if kind is int or kind is str or kind is bool or fact is None:
        return fact
    names = _field_names(kind)  # type: ignore[arg-type]  # a class is hashable
    if names is not None:
        return {name: encode(getattr(fact, name)) for name in names}
    if isinstance(fact, Mapping):
        return {str(key): encode(value) for key, value in fact.items()}
    if isinstance(fact, list | tuple | set | frozenset):
        return [encode(each) for each in fact]
    if isinstance(fact, str | int):
        return fact
    if isinstance(fact, float):
        return float(fact) if math.isfinite(fact) else None
    if isinstance(fact, bytes):
        return fact.decode("utf-8", "backslashreplace")
    return str(fact)


@lru_cache(maxsize=256)
def _field_names(kind: type) -> tuple[str, ...] | None:
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else None


def tensor(record: Mapping[str, Any]) -> TensorDiff:
    """The TensorDiff that `encode` wrote. A sum that was not finite reads back as Inf, never as 0."""
    data = dict(record)
    data["shape"] = tuple(data["shape"])
    for key in ("shape_got", "first_nonfinite"):
        data[key] = None if data[key] is None else tuple(data[key])
    for key in _SUMS:
        data[key] = math.inf if data[key] is None else float(data[key])
    data["floor"] = _floor(data["floor"])
    data["worst"] = None if data["worst"] is None else _worst(data["worst"])
    data["readings"] = tuple(Reading(**each) for each in data["readings"])
    data["ulp_histogram"] = {int(index): int(count) for index, count in data["ulp_histogram"].items()}
    return TensorDiff(**data)


_SUMS = (
    "sum_sq_err", "sum_quad_err", "max_abs", "sum_golden", "sum_got", "sum_sq_golden", "sum_quad_golden", "sum_sq_got",
    "dot", "max_golden",
)  # fmt: skip


def _floor(record: Mapping[str, Any]) -> Floor:
    data = dict(record)
    for key in ("sum_sq", "sum_quad", "max_abs", "rounding_sum_sq", "rounding_max"):
        data[key] = math.inf if data[key] is None else float(data[key])
    return Floor(**data)


def _worst(record: Mapping[str, Any]) -> Worst:
    sides = {key: math.inf if record[key] is None else float(record[key]) for key in ("golden", "got")}
    return Worst(sample=record["sample"], index=tuple(record["index"]), **sides)


def outcome(kind: str, record: Mapping[str, Any], tensors: Mapping[str, Any]) -> Outcome:
    """The outcome of a record without its tensors, and the tensors by role: `outputs`, `layers`, `observer_effect`."""
    made = OUTCOMES.get(kind)
    if made is None:
        raise TruncatedReport(f"the report holds an outcome that is not known: {kind!r}", hint="was it edited?")
    data = dict(record)
    if data.get("runtime") is not None:
        data["runtime"] = RuntimeFacts(**data["runtime"])
    if made is not Measured:
        return made(**data)
    return Measured(
        runtime=data.pop("runtime"),
        unobservable=tuple(Unobservable(**each) for each in data.pop("unobservable")),
        missing_outputs=tuple(Unobservable(**each) for each in data.pop("missing_outputs")),
        tasks=tuple(TaskFigure(**each) for each in data.pop("tasks")),
        seconds=Seconds(**data.pop("seconds")),
        peak_rss_mb=data.pop("peak_rss_mb"),
        **{key: tuple(value) for key, value in data.items()},
        **tensors,
    )
