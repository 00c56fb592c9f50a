"""float16 and bfloat16 graphs: every operator that can compute in the type does, inputs and outputs stay float32.

What stays in float32, and why, in this order:

asked for           --keep-fp32 names the node
control flow        If, Loop, Scan and what is inside them
no schema           a vendor's operator: nobody says which types it takes
sequences           it takes or gives something that is no tensor
shape               what it makes determines a shape, size, axis or index
quantised already   QuantizeLinear, DequantizeLinear and what is between them in integers
bits                BitCast
type                at this opset the operator takes no such type, or its output's type hangs on no input
weight              it reads a weight that the type would make infinite, or nothing but zeros
range               a finite value beyond half of the type's largest was seen at what it reads or makes: a few samples
                    don't show the extremes of all

One input that must be float32 (Resize's scales) does not keep its node in float32. Casts stand at the borders: one for
each tensor and direction. A converted tensor keeps the name of the original one; only graph inputs and outputs are
float32 under their own names, with `<name>_<type>` behind or before the cast.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from sysnoise_conform.graph import walk
from sysnoise_conform.graph.naming import Namer, rename
from sysnoise_conform.graph.order import sort
from sysnoise_conform.graph.shape_slice import shape_slice
from sysnoise_conform.graph.types import Types, infer
from sysnoise_conform.graph.wellformed import schema_of
from sysnoise_conform.precision.affine import difference
from sysnoise_conform.precision.observed import Ranges
from sysnoise_conform.precision.weights import array_of, drop_unread, float_constants

FLOAT = "tensor(float)"
_QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_BITS = frozenset({"BitCast"})  # it reads a float's bits, of which another type has others


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatType:
    """A 16-bit type: its ONNX number, its name in schemas, its numpy dtype, its largest finite value."""

    name: str
    elem_type: int
    text: str
    dtype: Any
    largest: float


TYPES = {
    "fp16": FloatType(
        name="fp16", elem_type=TensorProto.FLOAT16, text="tensor(float16)", dtype=np.dtype(np.float16), largest=65504.0
    ),
    "bf16": FloatType(
        name="bf16", elem_type=TensorProto.BFLOAT16, text="tensor(bfloat16)", dtype=np.dtype(ml_dtypes.bfloat16),
        largest=(2 - 2.0**-7) * 2.0**127,
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewritten:
    """A converted graph and what was done: kept nodes with reasons, weights with their differences."""

    proto: onnx.ModelProto
    converted: int
    kept: tuple[dict[str, str], ...]
    weights: tuple[dict[str, Any], ...]


def to_float(
    proto: onnx.ModelProto, kind: FloatType, folder: Path, *, keep: Collection[int] = (), ranges: Ranges | None = None
) -> Rewritten:
    """A copy of `proto` in which float32 arithmetic is in `kind`; the module says what stays as it is.

    `keep` holds positions of nodes; `folder` has the data files. Raises BadModel, StorageError.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    names = [each.output[0] if each.output else "" for each in made.graph.node]
    kept_names = {names[at] for at in keep}
    float_constants(made.graph)
    del made.graph.value_info[:]
    return _Conversion(made, kind, folder, kept_names, ranges or {}).carried_out()


