"""Whether a runtime's optimiser brings a fault, and which of its passes; and the smallest part that shows it.

Where fusing makes the fault, the operator alone is right. So the part of the graph that makes the culprit's tensor is
cut from the front, PyTorch's tensors fed in as late as possible, for as long as the fault is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count

from sysnoise_conform import registry
from sysnoise_conform.diagnose.facts import Culprit, Optimiser
from sysnoise_conform.diagnose.part import Part, PartSession, data_before, run_part
from sysnoise_conform.diagnose.passes import DISABLE, SEPARATOR, responsible
from sysnoise_conform.errors import BackendDied, BackendError
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant

LEVEL = "opt"  # the option whose choices are levels of optimisation, least first
MOST = 3  # culprits that are looked at, the first ones

Departs = Callable[[TensorDiff], bool]


def explain(
    shop: Workshop, variant: Variant, place: str, used: Child, culprits: Sequence[Culprit], departs: Departs, *,
    hidden: Collection[str] = (),
) -> tuple[tuple[Culprit, ...], dict[str, Part]]:  # fmt: skip
    """The culprits with what the optimiser has to do with each, and the smallest part that shows each, by tensor.

    `used` is a child of that variant, which may be dead, or die of it. A culprit that is off alone at the least level
    of optimisation is a kernel's, and stays what it is; so does one of an arithmetic of fewer bits, in which all parts
    are off by float32's measure. No part starts at a tensor that is `hidden` in a block, which it would take apart.
    """
    options = {each.name: each for each in registry.load(variant.backend).capabilities.options}
    levels = options[LEVEL].choices if LEVEL in options else ()
    told = [each for each in culprits if each.layer.in_unit is None]
    fused = [each for each in told if each.method == "cut" or each.layer.block]
    looked_at = told[:MOST] if levels else fused[:MOST]
    parts: dict[str, Part] = {}
    if shop.plan.target.model is None or not looked_at:
        return tuple(culprits), parts
    explained = {each.layer.output: each for each in culprits}
    with ExitStack() as stack:
        child = used
        if used.dead:
            log = shop.logs / f"{place}-optimiser.txt"
            child = stack.enter_context(shop.crew.member(str(variant), log, variant=variant))
        trials = _Trials(shop, variant, child, departs)
        try:
            for culprit in looked_at:
                before = data_before(shop, culprit.layer.output, hidden)
                part = trials.smallest(culprit.layer.output, before)
                if part is None:
                    continue
                if part.given != before or culprit.method == "cut":  # else it is the operator alone, an island
                    parts[part.tensor] = part
                found = trials.optimiser(part, levels, passes=DISABLE in options)
                if found is not None:
                    words = f"{culprit.words}; {_in_words(found)}"
                    explained[part.tensor] = replace(culprit, optimiser=found, words=words)
        except BackendDied:  # what is known is known
            pass
    return tuple(explained[each.layer.output] for each in culprits), parts


class _Trials:
    """Parts of the graph, run with one option or another."""

    def __init__(self, shop: Workshop, variant: Variant, child: Child, departs: Departs) -> None:
        self._shop, self._variant, self._child, self._departs = shop, variant, child, departs
        self._numbers = count()

    def shows(self, part: Part, **options: str) -> bool:
        """Whether the part is off with these options. Raises BackendDied; what a runtime refuses shows nothing."""
        diff = run_part(self._shop, self._asked(options), self._child, part, f"trial-{next(self._numbers)}")
        return diff is not None and self._departs(diff)

    def smallest(self, tensor: str, before: tuple[str, ...]) -> Part | None:
        """The part that is cut off latest of those that show the fault; None where the whole one does not."""
        if self.shows(Part(tensor=tensor, given=before)):
            return Part(tensor=tensor, given=before)
        if not self.shows(Part(tensor=tensor)):
            return None
        low, high = 0, len(before)
        while high - low > 1:
            middle = (low + high) // 2
            shown = self.shows(Part(tensor=tensor, given=before[:middle]))
            low, high = (middle, high) if shown else (low, middle)
        return Part(tensor=tensor, given=before[:low])

    def optimiser(self, part: Part, levels: Sequence[str], *, passes: bool) -> Optimiser | None:
        """The level that brings the fault, and the passes; None where it is there at the least level."""
        if not levels or self.shows(part, **{LEVEL: levels[0]}):
            return None
        level = next((each for each in levels[1:] if self.shows(part, **{LEVEL: each})), "")
        if not level:  # it comes with none of them, so it is not steady
            return None
        found: tuple[str, ...] = ()
        if passes:
            already = [each for each in (self._variant.option(DISABLE) or "").split(SEPARATOR) if each]

            def shows(without: Collection[str]) -> bool:
                names = SEPARATOR.join([*already, *without])
                return self.shows(part, **({DISABLE: names} if names else {}))

            found = responsible(self._passes(part), shows)
        return Optimiser(level=f"{LEVEL}={level}", passes=found)

    def _passes(self, part: Part) -> tuple[str, ...]:
        try:
            name = f"trial-{next(self._numbers)}"
            return PartSession(self._shop, self._variant, self._child, part, name).optimised().passes
        except BackendDied:
            raise
        except BackendError:
            return ()

    def _asked(self, options: dict[str, str]) -> Variant:
        others = tuple((name, value) for name, value in self._variant.options if name not in options)
        return replace(self._variant, options=(*others, *options.items()))


def _in_words(found: Optimiser) -> str:
    said = f"it comes with +{found.level}"
    if not found.passes:
        return said
    names = " and ".join(one_line(each, 60) for each in found.passes)
    who = f"passes {names} bring it" if len(found.passes) > 1 else f"pass {names} brings it"
    without = SEPARATOR.join(one_line(each, 60) for each in found.passes)
    return f"{said}; the optimiser {who}: with +{DISABLE}={without} it is right"
