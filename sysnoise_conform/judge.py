"""Report and policy in, verdicts out. Reads numbers that were written down, never an array.

Outputs gate: they come from the untouched graph. Layers inform: the first that departs in graph
order is named. A variant passes when every output of the graph was compared and none departs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from typing import Any, assert_never

from sysnoise_conform import sentences
from sysnoise_conform.departure import Departure, departure, departure_units, floor_units
from sysnoise_conform.outcome import (
    Crashed,
    Measured,
    NoOp,
    NotApplicable,
    Outcome,
    Result,
    Skipped,
    TensorDiff,
    Unavailable,
    Unsupported,
)
from sysnoise_conform.policy import Deviation, Policy
from sysnoise_conform.printable import one_line
from sysnoise_conform.report import Report
from sysnoise_conform.sentences import Place

# Interrupted, bad input or usage, I/O, the gate failed, crashed, unavailable, inconclusive: of
# several, the first wins, so that a measured failure is never masked by an accident.
PRECEDENCE = (130, 2, 4, 1, 3, 6, 5)


class Verdict(Enum):
    """PASS and EXPECTED let a release go; STALE is an expected deviation that no longer occurs."""

    PASS = "PASS"  # noqa: S105 - not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    EXPECTED = "EXPECTED"
    STALE = "STALE"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One tensor that departs. `number` is in floor units, None where there is no such unit."""

    tensor: str
    op_type: str
    node: str
    number: float | None
    reading: str
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantVerdict:
    """One variant's verdict. Findings: the first departure, then outputs, then other layers in graph order."""

    variant: str
    verdict: Verdict
    exit_code: int
    sentence: str
    findings: tuple[Finding, ...] = ()
    first_departure: str | None = None  # tensor
    worst: str | None = None  # the layer furthest off, in floor units


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """The verdict on a run, its exit code, and every code that applied."""

    verdict: Verdict
    exit_code: int
    exit_codes: tuple[int, ...]
    sentence: str
    variants: tuple[VariantVerdict, ...]


def judge(report: Report, policy: Policy, *, today: date | None = None) -> Judgement:
    """Judge every variant of a report; `today` decides which deviations have expired."""
    day = date.today() if today is None else today
    bench = _Bench(report, policy, day)
    verdicts = [bench.variant(each) for each in report.results]
    verdicts = bench.stale(verdicts)
    absent = [each for each in report.header.get("variants", ()) if each not in {one.variant for one in verdicts}]
    codes = {each.exit_code for each in verdicts}
    if absent or not verdicts:
        codes.add(5)
    if report.footer.get("interrupted"):
        codes.add(130)
    order = tuple(each for each in PRECEDENCE if each in codes) or (0,)
    if 0 in codes and order != (0,):
        order = (*order, 0)
    word = _overall(order[0], verdicts)
    return Judgement(
        verdict=word,
        exit_code=order[0],
        exit_codes=order,
        sentence=_summing_up(report, word, order[0], verdicts, absent),
        variants=tuple(verdicts),
    )


class _Bench:
    """What is the same for all variants of a report."""

    def __init__(self, report: Report, policy: Policy, day: date) -> None:
        self.header = report.header
        self.policy = policy
        self.day = day
        layers = list(report.header.get("layers", ()))
        self.places = {
            str(each["tensor"]): Place(
                number, len(layers), str(each.get("op_type", "")), str(each.get("node", ""))
            )
            for number, each in enumerate(layers, start=1)
        }  # fmt: skip
        self.own = sentences.own_precisions(report.header)
        self.met: set[Deviation] = set()  # expected deviations that did occur

    def variant(self, result: Result) -> VariantVerdict:
        """One variant's verdict."""
        outcome = result.outcome
        match outcome:
            case Measured():
                return _Case(self, result.variant, outcome).verdict()
            case Crashed() | Unavailable() | Unsupported() | Skipped() | NotApplicable() | NoOp():
                return VariantVerdict(
                    variant=result.variant,
                    verdict=Verdict.INCONCLUSIVE,
                    exit_code=_code(outcome),
                    sentence=sentences.not_measured(result.variant, outcome, result.log),
                )
            case _:
                assert_never(outcome)

    def stale(self, verdicts: Sequence[VariantVerdict]) -> list[VariantVerdict]:
        """The verdicts, STALE where a deviation is expected of a variant that conforms without it."""
        judged = list(verdicts)
        for number, each in enumerate(self.policy.deviations, start=1):
            if each in self.met:
                continue
            for at, one in enumerate(judged):
                free = one.verdict in (Verdict.PASS, Verdict.EXPECTED)
                if free and each.applies(one.variant, each.tensor):
                    judged[at] = replace(
                        one,
                        verdict=Verdict.STALE,
                        exit_code=1,
                        sentence=f"STALE {one_line(one.variant, 120)}: [[deviation]] {number} of the policy "
                        f"({one_line(each.because, 120)}; owner {one_line(each.owner, 60)}) no longer occurs: "
                        "remove it from the policy",
                    )
                    break
        return judged


