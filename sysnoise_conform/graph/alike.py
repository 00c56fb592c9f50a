"""Operators that are alike: of one type, with the same attributes and constants, fed with tensors of the same shapes.

A runtime makes one kernel of each such kind, so one of them in a compiled model stands for all, run once for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
from onnx import NodeProto, TensorProto

from sysnoise_conform.graph import walk

# Kinds are run as often as there are nodes of them, which costs a call each, and several models cost several compiles.
# That is won back only where compiling is most of the work. Compile and run of all islands in one process, measured:
# 500 operators in 104 kinds 0.10 s instead of 0.42 s on OpenVINO 2026.4, 0.010 s instead of 0.046 s on ONNX Runtime
# 1.31; a ResNet-18, 48 operators in 32 kinds, 0.16 s and 0.075 s either way. As a stage of a diagnosis, with a child to
# talk to and on a busy machine, the 500 took 2.8 s instead of 4.3 s on OpenVINO, and 1.0 s either way on ONNX Runtime.
WORTH = 0.5  # kinds / nodes up to which it is done

_ENDS = 64  # bytes of a constant by which most others are told apart without a look at the rest

# Kinds with 2**n to 2**(n + 1) - 1 nodes share a model; each run of it computes all of them, at most twice in vain.


def read_in_order(node: NodeProto) -> list[str]:
    """What a node reads, inputs first and in their order, then what its bodies capture."""
    named = [name for name in node.input if name]
    return list(dict.fromkeys([*named, *sorted(walk.reads(node))]))


def by_kind(nodes: Sequence[int], told: Callable[[int, bool], Hashable]) -> list[tuple[int, ...]]:
    """The nodes, those of a kind together, in the order of the first of each.

    `told(node, contents)` is what a kind is known by; without the contents of constants it is quick.
    """
    found: list[tuple[int, ...]] = []
    for similar in _grouped(nodes, lambda at: told(at, False)):
        found += [similar] if len(similar) == 1 else _grouped(similar, lambda at: told(at, True))
    return sorted(found)


def in_models(kinds: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Kinds that share a model; all nodes in one, each a kind of its own, where little would be won."""
    nodes = sum(len(kind) for kind in kinds)
    if len(kinds) > WORTH * nodes:
        yield sorted((at,) for kind in kinds for at in kind)
        return
    often = sorted(kinds, key=lambda kind: (len(kind).bit_length(), kind))
    for _, group in groupby(often, key=lambda kind: len(kind).bit_length()):
        yield list(group)


class Constants:
    """What nobody feeds, by its content."""

    def __init__(
        self, stored: Mapping[str, TensorProto], known: Mapping[str, np.ndarray], fed: Collection[str]
    ) -> None:
        self._stored, self._known, self._fed = stored, known, fed
        self._content: dict[str, Hashable] = {}

    def told(self, name: str, *, contents: bool) -> Hashable:
        """Equal for equal constants; without `contents` at least for these."""
        if name in self._fed:  # a shape, an axis: short
            array = np.asarray(self._known[name])
            return array.dtype.str, array.shape, repr(array.tolist())
        tensor = self._stored.get(name)
        if tensor is None:  # computed from others
            return name
        if not contents:
            raw = tensor.raw_data
            return tensor.data_type, tuple(tensor.dims), raw[:_ENDS], raw[-_ENDS:]
        if name not in self._content:
            self._content[name] = _content(tensor)
        return self._content[name]


def signature(
    nodes: Sequence[NodeProto], inputs: Sequence[str], outputs: Sequence[str], known: Mapping[str, np.ndarray],
    constants: Constants, *, contents: bool,
) -> tuple[Hashable, ...]:  # fmt: skip
    """What the island of these nodes has in common with others of its kind."""
    places = {name: at for at, name in enumerate(inputs)}
    inner: dict[str, int] = {}
    told: list[Hashable] = [tuple((known[name].dtype.str, known[name].shape) for name in inputs)]
    for node in nodes:
        told.append((node.domain, node.op_type, tuple(sorted(_serialised(each) for each in node.attribute))))
        names = list(node.input)
        for name in [*names, *(each for each in read_in_order(node) if each not in names)]:
            if not name:
                told.append("")
            elif name in inner:
                told.append(("made", inner[name]))
            elif name in places:
                told.append(("fed", places[name]))
            else:
                told.append(("constant", constants.told(name, contents=contents)))
        for name in node.output:
            if name:
                inner[name] = len(inner)
            told.append((bool(name), outputs.index(name) if name in outputs else -1))
    return tuple(told)


def _grouped(nodes: Sequence[int], key: Callable[[int], Hashable]) -> list[tuple[int, ...]]:
    found: dict[Hashable, list[int]] = {}
    for at in nodes:
        found.setdefault(key(at), []).append(at)
    return [tuple(each) for each in found.values()]


def _serialised(message: object) -> bytes:
    text: bytes = message.SerializeToString(deterministic=True)  # type: ignore[attr-defined]  # of protobuf
    return text


def _content(tensor: TensorProto) -> Hashable:
    """Two forms of the same numbers (raw and listed) are not taken for equal: nothing is lost but a compile."""
    if tensor.raw_data:
        return tensor.data_type, tuple(tensor.dims), hashlib.blake2b(tensor.raw_data).digest()
    bare = TensorProto()
    bare.CopyFrom(tensor)
    bare.name = bare.doc_string = ""
    return hashlib.blake2b(_serialised(bare)).digest()
