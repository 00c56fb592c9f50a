"""The unit of blame: the arithmetic that a target computes in by itself, and every operator judged again in it.

A runtime that computes in bfloat16 is some thousand times as far off at every operator as float32 may be. That is one
finding, not one per operator, and a fault beside it is found only in units of bfloat16. So where the runtime reports
such an arithmetic, or where most dot products are explained by it, each operator that float32 does not explain is held
against the float64 operator on operands that are rounded alike (`golden.replay`), in units of what that arithmetic
may be off. Only what neither of the two explains is a culprit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sysnoise_conform.backend import Tensors
from sysnoise_conform.compare.arithmetic import ARITHMETICS, Arithmetic, reported
from sysnoise_conform.diagnose.arithmetic import FORMATS, in_one_sentence, read_arithmetic
from sysnoise_conform.diagnose.flags import PartTally
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.diagnose.otherwise import read_otherwise
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.diagnose.units import DOT_PRODUCTS, InUnits, Told
from sysnoise_conform.diagnose.verdict import Judged, decide
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.report import elem_type_name
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenSample
from sysnoise_conform.variant import Variant

FEWEST = 2  # dot products that a format must explain before it is the target's, where the runtime reports none


def judged(shop: Workshop, variant: Variant, seen: Seen, policy: Policy, chosen: Collection[str]) -> Judged:
    """The verdict, in units of float32 or of the arithmetic that the target turns out to compute in."""
    found = decide(shop, variant, seen, policy, chosen)
    if not found.culprits:
        return found
    arithmetic = _reported(shop, seen)
    told_by: Told = "runtime"
    if arithmetic is None:
        found = _with_formats(shop, variant, seen, found)
        arithmetic, told_by = _read(found), "operands"
    if arithmetic is None:
        return found
    units = _measured(shop, seen, arithmetic, told_by)
    return _with_formats(shop, variant, seen, decide(shop, variant, seen, policy, chosen, units))


def _with_formats(shop: Workshop, variant: Variant, seen: Seen, found: Judged) -> Judged:
    """The culprits with the format of their operands, where that explains them."""
    culprits = read_arithmetic(shop, seen, read_otherwise(shop, seen, found.culprits))
    if found.computing is not None:
        return replace(found, culprits=culprits)
    return replace(found, culprits=culprits, sentence=in_one_sentence(found.sentence, str(variant), culprits))


def _reported(shop: Workshop, seen: Seen) -> Arithmetic | None:
    """What the runtime says that it computed in, where the model's own tensors do not say so themselves."""
    if seen.runtime is None:
        return None
    own = {each.dtype for tally in (seen.cumulative, seen.outputs) for each in tally.diffs.values()}
    own |= {elem_type_name(each.elem_type) for each in shop.model.layers}  # also of those that were not watched
    return reported(seen.runtime.effective_precision, own)


def _read(found: Judged) -> Arithmetic | None:
    """The format that explains more than half of the dot products that were looked at, if one does."""
    known = sum(
        each.op_type in DOT_PRODUCTS and (each.replayed is not None or each.island is not None)
        for each in found.layers
    )
    for form in FORMATS:
        explained = sum(each.kind == form and each.layer.op_type in DOT_PRODUCTS for each in found.culprits)
        if explained >= FEWEST and 2 * explained > known:
            return ARITHMETICS[form]
    return None


def _measured(shop: Workshop, seen: Seen, arithmetic: Arithmetic, told_by: Told) -> InUnits:
    """What was recorded of the first sample, against float64 on operands of this arithmetic."""
    tally, parts, feed, golden = shop.tally(), PartTally(), shop.samples.feed(0), shop.goldens.sample(0)

    def count(reference: GoldenSample, got: Tensors, given: Tensors, names: Collection[str]) -> None:
        for name, tensor in reference.items():
            if name not in names:
                continue
            settled = seen.margins.settled(
                tensor, got[name], given, golden, got, roundoff=arithmetic.operands or None
            )
            tally.compare(settled.golden, got[name], 0, ties=settled.ties, readings=settled.readings)
            if settled.ties is None:
                parts.add(settled.golden, got[name], reference)

    for each in seen.first:
        with shop.goldens.replayed(0, each.tensors, operands=arithmetic.name) as reference:
            count(reference, each.tensors, {**each.tensors, **feed}, each.own)
    if seen.alone:  # operators that were tried alone only, on PyTorch's tensors
        fed = {name: declared(each) for name, each in golden.items() if name not in seen.blocks.hidden}
        stored = [name for name, array in seen.alone.items() if arithmetic.holds(array)]
        with shop.goldens.replayed(0, fed, operands=arithmetic.name, stored=stored) as reference:
            count(reference, seen.alone, {**fed, **feed}, seen.alone)
    return InUnits(name=arithmetic.name, told_by=told_by, diffs=tally.diffs, parts=parts.known)
