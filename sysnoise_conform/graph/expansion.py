"""What the model's functions would expand to, counted before anything is inlined.

24 functions that call each other twice are a few kB and 2**24 nodes; so are 2,000 nodes that all take one body from
the call. A function's size is therefore not a number: to what it holds itself comes, for each attribute that it refers
to, so many times the size of what the call gives for it. Such forms compose, and every node of the file is read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.walk import bodies, function_bodies, graphs_of, nested_graphs, quoted
from sysnoise_conform.graph.wellformed import Key, function_key

MAX_EXPANDED_NODES = 200_000
MAX_EXPANDED_BYTES = (1 << 31) - 1
MAX_EXPANDED_NAMES = 5_000_000  # of values and attributes: nodes may have very many
MAX_CALL_DEPTH = 100
MAX_EXPANDED_BODIES = 30  # one within the other; a body is three messages, and protobuf reads 100 within each other

_COUNTLESS = 1 << 62  # counts stop here: no number of the forms grows without an end

Functions = dict[Key, FunctionProto]


@dataclass(slots=True)
class _Use:
    """How often an attribute of the function is put in, below how many calls, and in how many bodies at most."""

    times: int = 0
    calls: int = 0
    bodies: int = 0


@dataclass(slots=True)
class _Form:
    """What a text expands to: so much itself, and what is given for the attributes that it refers to.

    Calls count as nodes, and what they pass counts once more as it stands there: on the way, both are copied.
    """

    nodes: int = 0
    size: int = 0
    names: int = 0
    calls: int = 0
    bodies: int = 0
    uses: dict[str, _Use] = field(default_factory=dict)

    def add(self, other: _Form, use: _Use) -> None:
        """Put `other` in as `use` says."""
        self.nodes = min(self.nodes + use.times * other.nodes, _COUNTLESS)
        self.size = min(self.size + use.times * other.size, _COUNTLESS)
        self.names = min(self.names + use.times * other.names, _COUNTLESS)
        self.calls = max(self.calls, use.calls + other.calls)
        self.bodies = max(self.bodies, use.bodies + other.bodies)
        for name, inner in other.uses.items():
            mine = self.uses.setdefault(name, _Use())
            mine.times = min(mine.times + use.times * inner.times, _COUNTLESS)
            mine.calls = max(mine.calls, use.calls + inner.calls)
            mine.bodies = max(mine.bodies, use.bodies + inner.bodies)


_ONCE = _Use(times=1)
_CALLED = _Use(times=1, calls=1)
_CARRIED = _Use(times=1, bodies=1)


def check_expansion(model: onnx.ModelProto, functions: Functions) -> None:
    """Count what inlining would make.

    Raises BadModel beyond the caps, and for a function that calls itself. The graphs must have been checked: they are
    not nested deeper than the cap.
    """
    if not functions:
        return
    counting = _Counting(functions)
    total = counting.of(model.graph.node)
    found = (total.nodes, total.size, total.names, total.calls)
    limits = (MAX_EXPANDED_NODES, MAX_EXPANDED_BYTES, MAX_EXPANDED_NAMES, MAX_CALL_DEPTH)
    if any(each > limit for each, limit in zip(found, limits, strict=True)):
        raise BadModel(
            "its functions expand to {:,} nodes, {:,} bytes, {:,} names, {:,} calls deep;".format(*found)
            + " the limits are {:,}, {:,}, {:,} and {:,}".format(*limits)
        )
    if total.bodies > MAX_EXPANDED_BODIES:
        raise BadModel(f"its functions expand to bodies nested {total.bodies} deep; the limit is {MAX_EXPANDED_BODIES}")


class _Counting:
    """The forms of all functions, those that are called before those that call them."""

    def __init__(self, functions: Functions) -> None:
        self._forms: dict[Key, _Form] = {}
        self._fixed: dict[Key, _Form] = {}  # what every call brings, with all defaults in: a call may leave out any
        for start in functions:
            if start in self._forms:
                continue
            waiting = [(start, _callees(functions[start], functions))]
            path = {start}
            while waiting:
                key, callees = waiting[-1]
                callee = next((each for each in callees if each not in self._forms), None)
                if callee is None:
                    self._learn(key, functions[key])
                    path.discard(key)
                    waiting.pop()
                elif callee in path:
                    raise BadModel(f"function {quoted(callee[1])} calls itself")
                else:
                    path.add(callee)
                    waiting.append((callee, _callees(functions[callee], functions)))

    def _learn(self, key: Key, function: FunctionProto) -> None:
        form = self.of(function.node)
        form.size = min(form.size + function.ByteSize(), _COUNTLESS)
        form.names = min(form.names + len(function.input) + len(function.output), _COUNTLESS)
        fixed = _Form(nodes=form.nodes, size=form.size, names=form.names, calls=form.calls, bodies=form.bodies)
        for default in function.attribute_proto:
            if default.name in form.uses:
                fixed.add(self._given(default), form.uses[default.name])
        self._forms[key], self._fixed[key] = form, fixed

    def of(self, nodes: Iterable[NodeProto]) -> _Form:
        """What nodes expand to, without their own bytes."""
        total = _Form()
        for node in nodes:
            total.nodes += 1
            total.names += len(node.input) + len(node.output) + len(node.attribute)
            key = function_key(node)
            form = self._forms.get(key)
            if form is None:
                for attribute in node.attribute:
                    total.add(self._held(attribute), _CARRIED)
                continue
            total.add(self._fixed[key], _CALLED)
            for attribute in node.attribute:
                total.add(_as_it_stands(attribute), _CARRIED)
                if use := form.uses.get(attribute.name):
                    below = _Use(times=use.times, calls=use.calls + 1, bodies=use.bodies)
                    total.add(self._given(attribute), below)
        return total

    def _held(self, attribute: AttributeProto) -> _Form:
        """The bodies in an attribute; of a reference, what it stands for."""
        if attribute.ref_attr_name:
            return _Form(uses={attribute.ref_attr_name: _ONCE})
        total = _Form()
        for graph in graphs_of([attribute]):
            total.add(self.of(graph.node), _ONCE)
        return total

    def _given(self, attribute: AttributeProto) -> _Form:
        """What an attribute of a call puts in where the function refers to it: its bytes, too."""
        held = self._held(attribute)
        held.size = min(held.size + attribute.ByteSize(), _COUNTLESS)
        return held


def _as_it_stands(attribute: AttributeProto) -> _Form:
    """An attribute of a call with no call in it expanded."""
    found = _Form(size=attribute.ByteSize())
    references = Counter([attribute.ref_attr_name]) if attribute.ref_attr_name else Counter()
    for body in graphs_of([attribute]):
        for graph in nested_graphs(body):
            for node in graph.node:
                found.nodes += 1
                found.names += len(node.input) + len(node.output) + len(node.attribute)
                references.update(each.ref_attr_name for each in node.attribute if each.ref_attr_name)
    found.uses = {name: _Use(times=times) for name, times in references.items()}
    return found


def _callees(function: FunctionProto, functions: Functions) -> Iterator[Key]:
    """The functions that one calls, in its bodies and defaults as well."""
    found = dict.fromkeys(_calls(function.node, functions))
    for body in function_bodies(function):
        found.update(dict.fromkeys(_calls(body.node, functions)))
    return iter(found)


def _calls(nodes: Iterable[NodeProto], functions: Functions) -> Iterator[Key]:
    for node in nodes:
        key = function_key(node)
        if key in functions:
            yield key
        for body in bodies(node):
            yield from _calls(body.node, functions)
