"""Relations between two answers of a target: they hold where they should, and tell by how much where they don't."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from sysnoise_conform.backend import Option, Tensors
from sysnoise_conform.errors import Unsupported as Refused
from sysnoise_conform.probe.measure import failed
from sysnoise_conform.probe.relations import count, nets, relate
from sysnoise_conform.probe.result import Agrees, Deviates, Result, Shows, Unsupported
from sysnoise_conform.variant import Variant

OPTIONS = (Option("opt", "a level", ("low", "high")), Option("other", "any text"))
ANY = Variant(backend="any")
Fault = Callable[[int, Tensors, Mapping[str, Any]], Tensors]


class Reference:
    """A bench in this process: onnx's reference, and a fault."""

    def __init__(self, fault: Fault) -> None:
        self._sessions: dict[str, tuple[ReferenceEvaluator, Mapping[str, Any]]] = {}
        self._fault = fault
        self._runs = 0

    def compile(self, model: onnx.ModelProto, feeds: Any, *, session: str = "main", **asked: Any) -> float:
        self._sessions[session] = ReferenceEvaluator(model), asked
        return 0.0

    def run(self, feeds: Any, *, session: str = "main") -> Tensors:
        model, asked = self._sessions[session]
        self._runs += 1
        return self._fault(self._runs, {"y": model.run(None, feeds)[0]}, asked)


def related(fault: Fault, variant: Variant = ANY) -> dict[str, Result]:
    bench: Any = Reference(fault)
    found = relate(bench, nets()[0], OPTIONS, variant, failed)
    assert len(found) in (1, count(OPTIONS, variant))
    return {each.name: each.result for each in found}


def test_all_hold_for_one_that_is_right() -> None:
    found = related(lambda _n, y, _asked: y)

    assert all(isinstance(each, Agrees) for each in found.values())
    assert list(found) == [
        "run twice", "two sessions", "a batch of 4 and its samples", "one thread and two", "as asked and +opt=low",
        "as asked and +opt=high",
    ]  # fmt: skip


def test_an_option_that_the_variant_sets_is_not_varied() -> None:
    assert "as asked and +opt=low" not in related(
        lambda _n, y, _asked: y, Variant(backend="any", options=(("opt", "low"),))
    )


def test_a_drift_is_seen_when_it_runs_twice() -> None:
    found = related(lambda n, y, _asked: {"y": y["y"] * np.float32(1 + 1e-7 * n)})

    assert isinstance(found["run twice"], Deviates)
    assert found["run twice"].shows is Shows.SMALL
    assert isinstance(found["one thread and two"], Agrees)


def test_an_option_that_changes_the_answer_is_measured() -> None:
    found = related(lambda _n, y, asked: {"y": y["y"] * (2 if asked.get("options") == {"opt": "high"} else 1)})

    wrong = found["as asked and +opt=high"]
    assert isinstance(wrong, Deviates)
    assert wrong.shows is Shows.VALUES
    assert wrong.max_rel == pytest.approx(1)


def test_a_refusal_costs_its_own_relation() -> None:
    def fault(_n: int, y: Tensors, asked: Mapping[str, Any]) -> Tensors:
        if asked.get("threads") == 2:
            raise Refused("one thread only")
        return y

    found = related(fault)
    assert isinstance(found["one thread and two"], Unsupported)
    assert sum(isinstance(each, Agrees) for each in found.values()) == 5


def test_without_an_answer_there_is_nothing_to_relate() -> None:
    def fault(_n: int, _y: Tensors, _asked: Mapping[str, Any]) -> Tensors:
        raise Refused("no")

    assert list(related(fault)) == ["an answer at all"]
