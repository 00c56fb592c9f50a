"""The shape slice: every tensor that determines a shape, size, axis, index or trip count.

Such a tensor must be computed in its declared type, whatever precision the data is computed in: a
size that float32 arithmetic rounds to 13.0 and float64 to 12.999999 gives another shape.

The slice is found by walking back from the inputs that steer an operator (Reshape's `shape`,
Resize's `scales`, a Loop's trip count). Where such a tensor depends on the *values* of a graph input
the walk goes on through integer and elementwise arithmetic only and stops at what produces data (Conv,
NonMaxSuppression, ArgMax, ...), so that no network is drawn into the slice. An element index (Gather,
Scatter) that depends on the values of a graph input is data itself, a token id for instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx

# Positions of the inputs that steer an operator's shape, axis, size or trip count.
_SHAPE_INPUTS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "BlackmanWindow": (0,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "Expand": (1,),
    "Loop": (0, 1),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2),
    "NonMaxSuppression": (2,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "SequenceAt": (1,),
    "SequenceErase": (1,),
    "SequenceInsert": (2,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "Tile": (1, 2),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}

# Positions of the inputs that index elements.
_INDEX_INPUTS: dict[str, tuple[int, ...]] = {
    "Gather": (1,),
    "GatherElements": (1,),
    "GatherND": (1,),
    "OneHot": (0,),
    "ReverseSequence": (1,),
    "RoiAlign": (2,),
    "Scatter": (1,),
    "ScatterElements": (1,),
    "ScatterND": (1,),
    "TensorScatter": (2,),
}

# Operators whose output depends on their input's shape alone.
_SHAPE_ONLY = frozenset({"Shape", "Size", "EyeLike"})
_RANDOM = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
})  # fmt: skip

# Operators through which the walk follows values of graph inputs: the arithmetic of sizes.
_ARITHMETIC = frozenset({
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Div", "Equal", "Expand", "Flatten", "Floor",
    "Gather", "Greater", "GreaterOrEqual", "Identity", "If", "Less", "LessOrEqual", "Loop", "Max", "Min", "Mod", "Mul",
    "Neg", "Not", "Or", "Range", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Scan",
    "Sign", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze", "Where", "Xor",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Origin:
    """One way in which a tensor comes about: by `op`, from `parents`."""

    op: str
    parents: tuple[str, ...]


Functions = Mapping[tuple[str, str], onnx.FunctionProto]


def shape_slice(graph: onnx.GraphProto, functions: Iterable[onnx.FunctionProto] = ()) -> frozenset[str]:
    """The names of the slice's tensors, those inside the bodies of control flow included.

    Two bodies that use one name for different tensors share its membership: at worst a tensor of the
    other body is taken as part of the slice.
    """
    known = {(each.domain, each.name): each for each in functions}
    sources = {each.name for each in graph.input} - {each.name for each in graph.initializer}
    return _slice(list(graph.node), sources, known, depth=0)


def _slice(nodes: list[onnx.NodeProto], sources: set[str], functions: Functions, depth: int) -> frozenset[str]:
    origins: dict[str, list[_Origin]] = {}
    shapes: list[str] = []
    indices: list[str] = []
    for node in _with_bodies(nodes):
        for name, origin in _origins(node):
            origins.setdefault(name, []).append(origin)
        inputs = dict(enumerate(node.input))
        shapes.extend(inputs.get(position, "") for position in _shape_positions(node, functions, depth))
        indices.extend(inputs.get(position, "") for position in _INDEX_INPUTS.get(node.op_type, ()))
        if node.op_type == "Loop":
            shapes.extend(each.g.output[0].name for each in node.attribute if each.name == "body" and each.g.output)
    valued = _depending_on_values(origins, sources)
    found: set[str] = set()
    pending = [*shapes, *(each for each in indices if each not in valued)]
    while pending:
        name = pending.pop()
        if not name or name in found:
            continue
        found.add(name)
        for origin in origins.get(name, ()):
            if origin.op in _SHAPE_ONLY or (name in valued and origin.op not in _ARITHMETIC):
                continue
            pending.extend(origin.parents)
    return frozenset(found)


def _shape_positions(node: onnx.NodeProto, functions: Functions, depth: int) -> tuple[int, ...]:
    function = functions.get((node.domain, node.op_type))
    if function is None:
        return _SHAPE_INPUTS.get(node.op_type, ()) if node.domain in ("", "ai.onnx") else ()
    if depth > 16:  # functions that call each other in a ring: refused by whoever runs the model
        return ()
    inner = _slice(list(function.node), set(function.input), functions, depth + 1)
    return tuple(position for position, name in enumerate(function.input) if name in inner)


def _with_bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _with_bodies(attribute.g.node)


def _origins(node: onnx.NodeProto) -> Iterator[tuple[str, _Origin]]:
    bodies = {each.name: each.g for each in node.attribute if each.type == onnx.AttributeProto.GRAPH}
    inputs = tuple(node.input)
    match node.op_type:
        case "If" if bodies:
            for position, name in enumerate(node.output):
                branches = tuple(g.output[position].name for g in bodies.values() if position < len(g.output))
                yield name, _Origin("If", inputs + branches)
        case "Loop" if "body" in bodies:
            yield from _loop_origins(node, bodies["body"])
        case "Scan" | "SequenceMap" if "body" in bodies:
            body = bodies["body"]
            states = len(body.input) - _scan_inputs(node, len(inputs))
            for position, each in enumerate(body.input):
                start = inputs[position : position + 1]
                carried = (body.output[position].name,) if position < min(states, len(body.output)) else ()
                yield each.name, _Origin("Scan", start + carried)
            for position, name in enumerate(node.output):
                initial = inputs[position : position + 1] if position < states else ()
                inner = (body.output[position].name,) if position < len(body.output) else ()
                yield name, _Origin("Scan", initial + inner)
        case _:
            for name in node.output:
                yield name, _Origin(node.op_type, inputs)


def _scan_inputs(node: onnx.NodeProto, given: int) -> int:
    return next((each.i for each in node.attribute if each.name == "num_scan_inputs"), given)


def _loop_origins(node: onnx.NodeProto, body: onnx.GraphProto) -> Iterator[tuple[str, _Origin]]:
    inputs, results = tuple(node.input), tuple(each.name for each in body.output)
    steering = inputs[:2] + results[:1]
    for position, each in enumerate(body.input):
        match position:
            case 0:
                yield each.name, _Origin("Loop", ())
            case 1:
                yield each.name, _Origin("Loop", inputs[1:2] + results[:1])
            case _:
                yield each.name, _Origin("Loop", inputs[position : position + 1] + results[position - 1 : position])
    carried = len(inputs) - 2
    for position, name in enumerate(node.output):
        initial = inputs[position + 2 : position + 3] if position < carried else ()
        yield name, _Origin("Loop", initial + results[position + 1 : position + 2] + steering)


def _depending_on_values(origins: Mapping[str, list[_Origin]], sources: set[str]) -> set[str]:
    """The tensors that depend on the values, not only on the shapes, of the graph's inputs."""
    readers: dict[str, list[str]] = {}
    pending = list(sources)
    for name, ways in origins.items():
        for way in ways:
            if way.op in _RANDOM:
                pending.append(name)
            if way.op not in _SHAPE_ONLY:
                for parent in way.parents:
                    readers.setdefault(parent, []).append(name)
    found: set[str] = set()
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        pending.extend(readers.get(name, ()))
    return found
