"""One measured variant before the judge: its outputs, and those of its layers that are evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from sysnoise_conform.compare.ulp import unit_roundoff
from sysnoise_conform.judge import computed, sentences
from sysnoise_conform.judge import conversion as conversions
from sysnoise_conform.judge.departure import (
    Departure,
    departure,
    departure_units,
    floor_units,
    is_unsettled,
    plain,
)  # fmt: skip
from sysnoise_conform.judge.evidence import carried_on, same_computation
from sysnoise_conform.judge.graph import Graph
from sysnoise_conform.judge.policy import Deviation, Policy
from sysnoise_conform.judge.verdict import Finding, Owner, VariantVerdict, Verdict
from sysnoise_conform.outcome import Measured, TensorDiff
from sysnoise_conform.printable import one_line

NOTHING_LEFT = 1.0  # a relative error from which on a constant zero would be as near
_NOT_NUMBERS = ("STRING", "BOOL")


class Gate:
    """What is the same for all variants of a report: its header, the policy, the day."""

    def __init__(self, header: Mapping[str, Any], policy: Policy, day: date) -> None:
        self.header = header
        self.policy = policy
        self.day = day
        self.nonfinite = int((header.get("inputs") or {}).get("nonfinite") or 0)
        self.synthetic = is_synthetic(header)
        self.met: set[Deviation] = set()  # expected deviations that did occur

    def verdict(self, variant: str, measured: Measured) -> VariantVerdict:
        """The verdict on one variant that ran."""
        return _Case(self, Graph(self.header, variant), variant, measured).verdict()


def is_synthetic(header: Mapping[str, Any]) -> bool:
    """The inputs were made up, so a pass is no evidence for a release."""
    return (header.get("inputs") or {}).get("kind") == "synthetic"


class _Case:
    """One measured variant."""

    def __init__(self, gate: Gate, graph: Graph, variant: str, measured: Measured) -> None:
        self.gate = gate
        self.graph = graph
        self.name = variant
        self.measured = measured
        order = {tensor: place.number for tensor, place in graph.places.items()}
        self.in_order = sorted(measured.layers, key=lambda each: order.get(each.name, len(order)))
        self.own_integers = computed.own_integers(variant)
        self.unjudged: list[TensorDiff] = []  # outputs that a runtime's own integers move, without a limit for them
        self.kept: list[str] = []  # outputs that are nearer to the original than the converted graph's golden
        self.outputs = self._departures(measured.outputs, layer=False)
        self.costs = conversions.costs(measured, (each.name for each in measured.outputs), gate.policy, variant)
        self.layers = [] if self.own_integers else self._departures(self.in_order, layer=True)
        self.trusted = same_computation(measured.observer_effect)
        self.evidence = self._evidence() if self.trusted else []

    def verdict(self) -> VariantVerdict:
        """FAIL before INCONCLUSIVE before EXPECTED before PASS."""
        expired: list[Deviation] = []
        gating = [*self.outputs, *self.costs]
        if self.gate.policy.layers_gate:
            gating += self.evidence
        judged = [each for each in gating if not is_unsettled(each.diff) and not self._is_chance(each)]
        failing = [each for each in judged if not self._expected(each, expired)]
        for each in self.layers:
            self._expected(each, [])
        gaps = self._gaps()
        floats = self._floats()
        if failing or floats:
            owners = {each.owner: None for each in failing} | ({"implementation": None} if floats else {})
            said = [floats, self._failure(failing, expired) if failing else self._praise()]
            return self._conclude(Verdict.FAIL, 1, "; ".join(filter(None, said)), owners=tuple(owners))
        if gaps:
            return self._conclude(Verdict.INCONCLUSIVE, 5, "; ".join(gaps))
        if judged:
            known = ", ".join(sentences.quoted(each.diff.name) for each in judged[:3])
            return self._conclude(Verdict.EXPECTED, 0, f"departs at {known} as the policy expects")
        return self._conclude(Verdict.PASS, 0, self._praise())

    def _floats(self) -> str:
        """That integers were asked for, by the converted graph or by a knob, and the runtime computed floats."""
        if not self.graph.converted:
            return computed.own_as_floats(self.measured.runtime, self.name)
        least = self.gate.policy.min_int8_operations
        return computed.not_integers(self.measured.runtime, self.name, self.graph.declared, least)

    def _departures(self, diffs: Iterable[TensorDiff], *, layer: bool) -> list[Departure]:
        policy, found = self.gate.policy, []
        for each in diffs:
            limits = policy.limits(self.name, each.name, layer=layer)
            one = departure(each, limits, max_code_share=policy.max_code_share, converted=self.graph.converted)
            if one is not None and self.graph.converted and not layer:
                one = self._excused(one)
            if one is not None and self.own_integers:
                one = self._in_own_integers(one, limits.max_design_rel_l2)
            if one is None and not layer:
                one = self._broken(each)
            if one is not None:
                found.append(one)
        return found

    def _in_own_integers(self, found: Departure, limit: float) -> Departure | None:
        """What a runtime makes of numbers by integers of its own has no floor; only the whole can have a limit.

        By default nothing fails until nothing is left, as of a conversion. Who sets a limit below that judges by it;
        who sets none is told, and gets no PASS: PyTorch has rounded nothing that the runtime could be held to.
        """
        diff = found.diff
        if not diff.comparable or diff.nan_mismatch:
            return found
        relative = diff.rel_l2 if unit_roundoff(diff.dtype) is not None else None
        if relative is not None and not relative <= limit:
            words = f"is {conversions.size(diff)} off in all ({self.own_integers}; limit {plain(limit)})"
            return Departure(diff=diff, number=None, words=words)
        if relative is None or limit >= NOTHING_LEFT:
            self.unjudged.append(diff)
        return None

    def _excused(self, found: Departure) -> Departure | None:
        """What is no fault of a runtime's on a converted graph: few steps of one, or more precision than declared."""
        if conversions.in_steps(found.diff, self.graph.steps, self.gate.policy.max_code_share):
            return None
        if conversions.keeps_more(found.diff, self.measured):
            self.kept.append(found.diff.name)
            return None
        return found

    def _evidence(self) -> list[Departure]:
        """The departing layers that gate: seen in a graph that gives the same outputs, and carried on.

        A runtime fuses other operators where tensors are watched. Where that alone moves an output by more than two
        correct runs differ, the layers belong to another computation than the one that ships.
        """
        outputs = {each.name for each in self.measured.outputs}
        inner = [each for each in self.layers if each.diff.name not in outputs]
        return carried_on(inner, self.measured.layers, self.graph.readers)

    def _broken(self, diff: TensorDiff) -> Departure | None:
        """An output that says nothing, through no fault of the backend: PyTorch's NaN and Inf are the same."""
        if diff.dtype in _NOT_NUMBERS or not diff.nan_golden or (diff.finite and not self.gate.nonfinite):
            return None
        first = next((each for each in self.in_order if each.nan_golden and not each.finite), None)
        since = None if first is None else sentences.layer(self.graph.places.get(first.name), first.name)
        words = sentences.broken(diff, nonfinite_inputs=self.gate.nonfinite, since=since)
        return Departure(diff=diff, number=None, words=words, broken=True, owner="model")

    def _is_chance(self, found: Departure) -> bool:
        """The output hangs on a random operator, whose numbers PyTorch has no way to draw again."""
        if not self.graph.random or found.broken or not found.diff.comparable:
            return False
        if found.diff.name in self.measured.nondeterministic:
            return True
        first = self._first()
        place = None if first is None else self.graph.places.get(first.diff.name)
        return place is not None and one_line(place.node or place.op_type) in self.graph.random

    def _expected(self, found: Departure, expired: list[Deviation]) -> bool:
        covered = False
        for each in self.gate.policy.deviations:
            if each.applies(self.name, found.diff.name):
                self.gate.met.add(each)
                if each.expires >= self.gate.day:
                    covered = True
                else:
                    expired.append(each)
        return covered

    def _gaps(self) -> list[str]:
        """Why a variant without a failing output still is no PASS."""
        header, measured, policy = self.gate.header, self.measured, self.gate.policy
        compared = {each.name for each in measured.outputs if each.samples}
        missing = {each.tensor: one_line(each.why, 200) for each in measured.missing_outputs}
        gaps = []
        for each in dict.fromkeys([*header.get("outputs", ()), *missing]):
            why = f": {missing[each]}" if missing.get(each) else ""
            if each not in compared:
                gaps.append(f"output {sentences.quoted(each)} was not compared{why}")
            elif each in missing:
                gaps.append(f"output {sentences.quoted(each)} was compared for some samples only{why}")
        gaps += [
            f"output {sentences.quoted(each.diff.name)} {each.words}, but it hangs on a random operator "
            f"({', '.join(sorted(one_line(name, 60) for name in self.graph.random)[:3])}), whose numbers PyTorch can't "
            "draw again: give it as an input, or take it out of the model"
            for each in self.outputs
            if self._is_chance(each)
        ]
        gaps += self._unjudged()
        gaps += [
            f"output {sentences.quoted(each.diff.name)} {each.words}, but PyTorch's own float32 and float64 disagree "
            "there as a whole: these inputs lie on an edge"
            for each in self.outputs
            if is_unsettled(each.diff)
        ]
        if not compared and not gaps:
            gaps.append("no output was compared")
        if compared and not any(each.n for each in measured.outputs):
            gaps.append("every output is empty, so nothing was compared")
        empty = sum(each.empty for each in measured.layers)
        watched, total = len(measured.layers) - empty, len(self.graph.places) - empty
        share = watched / total if total else 1.0
        if share < policy.min_layer_coverage:
            asked = f"{100 * policy.min_layer_coverage:.3g} %"
            gaps.append(f"{watched} of {total} layers were compared, the policy asks for {asked}")
        if policy.require_real_inputs and self.gate.synthetic:
            gaps.append("the inputs are synthetic and the policy requires real ones: give --inputs")
        return gaps

    def _unjudged(self) -> list[str]:
        """The total error of a runtime's own integers, why it is no verdict, and what would be one."""
        if not self.unjudged:
            return []
        worst = max(self.unjudged, key=lambda each: each.rel_l2 or 0.0)
        much = (
            f"differs at {worst.mismatches:,} of {worst.n:,} elements" if unit_roundoff(worst.dtype) is None
            else f"is {conversions.size(worst)} off in all"
        )  # fmt: skip
        more = f", and {sentences.counted(len(self.unjudged) - 1, 'other output')}" if len(self.unjudged) > 1 else ""
        return [
            f"output {sentences.quoted(worst.name)} {much}{more}, which is not judged: {self.own_integers} quantises "
            "by a recipe of the runtime's own, so nobody can tell that rounding from a fault; a policy with "
            "max_design_rel_l2 below 1 sets a limit, :int8 asks for integers that PyTorch computes, too"
        ]

    def _failure(self, failing: Sequence[Departure], expired: Sequence[Deviation]) -> str:
        named = {each.name for each in self.measured.outputs}
        outputs = [each for each in failing if each.diff.name in named and each.owner != "design"]
        costs = [each for each in failing if each.owner == "design"]
        if not outputs and costs:
            return "; ".join([*conversions.costing(costs), "the runtime computes it as declared", *self._caveats(),
                              *sentences.expiries(expired)])  # fmt: skip
        if not outputs:
            return self._layers_alone(failing, expired)
        worst = max(outputs, key=_severity)
        parts = [f"output {sentences.quoted(worst.diff.name)} {worst.words}"]
        if len(outputs) > 1:
            parts[0] += f", and {sentences.counted(len(outputs) - 1, 'other output')}"
        if worst.broken:
            return "; ".join([*parts, *self._caveats()])
        parts += conversions.costing(costs)
        if not costs:
            parts += conversions.beside(self.measured, named) if self.graph.converted else []
        first = self._first()
        if self.layers and first is not None:
            place = self.graph.places.get(first.diff.name)
            parts.append(sentences.first_departure(first, place, converted=self.graph.converted))
        elif self.measured.layers:
            parts.append("no layer departs by itself: rounding that accumulates, or what only the untouched graph does")
        parts += [each for each in (self._reading(first, worst), *self._caveats()) if each]
        return "; ".join([*parts, *sentences.expiries(expired)])

    def _layers_alone(self, failing: Sequence[Departure], expired: Sequence[Deviation]) -> str:
        """The outputs conform on these inputs, but what they are computed from does not."""
        first = min(failing, key=lambda each: _number(self.graph.places.get(each.diff.name)))
        where = sentences.layer(self.graph.places.get(first.diff.name), first.diff.name)
        parts = [f"{where} {first.words}"]
        if len(failing) > 1:
            parts[0] += f", and {sentences.counted(len(failing) - 1, 'layer')} after it"
        parts.append("no output does on these inputs")
        named = [each.name for each in self.measured.outputs]
        parts += conversions.beside(self.measured, named) if self.graph.converted else []
        parts += [each for each in (self._reading(first, first), *self._caveats()) if each]
        return "; ".join([*parts, *sentences.expiries(expired)])

    def _praise(self) -> str:
        outputs = self.measured.outputs
        samples = max((each.samples for each in outputs), default=0)
        policy = self.gate.policy
        worst = sentences.worst_output(
            outputs, lambda each: policy.limits(self.name, each.name), converted=self.graph.converted
        )
        if self.own_integers:  # floor units would read as though they were a measure of it
            most = max(outputs, key=lambda each: each.rel_l2 or 0.0)
            worst = f"worst {conversions.size(most)} off in all, within what the policy allows {self.own_integers}"
        said = f"{sentences.counted(len(outputs), 'output')} over {sentences.counted(samples, 'sample')}, {worst}"
        parts = [said]
        if self.layers:
            first = self.layers[0]
            much = sentences.much(first, converted=self.graph.converted)
            where = sentences.layer(self.graph.places.get(first.diff.name), first.diff.name)
            parts.append(f"{sentences.counted(len(self.layers), 'layer')} on the way beyond the limit for layers, "
                         f"the first: {where}, {much}")  # fmt: skip
            if policy.layers_gate and self.trusted:
                parts.append("nothing that is computed from it is off: it is only shown otherwise")
        if not self.measured.layers and self.graph.places:
            parts.append("no layer could be watched")
        parts += filter(None, [conversions.worst(self.measured, (each.name for each in outputs))])
        return "; ".join([*parts, *self._caveats()])

    def _reading(self, first: Departure | None, worst: Departure) -> str:
        """Of the departure that the sentence names last: the first one, else the worst output."""
        told = (first or worst).diff
        return sentences.looks_like(told.readings) or sentences.size_of(told, self.measured.runtime, self.name)

    def _caveats(self) -> list[str]:
        runtime = self.measured.runtime
        said = [
            computed.builds_apart(runtime),
            computed.kept(runtime)
            or computed.off_precision(runtime, self.graph.own, self.name, deployed=self.graph.deployed),
            computed.partly(runtime, self.graph.declared) if not self._floats() else "",
        ]
        if self.kept:
            names = ", ".join(sentences.quoted(each) for each in self.kept[:3])
            said.append(f"{names} nearer to the original than the converted graph is: the runtime rounds less")
        moved = [
            (floor_units(each) or 0.0, each.name)
            for each in self.measured.observer_effect
            if not each.exact and not each.empty
        ]
        if self.layers and moved and max(moved)[0] > 1:
            much, name = max(moved)
            said.append(
                f"the layers were watched under a different graph: tapping it moved {sentences.quoted(name)} by "
                f"{departure_units(much)}"
            )
        said += [f"output {sentences.quoted(each)} differed when the same input ran twice"
                 for each in self.measured.nondeterministic]  # fmt: skip
        return [each for each in said if each]

    def _first(self) -> Departure | None:
        """Of what is evidence, where anything is: a tensor that is only shown otherwise misleads."""
        places = self.graph.places
        outputs = [each for each in self.outputs if not each.broken]
        layers = self.evidence if self.trusted and self.graph.readers else self.layers
        found = [*layers, *outputs] or self.layers
        return min(found, key=lambda each: _number(places.get(each.diff.name)), default=None)

    def _conclude(
        self, verdict: Verdict, code: int, said: str, *, owners: tuple[Owner, ...] = ()
    ) -> VariantVerdict:
        word = verdict.value
        if verdict is Verdict.PASS and self.gate.synthetic:
            word += " on synthetic inputs: no evidence for a release;"
        first = self._first()
        outputs = {each.diff.name for each in self.outputs}
        lead = [] if first is None else [first]
        found = {each.diff.name: each for each in (*lead, *self.outputs, *self.layers)}
        costs = [self._finding(each, output=True) for each in self.costs]
        return VariantVerdict(
            variant=self.name,
            verdict=verdict,
            exit_code=code,
            sentence=f"{word} {one_line(self.name, 120)}: {said}",
            findings=(*(self._finding(each, output=name in outputs) for name, each in found.items()), *costs),
            first_departure=None if first is None else first.diff.name,
            worst=self._worst(),
            owners=owners,
        )

    def _finding(self, found: Departure, *, output: bool) -> Finding:
        place = self.graph.places.get(found.diff.name)
        return Finding(
            tensor=found.diff.name,
            op_type=place.op_type if place else "",
            node=place.node if place else "",
            number=found.number,
            reading=sentences.looks_like(found.diff.readings),
            sentence=sentences.departs(found, place, self.measured.runtime, self.name, output=output),
            owner=found.owner,
        )

    def _worst(self) -> str | None:
        """The layer furthest off: one that has no number because nothing compares goes before all."""
        numberless = [each.diff.name for each in self.layers if each.number is None]
        if numberless:
            return numberless[0]
        ratios = [(floor_units(each) or 0.0, each.name) for each in self.measured.layers]
        return max(ratios, key=lambda each: each[0])[1] if ratios else None


def _number(place: sentences.Place | None) -> int:
    return 1 << 62 if place is None else place.number


def _severity(found: Departure) -> float:
    if found.broken:
        return -1.0
    return float("inf") if found.number is None else found.number
