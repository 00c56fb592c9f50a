"""What is right wherever it is watched, and wrong as it ships: parts of the untouched graph tell where it begins."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from sysnoise_conform.diagnose.bisect import Shown, first_shown
from sysnoise_conform.diagnose.blame import departs, kind_of
from sysnoise_conform.diagnose.boundaries import UNDISTURBED
from sysnoise_conform.diagnose.facts import Culprit, Layer
from sysnoise_conform.diagnose.ties import is_tie
from sysnoise_conform.diagnose.verdict import Judged
from sysnoise_conform.judge.departure import floor_units
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant

LEAP = 3.0  # times as far off as the tensor before it: what adds up grows by less from one operator to the next


def vanishing(
    shop: Workshop, variant: Variant, place: str, found: Judged, policy: Policy, chosen: Collection[str]
) -> Judged:
    """The verdict where an output is off and no operator that was watched: what watching may have hidden.

    Parts of the untouched graph are bisected then; the operator at which one begins to be off is named as what can't
    be seen in any other way, if it makes a tensor of `chosen`.
    """
    bad = [each for each in found.outputs if departs(each, str(variant), policy) is not None]
    ratio = found.observer_effect.floor_ratio
    undisturbed = ratio is not None and ratio <= UNDISTURBED  # whatever is off was off where it was watched, too
    explained = found.computing is not None  # fewer bits explain an output that is off
    if found.culprits or not bad or undisturbed or explained:
        return found
    shown = first_shown(
        shop, variant, place, found.layers, bad[0].name, lambda diff: departs(diff, str(variant), policy) is not None
    )
    if shown is None or shown.tensor not in chosen:
        return found
    layer = next(each for each in found.layers if each.output == shown.tensor)
    # It is watched, and right: what comes after a tie follows from it.
    if is_tie(layer) or _adds_up(layer, shown, str(variant), policy):
        return found
    departing = departs(shown.diff, str(variant), policy)
    assert departing is not None
    name = f"{layer.op_type} {one_line(layer.node or layer.output, 80)!r}"
    words = f"{name} {departing.words} in a part of the graph that ends there, and right "
    words += "alone" if layer.cumulative is None else "where it is watched"
    culprit = Culprit(
        layer=layer,
        method="cut",
        diff=shown.diff,
        kind=kind_of(shown.diff, shown.diff.readings),
        readings=shown.diff.readings,
        words=words,
    )
    return replace(
        found,
        verdict="culprits",
        culprits=(culprit,),
        sentence=f"{variant}: {words}; output {one_line(bad[0].name)!r} is off",
    )


def _adds_up(layer: Layer, shown: Shown, variant: str, policy: Policy) -> bool:
    """Whether what crosses its limit at this layer has grown until there, and is none of its own making.

    It is then off where it is watched as well; and where nothing is watched, not much further than what comes before.
    """
    if layer.cumulative is not None:
        return departs(layer.cumulative, variant, policy) is not None
    before = None if shown.diff_before is None else floor_units(shown.diff_before)
    return before is not None and before * LEAP > (floor_units(shown.diff) or math.inf)