class _Case:
    """One measured variant."""

    def __init__(self, bench: _Bench, variant: str, measured: Measured) -> None:
        self.bench = bench
        self.name = variant
        self.measured = measured
        order = {tensor: place.number for tensor, place in bench.places.items()}
        layers = sorted(measured.layers, key=lambda each: order.get(each.name, len(order)))
        self.outputs = self._departures(measured.outputs, layer=False)
        self.layers = self._departures(layers, layer=True)

    def verdict(self) -> VariantVerdict:
        """FAIL before INCONCLUSIVE before EXPECTED before PASS."""
        expired: list[Deviation] = []
        failing = [each for each in self.outputs if not self._expected(each, expired)]
        for each in self.layers:
            self._expected(each, [])
        gaps = self._gaps()
        if failing:
            return self._conclude(Verdict.FAIL, 1, self._failure(failing, expired))
        if gaps:
            return self._conclude(Verdict.INCONCLUSIVE, 5, "; ".join(gaps))
        if self.outputs:
            known = ", ".join(sentences.quoted(each.diff.name) for each in self.outputs[:3])
            return self._conclude(Verdict.EXPECTED, 0, f"departs at {known} as the policy expects")
        return self._conclude(Verdict.PASS, 0, self._praise())

    def _departures(self, diffs: Iterable[TensorDiff], *, layer: bool) -> list[Departure]:
        policy, found = self.bench.policy, []
        for each in diffs:
            limits = policy.limits(self.name, each.name, layer=layer)
            one = departure(each, limits, max_code_share=policy.max_code_share)
            if one is None and not layer and each.n and not each.finite and each.dtype not in _NOT_NUMBERS:
                words = "holds no finite value, and PyTorch's does not either: the model itself is broken"
                one = Departure(diff=each, number=None, words=words)
            if one is not None:
                found.append(one)
        return found

    def _expected(self, found: Departure, expired: list[Deviation]) -> bool:
        covered = False
        for each in self.bench.policy.deviations:
            if each.applies(self.name, found.diff.name):
                self.bench.met.add(each)
                if each.expires >= self.bench.day:
                    covered = True
                else:
                    expired.append(each)
        return covered

    def _gaps(self) -> list[str]:
        """Why a variant without a failing output still is no PASS."""
        header, measured, policy = self.bench.header, self.measured, self.bench.policy
        compared = {each.name for each in measured.outputs if each.samples}
        wanted = dict.fromkeys([*header.get("outputs", ()), *measured.missing_outputs])
        gaps = [f"output {sentences.quoted(each)} was not compared" for each in wanted if each not in compared]
        gaps += [
            f"output {sentences.quoted(each)} came back for some samples only"
            for each in measured.missing_outputs
            if each in compared
        ]
        if not compared and not gaps:
            gaps.append("no output was compared")
        if compared and not any(each.n for each in measured.outputs):
            gaps.append("every output is empty, so nothing was compared")
        total = len(self.bench.places)
        share = len(measured.layers) / total if total else 1.0
        if share < policy.min_layer_coverage:
            asked = f"{100 * policy.min_layer_coverage:.3g} %"
            gaps.append(f"{len(measured.layers)} of {total} layers were compared, the policy asks for {asked}")
        if policy.require_real_inputs and _synthetic(header):
            gaps.append("the inputs are synthetic and the policy requires real ones: give --inputs")
        return gaps

    def _failure(self, failing: Sequence[Departure], expired: Sequence[Deviation]) -> str:
        worst = max(failing, key=_severity)
        parts = [f"output {sentences.quoted(worst.diff.name)} {worst.words}"]
        if len(failing) > 1:
            parts[0] += f", and {sentences.counted(len(failing) - 1, 'other output')}"
        first = self._first()
        if self.layers and first is not None:
            parts.append(sentences.first_departure(first, self.bench.places.get(first.diff.name)))
        elif self.measured.layers:
            parts.append("no layer departs by itself: rounding that accumulates, or what only the untouched graph does")
        parts += [each for each in (self._reading(first, worst), *self._caveats()) if each]
        for each in dict.fromkeys(expired):
            parts.append(f"the deviation that covered it expired on {each.expires} (owner {one_line(each.owner, 60)})")
        return "; ".join(parts)

    def _praise(self) -> str:
        outputs = self.measured.outputs
        samples = max((each.samples for each in outputs), default=0)
        ratios = [floor_units(each) for each in outputs]
        worst = sentences.worst_output(outputs, ratios, self.bench.policy.max_floor_ratio)
        said = f"{sentences.counted(len(outputs), 'output')} over {sentences.counted(samples, 'sample')}, {worst}"
        parts = [said]
        if self.layers:
            first = self.layers[0]
            much = departure_units(first.number) if first.number is not None else first.words
            where = sentences.layer(self.bench.places.get(first.diff.name), first.diff.name)
            parts.append(f"{sentences.counted(len(self.layers), 'layer')} beyond the limit without effect on the "
                         f"outputs, the first: {where}, {much}")  # fmt: skip
        if not self.measured.layers and self.bench.places:
            parts.append("no layer could be watched")
        return "; ".join([*parts, *self._caveats()])

    def _reading(self, first: Departure | None, worst: Departure) -> str:
        for each in (first, worst):
            if each is not None and each.diff.readings:
                return sentences.looks_like(each.diff.readings)
        return sentences.size_of(first.diff if first is not None else worst.diff)

    def _caveats(self) -> list[str]:
        said = [sentences.off_precision(self.measured.runtime, self.bench.own, self.name)]
        moved = [(floor_units(each) or 0.0, each.name) for each in self.measured.observer_effect if not each.exact]
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
        places = self.bench.places
        found = [*self.layers, *self.outputs]
        return min(found, key=lambda each: _number(places.get(each.diff.name)), default=None)

    def _conclude(self, verdict: Verdict, code: int, said: str) -> VariantVerdict:
        word = verdict.value
        if verdict is Verdict.PASS and _synthetic(self.bench.header):
            word += " on synthetic inputs: no evidence for a release;"
        first = self._first()
        outputs = {each.diff.name for each in self.outputs}
        lead = [] if first is None else [first]
        found = {each.diff.name: each for each in (*lead, *self.outputs, *self.layers)}
        return VariantVerdict(
            variant=self.name,
            verdict=verdict,
            exit_code=code,
            sentence=f"{word} {one_line(self.name, 120)}: {said}",
            findings=tuple(self._finding(each, output=name in outputs) for name, each in found.items()),
            first_departure=None if first is None else first.diff.name,
            worst=self._worst(),
        )

    def _finding(self, found: Departure, *, output: bool) -> Finding:
        place = self.bench.places.get(found.diff.name)
        return Finding(
            tensor=found.diff.name,
            op_type=place.op_type if place else "",
            node=place.node if place else "",
            number=found.number,
            reading=sentences.looks_like(found.diff.readings),
            sentence=sentences.departs(found, place, output=output),
        )

    def _worst(self) -> str | None:
        """The layer furthest off: one that has no number because nothing compares goes before all."""
        numberless = [each.diff.name for each in self.layers if each.number is None]
        if numberless:
            return numberless[0]
        ratios = [(floor_units(each) or 0.0, each.name) for each in self.measured.layers]
        return max(ratios, key=lambda each: each[0])[1] if ratios else None


