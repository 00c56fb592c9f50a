"""The backend with a few of its operators answering in full, each on the very inputs that the backend gives it.

Such an operator answers as float64 does, rounded to its declared type, and everything else is the backend's: nothing
that came before is repaired with it, as PyTorch's own tensor in its place would. What an operator reads hangs on the
answers of those before it, so a set of them is built up in graph order, a run for each; every run is kept for the sets
that begin with the same ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from sysnoise_conform.backend import Tensors
from sysnoise_conform.compare.ulp import FORMATS
from sysnoise_conform.diagnose.blocks import Blocks
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.diagnose.switchboard import Switchboard
from sysnoise_conform.errors import Unsupported
from sysnoise_conform.graph.explode import Explosion, Islands
from sysnoise_conform.graph.quantised import integer_blocks
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant

KEPT_BYTES = 256 << 20  # answers that wait for another set that begins with the same operators
MOST_SAMPLES = 4


class InFull:
    """One compiled graph in which the operators that make `tensors` (golden names) can answer in full.

    Raises Unsupported where one of them does not stand alone, and what a `Switchboard` raises.
    """

    def __init__(
        self, shop: Workshop, variant: Variant, child: Child, tensors: Collection[str], blocks: Blocks, *, name: str
    ) -> None:
        self._shop = shop
        order = {each.tensor: at for at, each in enumerate(shop.model.layers)}
        self._tensors = sorted(tensors, key=order.__getitem__)
        self._alone = _alone(shop, self._tensors, blocks)
        reads = {name for each in self._alone.values() for name in each.inputs.values()}
        self.board = Switchboard(shop, variant, child, self._tensors, name=name, taps=reads & set(order))
        self._answers: dict[tuple[int, tuple[str, ...]], Tensors] = {}
        self._kept = 0

    def error(self, output: str, tensors: Collection[str]) -> TensorDiff:
        """The output against PyTorch's with these operators answering in full; over a few samples.

        Raises Unsupported where the runtime does not return it, or PyTorch's has no scale.
        """
        tally = self._shop.tally()
        for number in self.board.numbers[:MOST_SAMPLES]:
            got = self.board.run(number, self._given(number, tuple(each for each in self._tensors if each in tensors)))
            if output in got:
                tally.compare(self._shop.goldens.sample(number)[output], got[output], number)
        diff = tally.diffs.get(output)
        if diff is None or diff.rel_l2 is None:
            raise Unsupported(f"output {one_line(output, 80)!r} was not returned", stage="run")
        return diff

    def _given(self, number: int, tensors: tuple[str, ...]) -> Tensors:
        """The answers of these operators, in graph order, each on what it is fed when those before it answer so."""
        if not tensors:
            return {}
        if (number, tensors) in self._answers:
            return self._answers[number, tensors]
        *before, last = tensors
        given = self._given(number, tuple(before))
        answer = self._answer(number, last, self.board.run(number, given))
        if self._kept > KEPT_BYTES:
            self._answers.clear()
            self._kept = 0
        self._kept += answer.nbytes
        self._answers[number, tensors] = {**given, last: answer}
        return self._answers[number, tensors]

    def _answer(self, number: int, tensor: str, got: Mapping[str, np.ndarray]) -> np.ndarray:
        island, there = self._alone[tensor], {**got, **self._shop.samples.feed(number)}
        missing = next((each for each in island.inputs.values() if each not in there), None)
        if missing is not None:
            raise Unsupported(f"the runtime does not return {one_line(missing, 80)!r}", stage="run")
        answers = self._shop.goldens.applied(island.model, {ours: there[each] for ours, each in island.inputs.items()})
        ours = next(each for each, name in island.outputs.items() if name == tensor)
        return answers[ours]


def _alone(shop: Workshop, tensors: Sequence[str], blocks: Blocks) -> dict[str, Islands]:
    """The model's own operators that make `tensors`, each a model of its own; the graph under test may have others.

    Where the graph under test is judged by `blocks`, so is the model.
    """
    known = {name: declared(each) for name, each in shop.goldens.sample(0).items()} | shop.samples.feed(0)
    explosion = Explosion(shop.model.proto, known, integer_blocks(shop.model.proto) if blocks.taken else ())
    standing = set(explosion.archipelago().nodes)
    found = {}
    for name in tensors:
        place = explosion.maker(name)
        if place is None or place not in standing:
            raise Unsupported(f"what makes {one_line(name, 80)!r} does not stand alone", stage="plan")
        (found[name],) = explosion.islands([place])
    return found


def worst_output(outputs: Sequence[TensorDiff]) -> TensorDiff | None:
    """The output whose error is told by its relative size, the largest; None where none has one.

    How far indices or codes are off says nothing: they count only where there is nothing else.
    """
    off = [each for each in outputs if each.comparable and each.rel_l2]
    return max(off, key=lambda each: (each.dtype in FORMATS, each.rel_l2 or 0.0), default=None)
