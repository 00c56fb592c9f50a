"""By which other rule a culprit decides: its rounding, its order among equals, read from its recorded operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sysnoise_conform.backend import Tensors
from sysnoise_conform.decisions import DECISIONS, rule_of
from sysnoise_conform.diagnose.facts import Culprit
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.outcome import Reading
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenSample


def read_rules(shop: Workshop, seen: Seen, culprits: Sequence[Culprit]) -> tuple[Culprit, ...]:
    """The culprits; those that decide by another rule with that reading first, if it leaves no more than the others."""
    deciding = {each.layer.output: each.method for each in culprits if each.layer.op_type in DECISIONS}
    if not deciding:
        return tuple(culprits)
    golden, feed = shop.goldens.sample(0), shop.samples.feed(0)
    found: dict[str, Reading] = {}

    def look(reference: GoldenSample, got: Tensors, given: Tensors, names: set[str]) -> None:
        for name in names & set(got):
            question = None if name not in reference else seen.margins.question(
                reference[name], got[name], given, golden, got
            )  # fmt: skip
            rule = None if question is None else rule_of(question)
            if rule is not None:
                found[name] = rule

    for each in seen.first:
        wanted = {name for name, method in deciding.items() if method == "replay" and name in each.own}
        if wanted:
            with shop.goldens.replayed(0, each.tensors) as reference:
                look(reference, each.tensors, {**each.tensors, **feed}, wanted)
    wanted = {name for name, method in deciding.items() if method == "explode"}
    if wanted:
        fed = {name: declared(each) for name, each in golden.items() if name not in seen.blocks.hidden}
        look(shop.goldens.islands(0, fed, seen.blocks.hidden), seen.alone, {**fed, **feed}, wanted)
    return tuple(
        _with_rule(each, found[each.layer.output]) if each.layer.output in found else each for each in culprits
    )


def _with_rule(culprit: Culprit, rule: Reading) -> Culprit:
    if culprit.readings and culprit.readings[0].residual < rule.residual:
        return replace(culprit, readings=(*culprit.readings, rule))
    return replace(culprit, kind=rule.kind, readings=(rule, *culprit.readings))