_NOT_NUMBERS = ("STRING", "BOOL")


def _code(outcome: Outcome) -> int:
    match outcome:
        case Crashed():
            return 3
        case Unavailable():
            return 6
        case Measured() | Unsupported() | Skipped() | NotApplicable() | NoOp():
            return 5
        case _:
            assert_never(outcome)


def _synthetic(header: Mapping[str, Any]) -> bool:
    return (header.get("inputs") or {}).get("kind") == "synthetic"


def _number(place: Place | None) -> int:
    return 1 << 62 if place is None else place.number


def _severity(found: Departure) -> float:
    return float("inf") if found.number is None else found.number


def _overall(code: int, verdicts: Sequence[VariantVerdict]) -> Verdict:
    words = {each.verdict for each in verdicts}
    if code == 1:
        return Verdict.FAIL if Verdict.FAIL in words else Verdict.STALE
    if code == 0:
        return Verdict.EXPECTED if Verdict.EXPECTED in words else Verdict.PASS
    return Verdict.INCONCLUSIVE


def _summing_up(
    report: Report, word: Verdict, code: int, verdicts: Sequence[VariantVerdict], absent: Sequence[str]
) -> str:
    if not verdicts:
        return f"{word.value}: no backend was run, so nothing was compared"
    if len(verdicts) == 1 and not absent and code == verdicts[0].exit_code:
        return verdicts[0].sentence
    good = [one_line(each.variant, 80) for each in verdicts if each.exit_code == 0]
    tally = f"{len(good)} of {len(verdicts) + len(absent)} conform" + (f" ({', '.join(good)})" if good else "")
    if code == 130:
        return f"{word.value}: the run was interrupted; {tally}"
    if code == 0:
        head = word.value
        if _synthetic(report.header):
            head += " on synthetic inputs: no evidence for a release"
            return f"{head}; {tally}"
        return f"{head}: {tally}"
    lost = f"; no result for {', '.join(one_line(each, 80) for each in absent)}" if absent else ""
    blamed = [each.sentence for each in verdicts if each.exit_code == code]
    more = f" (and {sentences.counted(len(blamed) - 1, 'more variant')} like it)" if len(blamed) > 1 else ""
    return f"{word.value}: {tally}{lost}" + (f"; {blamed[0]}{more}" if blamed else "")
