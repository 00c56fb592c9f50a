"""The tables of a calibration, out of its reports, judged by the policy's defaults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from calibration.work import Run, diffs_of, without_effect

from sysnoise_conform.compare.ulp import unit_roundoff
from sysnoise_conform.judge import Verdict, judge
from sysnoise_conform.judge.departure import allowed_rms, floor_excess, floor_of, peak_excess, sigma_excess, unit_of
from sysnoise_conform.judge.evidence import same_computation
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.outcome import Measured, TensorDiff
from sysnoise_conform.report import Report


@dataclass(slots=True)
class Healthy:
    """What one runtime showed on one set, without any fault."""

    networks: int = 0
    refused: int = 0  # networks that the runtime does not take
    tensors: int = 0
    excesses: list[tuple[float, str]] = field(default_factory=list)  # with the tensor's place
    peaks: list[float] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)  # how many floors a unit is
    alarms: dict[str, str] = field(default_factory=dict)  # network -> sentence
    shown_otherwise: dict[str, str] = field(default_factory=dict)
    observer: float = 0.0


def healthy(runs: Iterable[Run], policy: Policy) -> dict[str, Healthy]:
    """By variant."""
    found: dict[str, Healthy] = defaultdict(Healthy)
    for run in runs:
        verdicts = {each.variant: each for each in judge(run.report, policy).variants}
        for result in run.report.results:
            row, outcome = found[result.variant], result.outcome
            if not isinstance(outcome, Measured):
                row.refused += 1
                continue
            row.networks += 1
            verdict = verdicts[result.variant]
            if verdict.verdict is not Verdict.PASS:
                row.alarms[run.network] = verdict.sentence
            elif verdict.findings:
                row.shown_otherwise[run.network] = verdict.sentence
            aside = verdict.departing
            for diff in diffs_of(run.report, result.variant):
                row.tensors += 1
                if diff.name not in aside and unit_roundoff(diff.dtype) is not None and not diff.exact:
                    row.excesses.append((excess(diff), f"{diff.op_type} in {run.network}"))
                    row.peaks.append(peak_excess(diff) or 0.0)
                    row.floors.append(unit_of(diff) / floor_of(diff))
            row.observer = max([row.observer, *(_in_units(each) for each in outcome.observer_effect)])
    return found


def excess(diff: TensorDiff) -> float:
    """The rms error in units, divided by what chance may add."""
    return min((each for each in (floor_excess(diff), sigma_excess(diff)) if each is not None), default=0.0)


def _in_units(diff: TensorDiff) -> float:
    unit = unit_of(diff)
    return 0.0 if diff.exact or diff.rmse is None or not unit else diff.rmse / unit


@dataclass(slots=True)
class Found:
    """How many faults were planted, found (FAIL), and named as the first departure."""

    planted: int = 0
    hidden: int = 0  # planted at tensors that the runtime does not show, or shows in another computation only
    hidden_failed: int = 0
    few: int = 0  # planted at tensors where so few elements carry the rounding that chance is as large
    few_failed: int = 0
    without_effect: int = 0  # nothing that is computed from it depends on it, so nobody fails for it
    failed: int = 0
    named: int = 0
    missed: list[str] = field(default_factory=list)

    @property
    def cell(self) -> str:
        """`118 of 118`, or what is lacking."""
        if not self.planted:
            return "–"
        said = f"{self.named} of {self.planted}"
        return said if self.named == self.failed else f"{said} ({self.failed} FAIL)"


def faults(runs: Iterable[Run], policy: Policy, healthy_runs: Iterable[Run]) -> dict[str, dict[str, Found]]:
    """By runtime and kind; a runtime that does not conform to the healthy network is no place for a fault."""
    found: dict[str, dict[str, Found]] = defaultdict(lambda: defaultdict(Found))
    whole = {each.network: each.report for each in healthy_runs}
    healthy_verdicts = _passing(whole, policy)
    for run in runs:
        assert run.fault is not None
        for verdict in judge(run.report, policy).variants:
            if not healthy_verdicts.get((run.network, verdict.variant)):
                continue
            cell = found[verdict.variant][run.fault.kind]
            failed = verdict.verdict is Verdict.FAIL
            if not _shown(run, verdict.variant):
                cell.hidden += 1
                cell.hidden_failed += failed
                continue
            if run.fault.rms <= _allowed(whole[run.network], run.fault.tensor, policy):
                cell.few += 1
                cell.few_failed += failed
                continue
            if not failed and without_effect(run):
                cell.without_effect += 1
                continue
            named = failed and verdict.first_departure == run.fault.tensor
            cell.planted += 1
            cell.failed += failed
            cell.named += named
            if not named:
                cell.missed.append(
                    f"{run.network} {run.fault.op_type} {run.fault.tensor} ({run.fault.carriers} carriers, unit "
                    f"{run.fault.rms / run.fault.floor / 10:.3g} floors): {verdict.sentence}"
                )
    return found


def _shown(run: Run, variant: str) -> bool:
    """Whether the runtime shows the tensor with the fault, and computes what it computes unwatched."""
    assert run.fault is not None
    outcome = next(each.outcome for each in run.report.results if each.variant == variant)
    there = run.fault.tensor in {each.name for each in diffs_of(run.report, variant)}
    return there and isinstance(outcome, Measured) and same_computation(outcome.observer_effect)


def _passing(reports: Mapping[str, Report], policy: Policy) -> dict[tuple[str, str], bool]:
    """(network, variant) -> whether the healthy runtime passes."""
    return {
        (network, each.variant): each.verdict is Verdict.PASS
        for network, report in reports.items()
        for each in judge(report, policy).variants
    }


def _allowed(report: Report, tensor: str, policy: Policy) -> float:
    """The rms error that the judge lets through at a tensor, as the healthy run tells it."""
    diff = next(each for each in diffs_of(report, "ort") if each.name == tensor)
    return allowed_rms(diff, policy.limits("ort", tensor, layer=True))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
