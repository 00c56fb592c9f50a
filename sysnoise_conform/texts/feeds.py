"""From tokens to the inputs of a graph: one text at a time, all of one length, padded on the right."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from sysnoise_conform.card import TextInput
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.graph.intake import Model, Port
from sysnoise_conform.graph.shapes import describe, numpy_type
from sysnoise_conform.printable import one_line

Feed = dict[str, np.ndarray]

ROUNDED_TO = 8  # tokens: the length of what is read, where the model fixes none


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFeeds:
    """Makes feeds of `length` tokens."""

    spec: TextInput
    ports: tuple[Port, ...]
    length: int

    def feed(self, ids: Sequence[int]) -> Feed:
        """The arrays of one text of at most `length` tokens, with a batch dimension of 1."""
        fill = self.length - len(ids)
        rows = {
            self.spec.ids: [*ids, *[self.spec.pad] * fill],
            self.spec.mask: [1] * len(ids) + [0] * fill,
            self.spec.positions: list(range(self.length)),
            **{name: [0] * self.length for name in self.spec.zeros},
        }
        return {each.name: np.array([rows[each.name]]).astype(numpy_type(each)) for each in self.ports}


def longest(model: Model, spec: TextInput, besides: Collection[str] = ()) -> int | None:
    """The tokens that the model or its card has at most; None where neither says. Raises UsageError.

    Every input of the model must be one of the card's, or one of `besides`, which others fill.
    """
    known = {spec.ids, spec.mask, spec.positions, *spec.zeros} - {""}
    ports = {each.name: each for each in model.inputs if each.name not in besides}
    if spec.ids not in ports:
        names = ", ".join(one_line(each, 60) for each in ports) or "none"
        raise UsageError(
            f"the model has no input {one_line(spec.ids, 60)!r} for the tokens",
            hint=f"name one in the card's [text] with ids; there are {names}",
        )
    for name, port in ports.items():
        if name not in known:
            raise UsageError(
                f"the model also takes {one_line(name, 60)!r}, {describe(port)}, and the card does not say what it is",
                hint="name it in [text] as mask, positions or in zeros, or bind it: [bind] in the card",
            )
        if port.shape is not None and len(port.shape) != 2:
            raise UsageError(f"the input {one_line(name, 60)!r} is {describe(port)}; tokens are (1, tokens)")
    declared = ports[spec.ids].shape
    fixed = declared[1] if declared is not None else None
    if not isinstance(fixed, int):
        return spec.length
    if spec.length is not None and spec.length != fixed:
        raise UsageError(
            f"the card's [text] has a length of {spec.length}, and the model reads {fixed} tokens",
            hint="leave length out where the model fixes it",
        )
    return fixed


def feeds_of(model: Model, spec: TextInput, counts: Sequence[int], besides: Collection[str] = ()) -> TextFeeds:
    """Feeds for texts of so many tokens each: as long as the model fixes, else as long as the longest of them.

    One length for all, so that each graph is compiled once. Raises UsageError.
    """
    most = longest(model, spec, besides)
    ports = {each.name: each for each in model.inputs if each.name not in besides}
    declared = ports[spec.ids].shape
    if declared is not None and isinstance(declared[1], int):
        length = declared[1]
    else:
        needed = -(-max(counts, default=1) // ROUNDED_TO) * ROUNDED_TO
        length = needed if most is None else min(most, needed)
    return TextFeeds(spec=spec, ports=tuple(ports.values()), length=length)


def checked(ids: Sequence[int], most: int | None, name: str) -> Sequence[int]:
    """The tokens, if the model takes so many. Raises BadInput naming the text."""
    if not ids:
        raise BadInput(f"{one_line(name, 120)!r} has no token")
    if most is not None and len(ids) > most:
        raise BadInput(f"{one_line(name, 120)!r} has {len(ids)} tokens, and the model reads {most}")
    return ids
