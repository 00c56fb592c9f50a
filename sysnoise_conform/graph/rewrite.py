"""Attributes of a graph's nodes changed as a deployment would have them: what came of it, as one of three facts.

A rewrite changes attributes alone, so that several are put together by their edits, and no copy of the weights is kept
for each. Nodes in bodies of If, Loop and Scan are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, helper

from sysnoise_conform.graph.walk import attribute_of
from sysnoise_conform.printable import one_line

Attribute = int | str | Sequence[int] | None  # None: the node no longer carries it
Edits = Mapping[int, Mapping[str, Attribute]]  # by the node's place in the graph
_NO_EFFECT: np.ndarray = np.zeros(0)
_EFFECT_ATOL = 1e-5  # coordinates of float32 scales differ by some 1e-7 of a size of at most some thousands


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rewritten:
    """The graph is another one: `edits` make it, `changed` are its nodes in words.

    `resizes` says that shapes behind the nodes may be others, so that only a run tells whether the graph still fits
    together. `precision` is the type that it is converted to after the edits. `effect`, where it is not empty,
    characterises what the nodes compute: equal effects, equal graphs.
    """

    edits: Edits
    changed: tuple[str, ...]
    resizes: bool = False
    precision: str = ""
    effect: np.ndarray = field(default_factory=lambda: _NO_EFFECT)

    def same_effect(self, other: Rewritten) -> bool:
        """Whether both are known to compute the same."""
        if not self.effect.size or self.effect.shape != other.effect.shape:
            return False
        return np.allclose(self.effect, other.effect, rtol=0.0, atol=_EFFECT_ATOL)


@dataclass(frozen=True, kw_only=True, slots=True)
class NotApplicable:
    """The graph can't be rewritten, or not run afterwards; `node` is the one that stands in the way."""

    node: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NoOp:
    """Nothing would change; `always` on inputs of any size, else on those that were looked at."""

    why: str
    always: bool = False


Rewrite = Rewritten | NotApplicable | NoOp


def nodes(proto: onnx.ModelProto, *kinds: str) -> Iterator[tuple[int, NodeProto]]:
    """The main graph's nodes of these standard operators, with their places."""
    for at, node in enumerate(proto.graph.node):
        if node.domain == "" and node.op_type in kinds:
            yield at, node


def name_of(node: NodeProto) -> str:
    """What a node is called: its name, else its first output's."""
    return one_line(node.name or next((each for each in node.output if each), "?"), 80)


def opset(proto: onnx.ModelProto) -> int:
    """The version of the standard operators."""
    return next((each.version for each in proto.opset_import if each.domain == ""), 0)


def integer(node: NodeProto, name: str, default: int) -> int:
    """An integer attribute."""
    found = attribute_of(node, name)
    return default if found is None else int(found.i)


def integers(node: NodeProto, name: str, default: Iterable[int] = ()) -> tuple[int, ...]:
    """An attribute of integers."""
    found = attribute_of(node, name)
    return tuple(default) if found is None else tuple(found.ints)


def real(node: NodeProto, name: str, default: float) -> float:
    """A float attribute."""
    found = attribute_of(node, name)
    return default if found is None else float(found.f)


def text(node: NodeProto, name: str, default: str) -> str:
    """A string attribute; an empty one counts as absent."""
    found = attribute_of(node, name)
    return default if found is None or not found.s else found.s.decode("utf-8", "replace")


def edited(proto: onnx.ModelProto, edits: Edits) -> onnx.ModelProto:
    """A new model with the edits made; declared inner shapes, which may no longer be true, are gone."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    del made.graph.value_info[:]
    for at, changes in edits.items():
        node = made.graph.node[at]
        kept: list[AttributeProto] = [each for each in node.attribute if each.name not in changes]
        kept += [helper.make_attribute(name, value) for name, value in changes.items() if value is not None]
        del node.attribute[:]
        node.attribute.extend(kept)
    return made


def merged(first: Edits, second: Edits) -> Edits:
    """Edits, and further ones of the graph that they make."""
    return {at: {**first.get(at, {}), **second.get(at, {})} for at in sorted({*first, *second})}
