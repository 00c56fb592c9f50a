"""Report and policy in, verdicts out. Reads numbers that were written down, never an array.

Outputs gate: they come from the untouched graph. So do layers where they are evidence, else they inform; the first
that departs in graph order is named. A variant passes when every output of the graph was compared and nothing departs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import assert_never

from sysnoise_conform.judge import sentences
from sysnoise_conform.judge.gate import Gate, is_synthetic
from sysnoise_conform.judge.policy import Policy, glob
from sysnoise_conform.judge.verdict import PRECEDENCE, Finding, Judgement, VariantVerdict, Verdict
from sysnoise_conform.outcome import (
    Crashed,
    Measured,
    NoOp,
    NotApplicable,
    Outcome,
    Result,
    Skipped,
    Unavailable,
    Unsupported,
)
from sysnoise_conform.printable import one_line
from sysnoise_conform.report import Report

__all__ = ["Finding", "Judgement", "VariantVerdict", "Verdict", "judge"]


def judge(report: Report, policy: Policy, *, today: date | None = None) -> Judgement:
    """Judge every variant of a report; `today` decides which deviations have expired."""
    day = date.today() if today is None else today
    gate = Gate(report.header, policy, day)
    verdicts = _with_stale([_variant(gate, each) for each in report.results], gate)
    absent = [each for each in report.header.get("variants", ()) if each not in {one.variant for one in verdicts}]
    codes = {each.exit_code for each in verdicts}
    if absent or not verdicts:
        codes.add(5)
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


def _variant(gate: Gate, result: Result) -> VariantVerdict:
    outcome = result.outcome
    match outcome:
        case Measured():
            return gate.verdict(result.variant, outcome)
        case Crashed() | Unavailable() | Unsupported() | Skipped() | NotApplicable() | NoOp():
            return VariantVerdict(
                variant=result.variant,
                verdict=Verdict.INCONCLUSIVE,
                exit_code=_code(outcome),
                sentence=sentences.not_measured(result.variant, outcome, result.log),
            )
        case _:
            assert_never(outcome)


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


def _with_stale(verdicts: Sequence[VariantVerdict], gate: Gate) -> list[VariantVerdict]:
    """The verdicts, STALE where a deviation is expected of a variant that conforms without it."""
    judged = list(verdicts)
    for number, each in enumerate(gate.policy.deviations, start=1):
        if each in gate.met:
            continue
        for at, one in enumerate(judged):
            if one.verdict in (Verdict.PASS, Verdict.EXPECTED) and glob(each.variant, one.variant):
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
    if code == 0:
        head = word.value
        if is_synthetic(report.header):
            head += " on synthetic inputs: no evidence for a release"
            return f"{head}; {tally}"
        return f"{head}: {tally}"
    lost = f"; no result for {', '.join(one_line(each, 80) for each in absent)}" if absent else ""
    blamed = [each.sentence.removeprefix(f"{word.value} ") for each in verdicts if each.exit_code == code]
    more = f" (and {sentences.counted(len(blamed) - 1, 'more variant')} like it)" if len(blamed) > 1 else ""
    return f"{word.value}: {tally}{lost}" + (f"; {blamed[0]}{more}" if blamed else "")