class _Conversion:
    def __init__(
        self, proto: onnx.ModelProto, kind: FloatType, folder: Path, keep: Collection[str], ranges: Ranges
    ) -> None:
        self._proto, self._graph, self._kind = proto, proto.graph, kind
        self._versions = {each.domain: each.version for each in proto.opset_import}
        self._types: Types = infer(proto.graph, self._versions)
        self._slice = shape_slice(proto.graph, proto.functions)
        self._stored = {each.name: each for each in proto.graph.initializer}
        self._folder = folder
        self._keep = keep
        self._ranges = ranges
        self._namer = Namer(proto.graph)
        self._outputs = {each.name for each in proto.graph.output}
        self._wide: dict[str, str] = {}  # tensor -> its name as float32, where a converted node makes it
        self._narrow: dict[str, str] = {}  # tensor -> its name in the type, where a float32 one is there
        self._halves: dict[str, str] = {}  # weight -> its name in the type
        self._faults: dict[str, str] = {}  # weight -> why the type can't hold it
        self._arrays: dict[str, np.ndarray] = {}

    def carried_out(self) -> Rewritten:
        kept: list[dict[str, str]] = []
        places: list[tuple[frozenset[int], frozenset[int]] | None] = []
        for node in self._graph.node:
            why = self._obstacle(node)
            found = None if why else self._places(node)
            if found is None and (why or self._touches_floats(node)):
                kept.append({"node": node.name, "op_type": node.op_type, "why": why or self._untyped(node)})
            places.append(found)
        converted = {
            node.output[position]
            for node, found in zip(self._graph.node, places, strict=True) if found
            for position in found[1]
        }  # fmt: skip
        nodes: list[NodeProto] = []
        for node, found in zip(self._graph.node, places, strict=True):
            nodes.extend(self._rewritten(node, found, converted))
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        weights = tuple(self._halved())
        drop_unread(self._graph)
        sort(self._graph)
        infer(self._graph, self._versions)  # what comes out must be a graph by the operators' own rules
        return Rewritten(
            proto=self._proto, converted=sum(each is not None for each in places), kept=tuple(kept), weights=weights
        )

    def _obstacle(self, node: NodeProto) -> str:
        """Why a node stays in float32, "" where its types decide."""
        if self._keep and any(name in self._keep for name in node.output):
            return "asked for"
        if not self._touches_floats(node):
            return ""
        if any(True for _ in walk.bodies(node)):
            return "control flow"
        if schema_of(node, self._versions) is None:
            return "no schema"
        texts = [self._types.get(name, "") for name in (*node.input, *node.output) if name]
        if any(text and not text.startswith("tensor(") for text in texts):
            return "sequences"
        if any(name in self._slice for name in node.output):
            return "shape"
        if node.op_type in _QUANTISERS:
            return "quantised already"
        if node.op_type in _BITS:
            return "bits"
        return self._too_wide(node)

    def _too_wide(self, node: NodeProto) -> str:
        for name in node.input:
            if name in self._stored and self._types.get(name) == FLOAT and self._fault(name):
                return f"weight {walk.quoted(name)} {self._fault(name)}"
        limit = self._kind.largest / 2
        for name in (*node.input, *node.output):
            seen = self._ranges.get(name)
            if seen is not None and seen.largest > limit:  # infinities and NaN are themselves in either type
                return f"range: {walk.quoted(name)} reaches {seen.largest:.3g}"
        return ""

    def _fault(self, name: str) -> str:
        if name not in self._faults:
            values = self._array(name)
            with np.errstate(all="ignore"):
                rounded = values.astype(self._kind.dtype).astype(np.float32)
            why = ""
            if (np.isinf(rounded) & np.isfinite(values)).any():
                why = f"reaches {np.abs(values[np.isfinite(values)]).max():.3g}"
            elif values.any() and not rounded.any():
                why = f"would vanish, it is at most {np.abs(values).max():.3g}"
            self._faults[name] = why
        return self._faults[name]

    def _array(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = array_of(self._stored[name], self._folder)
        return self._arrays[name]

    def _touches_floats(self, node: NodeProto) -> bool:
        names = (*walk.reads(node), *node.output)
        return any(self._types.get(name) == FLOAT for name in names)

    def _untyped(self, node: NodeProto) -> str:
        return f"type: opset {self._versions.get(node.domain, 0)} of {node.op_type} has no {self._kind.name}"

    def _places(self, node: NodeProto) -> tuple[frozenset[int], frozenset[int]] | None:
        """Positions of the inputs and outputs that take the type; None where the node stays in float32."""
        if not self._touches_floats(node):
            return None
        schema = schema_of(node, self._versions)
        assert schema is not None
        allowed = {each.type_param_str: frozenset(each.allowed_type_strs) for each in schema.type_constraints}

        def formal(parameters: Any, position: int) -> str:
            return str(parameters[min(position, len(parameters) - 1)].type_str)

        held = set()  # parameters that must stay float32
        bound: dict[str, set[int]] = {}
        for position, name in enumerate(node.input):
            if name and self._types.get(name) == FLOAT:
                parameter = formal(schema.inputs, position)
                if name in self._slice or self._kind.text not in allowed.get(parameter, ()):
                    held.add(parameter)
                else:
                    bound.setdefault(parameter, set()).add(position)
        inputs = frozenset(at for parameter, places in bound.items() if parameter not in held for at in places)
        outputs = set()
        for position, name in enumerate(node.output):
            if not name or self._types.get(name) != FLOAT:
                continue
            parameter = formal(schema.outputs, position)
            if node.op_type == "Cast":
                if self._kind.text not in allowed.get(parameter, ()):
                    return None
                outputs.add(position)
            elif parameter in bound and parameter not in held:
                outputs.add(position)
            else:
                return None  # its output would stay float32, and so its inputs
        if not inputs and not outputs:
            return None
        main = formal(schema.inputs, 0) if node.input else ""
        return None if main in held else (inputs, frozenset(outputs))

    def _rewritten(
        self, node: NodeProto, places: tuple[frozenset[int], frozenset[int]] | None, converted: set[str]
    ) -> Iterator[NodeProto]:
        """The node with the casts that it needs before it, and one behind it where it makes a graph output."""
        inputs, outputs = places or (frozenset(), frozenset())
        copy = NodeProto()
        copy.CopyFrom(node)
        captured: dict[str, str] = {}
        for name in sorted(walk.reads(node)):
            if self._types.get(name) != FLOAT:
                continue
            if name in converted and self._wanted_wide(node, name, inputs):
                if name not in self._wide:
                    self._wide[name] = self._namer.fresh(f"{name}_fp32")
                    yield self._cast(self._internal(name), self._wide[name], TensorProto.FLOAT)
                captured[name] = self._wide[name]
        narrowed: dict[str, str] = {}
        for position in sorted(inputs):
            name = node.input[position]
            if name in converted:
                narrowed[name] = self._internal(name)
            elif name in self._stored:
                if name not in self._halves:
                    self._halves[name] = self._namer.fresh(f"{name}_{self._kind.name}")
                narrowed[name] = self._halves[name]
            else:
                if name not in self._narrow:
                    self._narrow[name] = self._namer.fresh(f"{name}_{self._kind.name}")
                    yield self._cast(name, self._narrow[name], self._kind.elem_type)
                narrowed[name] = self._narrow[name]
        if any(True for _ in walk.bodies(node)):
            outputs_before = list(copy.output)
            rename(copy, captured)
            del copy.output[:]
            copy.output.extend(outputs_before)
        else:
            for position, name in enumerate(node.input):
                if position in inputs:
                    copy.input[position] = narrowed[name]
                elif name in captured:
                    copy.input[position] = captured[name]
        for position in sorted(outputs):
            copy.output[position] = self._internal(node.output[position])
        if outputs and node.op_type == "Cast":
            for attribute in copy.attribute:
                if attribute.name == "to":
                    attribute.i = self._kind.elem_type
        yield copy
        for position in sorted(outputs):
            name = node.output[position]
            if name in self._outputs:
                self._wide[name] = name
                yield self._cast(self._internal(name), name, TensorProto.FLOAT)

    def _wanted_wide(self, node: NodeProto, name: str, inputs: frozenset[int]) -> bool:
        positions = {at for at, each in enumerate(node.input) if each == name}
        return not positions or bool(positions - inputs)

    def _internal(self, name: str) -> str:
        """The name in the type of a tensor that a converted node makes: its own, but for a graph output."""
        if name not in self._outputs:
            return name
        if name not in self._narrow:
            self._narrow[name] = self._namer.fresh(f"{name}_{self._kind.name}")
        return self._narrow[name]

    def _cast(self, source: str, target: str, elem_type: int) -> NodeProto:
        return helper.make_node("Cast", [source], [target], name=self._namer.fresh(f"{target}_cast"), to=elem_type)

    def _halved(self) -> Iterator[dict[str, Any]]:
        """Add the weights in the type; tell how far each is from the original."""
        for name, half in self._halves.items():
            values = self._array(name)
            with np.errstate(over="ignore"):
                rounded = values.astype(self._kind.dtype)
            self._graph.initializer.append(numpy_helper.from_array(rounded, half))
            yield {"tensor": name, "scheme": self._kind.name, **difference(values, rounded.astype(np.float32))}

