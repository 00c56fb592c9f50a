"""Whose rounding arrives at the output: layers by the error that they introduce times its gain on the way there.

The gain is measured, not guessed: the very error that a layer made goes into PyTorch's float64 network alone, and what
arrives at the output is held against what went in (`golden.gains`). What better arithmetic for the first layers would
buy is measured on the backend (`infull`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sysnoise_conform.backend import Tensors
from sysnoise_conform.diagnose.blocks import Blocks
from sysnoise_conform.diagnose.facts import Layer, Ranked
from sysnoise_conform.diagnose.infull import InFull, worst_output
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.errors import BackendError, BadModel
from sysnoise_conform.judge.departure import floor_of, floor_units
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant

MOST_RANKED = 10
MOST_GAINS = 64  # layers whose gain is measured, those first that introduce most
GAIN_SECONDS = 20.0  # for all of them together; each costs what is computed behind it, in float64
FALLBACKS = (1, 2, 4, 8)  # how many of the first layers answer in full
DISTURBED = 0.1  # of the output's error, by which switches alone may change it before it is told


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """The layers, first the one whose error arrives most, and what a reader should know of the measurement."""

    layers: tuple[Ranked, ...] = ()
    notes: tuple[str, ...] = ()


def rank(
    shop: Workshop, variant: Variant, place: str, seen: Seen, layers: Sequence[Layer], outputs: Sequence[TensorDiff]
) -> Ranking:
    """Rank the layers that introduce an error; the output that counts is the one that is off most."""
    introducing = _introducing(layers)
    output = worst_output(outputs)
    if not introducing or output is None:
        return Ranking()
    gains = _gains(shop, seen, introducing, output.name)
    found = [
        replace(each, gain=gains[each.output][1] / gains[each.output][0]) if each.output in gains else each
        for each in introducing
    ]
    found.sort(key=lambda each: (each.gain is None, -each.introduced_rel_l2 * (each.gain or 1.0)))
    notes = []
    if len(outputs) > 1:
        notes.append(f"layers are ranked by what arrives at output {one_line(output.name, 80)!r}")
    if len(gains) < len(introducing):
        notes.append(f"the gain is known of {len(gains)} of {len(introducing)} layers that introduce an error")
    ranked, more = _with_fallback(shop, variant, place, found[:MOST_RANKED], output, seen.blocks)
    return Ranking(layers=ranked, notes=(*notes, *more))


def _introducing(layers: Sequence[Layer]) -> list[Ranked]:
    """Layers by the error that they introduce, relative to their own size."""
    found = []
    for each in layers:
        diff = each.replayed or each.island
        if diff is not None and diff.rel_l2 and floor_units(diff) is not None and floor_of(diff) > 0:
            found.append(
                Ranked(
                    node=each.node, op_type=each.op_type, output=each.output, introduced_rel_l2=diff.rel_l2, gain=None,
                    without=None,
                )
            )  # fmt: skip
    return sorted(found, key=lambda each: -each.introduced_rel_l2)


def _gains(
    shop: Workshop, seen: Seen, introducing: Sequence[Ranked], output: str
) -> Mapping[str, tuple[float, float]]:
    """What each introduced and what of it arrived, on the first sample; nothing where nothing was recorded."""
    recorded: Tensors = {name: array for part in seen.first for name, array in part.tensors.items()}
    names = [each.output for each in introducing if each.output in recorded][:MOST_GAINS]
    return shop.goldens.gains(0, recorded, names, output, seconds=GAIN_SECONDS) if names else {}


def _with_fallback(
    shop: Workshop, variant: Variant, place: str, ranked: Sequence[Ranked], output: TensorDiff, blocks: Blocks
) -> tuple[tuple[Ranked, ...], list[str]]:
    """The ranking with what the output's error becomes when its first layers answer in full."""
    names, before = [each.output for each in ranked], output.rel_l2 or 0.0
    counts = [each for each in FALLBACKS if each <= len(names)]
    log = shop.logs / f"{place}-fallback.txt"
    try:
        with shop.crew.member(str(variant), log, variant=variant) as child:
            full = InFull(shop, variant, child, names[: max(counts)], blocks, name="fallback")
            without = {count: full.error(output.name, names[:count]).rel_l2 for count in (0, *counts)}
    except (BackendError, BadModel) as err:
        why = one_line(err.message, 200)
        return tuple(ranked), [f"what better arithmetic for these layers buys was not tried: {why}"]
    notes, base = [], without[0] or 0.0
    if abs(base - before) > DISTURBED * before:
        notes.append(
            f"layers are replaced by switches in the graph: with all of these off the output is {base:.3g} off, "
            f"without them {before:.3g}"
        )
    return tuple(replace(each, without=without.get(at)) for at, each in enumerate(ranked, start=1)), notes
