"""8-bit graphs: QuantizeLinear and DequantizeLinear around what a preset makes integers of.

Activations are quantised where they are made, and their readers take the dequantised tensor: the pattern that every
runtime looks for. A node that is to stay in float reads the tensor before its rounding: between DequantizeLinear and
QuantizeLinear, ONNX Runtime (its WeightBiasQuantization) would make integers of its weights by itself. A tensor keeps
its name before its rounding; a graph output keeps it behind. Weights are stored as integers, biases as int32 with the
product of the scales where the preset has them so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from sysnoise_conform.graph.naming import Namer, rename
from sysnoise_conform.graph.order import sort
from sysnoise_conform.graph.types import infer
from sysnoise_conform.graph.walk import reads
from sysnoise_conform.precision.affine import Affine, affine, codes, difference, values_of, weight_range
from sysnoise_conform.precision.folding import fold_norms
from sysnoise_conform.precision.observed import Ranges
from sysnoise_conform.precision.observers import Scheme, beyond, bounds
from sysnoise_conform.precision.placement import Placement, place
from sysnoise_conform.precision.presets import Preset
from sysnoise_conform.precision.weights import array_of, drop_unread, float_constants

_INT32 = np.iinfo(np.int32)


@dataclass(kw_only=True, slots=True)
class Quantised:
    """An 8-bit graph and what was done.

    `codes`: activation -> the tensor of its integers. `activations`, `weights`, `left`: what became of each tensor,
    and which nodes stay in float and why, as JSON. `folded`: tensors that are gone, see `folding`.
    """

    proto: onnx.ModelProto
    placement: Placement
    codes: dict[str, str] = field(default_factory=dict)
    activations: list[dict[str, Any]] = field(default_factory=list)
    weights: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    folded: list[str] = field(default_factory=list)
    left: list[dict[str, str]] = field(default_factory=list)


def to_int8(
    proto: onnx.ModelProto, preset: Preset, observer: str, folder: Path, ranges: Ranges, *,
    keep: Collection[str] = (),
) -> Quantised:  # fmt: skip
    """A copy of `proto` in 8 bits; `keep` holds tensors whose makers stay in float, `folder` the data files.

    Raises BadModel, StorageError.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    float_constants(made.graph)
    del made.graph.value_info[:]
    folded = fold_norms(made.graph, folder, frozenset(keep))
    kept = {at for at, node in enumerate(made.graph.node) if any(name in keep for name in node.output)}
    floats = [each for each in made.graph.initializer if each.data_type == onnx.TensorProto.FLOAT]
    broken = {each.name for each in floats if not np.isfinite(array_of(each, folder)).all()}
    placement = place(made, preset, ranges, kept, broken)
    found = _Quantisation(made, preset, observer, folder, ranges, placement).carried_out()
    found.folded.extend(folded)
    return found


class _Quantisation:
    def __init__(
        self, proto: onnx.ModelProto, preset: Preset, observer: str, folder: Path, ranges: Ranges,
        placement: Placement,
    ) -> None:  # fmt: skip
        self._proto, self._graph = proto, proto.graph
        self._preset, self._observer = preset, observer
        self._folder = folder
        self._ranges = ranges
        self._placement = placement
        self._namer = Namer(proto.graph)
        self._stored = {each.name: each for each in proto.graph.initializer}
        self._makers = {name: at for at, node in enumerate(proto.graph.node) for name in node.output if name}
        self._readers: dict[str, list[int]] = {}
        for at, node in enumerate(proto.graph.node):
            for name in reads(node):
                self._readers.setdefault(name, []).append(at)
        self._outputs = {each.name for each in proto.graph.output}
        self._scales: dict[str, Affine] = {}  # root activation -> its parameters
        self._parameters: dict[str, tuple[str, str]] = {}  # root activation -> names of scale and zero point
        self._before: list[NodeProto] = []  # dequantised weights
        self._dequantised: dict[tuple[str, int | None, str], str] = {}  # weight, axis, kind -> what readers take
        self._by: dict[tuple[str, int | None, str], Affine] = {}
        self._found = Quantised(proto=proto, placement=placement)
        self._found.notes.extend(
            f"{name} reaches {ranges[name].largest:.3g}, a mask most likely: it is left in float, in 8 bits nothing "
            "else of it would remain"
            for name in sorted(placement.masks)
        )
        self._found.left.extend(
            {"node": proto.graph.node[at].name, "op_type": proto.graph.node[at].op_type, "why": why}
            for at, why in sorted(placement.left.items())
        )

    def carried_out(self) -> Quantised:
        nodes = [NodeProto() for _ in self._graph.node]
        for copy, node in zip(nodes, self._graph.node, strict=True):
            copy.CopyFrom(node)
        self._weights(nodes)
        pairs = [pair for name in self._placement.activations for pair in self._pair(name, nodes)]
        self._biases(nodes)
        del self._graph.node[:]
        self._graph.node.extend([*self._before, *nodes, *pairs])
        drop_unread(self._graph)
        sort(self._graph)
        infer(self._graph, {each.domain: each.version for each in self._proto.opset_import})
        return self._found

    def _weights(self, nodes: list[NodeProto]) -> None:
        preset = self._preset
        for (at, position), weight in self._placement.weights.items():
            scheme = Scheme(symmetric=preset.symmetric_weights, power_of_two=preset.power_of_two)
            nodes[at].input[position] = self._stored_as_integers(weight.tensor, weight.axis, preset.weights, scheme)
        kind = "uint8" if preset.activations == "by_sign" else preset.activations
        for (at, position), name in self._placement.constants.items():
            scheme = Scheme(symmetric=False if kind == "uint8" else preset.symmetric_activations,
                            power_of_two=preset.power_of_two)
            nodes[at].input[position] = self._stored_as_integers(name, None, kind, scheme)

    def _stored_as_integers(self, name: str, axis: int | None, kind: str, scheme: Scheme) -> str:
        """The name of a weight behind its DequantizeLinear, made once for each use of another kind."""
        key = (name, axis, kind)
        if key in self._dequantised:
            return self._dequantised[key]
        values = array_of(self._stored[name], self._folder)
        by = affine(*weight_range(values, axis), kind, scheme)
        integers = codes(values, by, axis)
        quantised = self._constant(f"{name}_quantized", integers)
        scale, zero = self._constant(f"{name}_scale", by.scale), self._constant(f"{name}_zero_point", by.zero_point)
        target = self._namer.fresh(f"{name}_DequantizeLinear_Output")
        self._before.append(self._linear("DequantizeLinear", quantised, scale, zero, target, axis))
        self._dequantised[key], self._by[key] = target, by
        told = difference(values, values_of(integers, by, axis))
        per = "per tensor" if axis is None else f"per channel, axis {axis}"
        self._found.weights.append({"tensor": name, "scheme": f"{kind} {per}", **told})
        return target

    def _pair(self, name: str, nodes: list[NodeProto]) -> list[NodeProto]:
        """Quantise and dequantise an activation, and hand the result to its readers."""
        root = self._placement.activations[name]
        scale, zero = self._parameter_names(root)
        quantised = self._namer.fresh(f"{name}_QuantizeLinear_Output")
        source, target = name, self._namer.fresh(f"{name}_DequantizeLinear_Output")
        if name in self._outputs and self._placement.edges is None and name in self._makers:
            source, target = self._namer.fresh(f"{name}_QuantizeLinear_Input"), name
            maker = nodes[self._makers[name]]
            maker.output[list(maker.output).index(name)] = source
            for at in self._placement.kept.intersection(self._readers.get(name, ())):
                rename(nodes[at], {name: source})
        else:
            self._hand_over(name, target, nodes)
        self._found.codes[name] = quantised
        return [
            self._linear("QuantizeLinear", source, scale, zero, quantised, None),
            self._linear("DequantizeLinear", quantised, scale, zero, target, None),
        ]

    def _hand_over(self, name: str, target: str, nodes: list[NodeProto]) -> None:
        edges = self._placement.edges
        for at in self._readers.get(name, ()):
            if edges is None and at in self._placement.kept:
                continue
            if edges is None:
                rename(nodes[at], {name: target})  # no node makes what it reads
                continue
            for position, each in enumerate(self._graph.node[at].input):
                if each == name and (at, position) in edges:
                    nodes[at].input[position] = target

    def _parameter_names(self, root: str) -> tuple[str, str]:
        if root not in self._parameters:
            by = self.scale_of(root)
            self._parameters[root] = (
                self._constant(f"{root}_scale", by.scale), self._constant(f"{root}_zero_point", by.zero_point)
            )  # fmt: skip
        return self._parameters[root]

    def scale_of(self, root: str) -> Affine:
        """The parameters of an activation, from its calibrated range or the one that its operator has."""
        if root in self._scales:
            return self._scales[root]
        preset, seen = self._preset, self._ranges[root]
        maker = self._graph.node[self._makers[root]] if root in self._makers else None
        fixed = preset.fixed.get(maker.op_type) if maker is not None and not maker.domain else None
        unsigned = preset.activations == "by_sign" and seen.low >= 0
        kind = preset.activations
        if kind == "by_sign":
            kind = "uint8" if unsigned else "int8"
        scheme = Scheme(
            symmetric=preset.symmetric_activations, power_of_two=preset.power_of_two, unsigned=unsigned
        )
        low, high = fixed or bounds(seen, self._observer, scheme)
        by = self._scales[root] = affine(low, high, kind, scheme)
        self._found.activations.append({
            "tensor": root, "kind": kind, "scale": float(by.scale), "zero_point": int(by.zero_point),
            "low": low, "high": high, "seen": [seen.low, seen.high], "beyond": beyond(seen, low, high),
            "fixed": fixed is not None,
        })  # fmt: skip
        return by

    def _biases(self, nodes: list[NodeProto]) -> None:
        for at, position in self._placement.biases.items():
            node = self._graph.node[at]
            weight = self._placement.weights.get((at, 1))
            if weight is None:
                continue
            by = self._by[weight.tensor, weight.axis, self._preset.weights]
            activation = self.scale_of(self._placement.activations[node.input[0]])
            name = node.input[position]
            values = array_of(self._stored[name], self._folder)
            scale = (activation.scale * by.scale).astype(np.float32)
            if scale.ndim and scale.shape != values.shape:
                continue
            with np.errstate(all="ignore"):
                integers = np.rint(values.astype(np.float64) / scale)
            if not np.isfinite(integers).all() or (np.abs(integers) > _INT32.max).any():
                self._found.notes.append(f"bias {name} stays in float32: it does not fit int32 at its scale")
                continue
            quantised = self._constant(f"{name}_quantized", integers.astype(np.int32))
            target = self._namer.fresh(f"{name}_DequantizeLinear_Output")
            axis = 0 if scale.ndim else None
            zero = self._constant(f"{name}_zero_point", np.zeros(scale.shape, np.int32))
            self._before.append(
                self._linear("DequantizeLinear", quantised, self._constant(f"{name}_scale", scale), zero, target, axis)
            )
            nodes[at].input[position] = target

    def _constant(self, wanted: str, values: np.ndarray) -> str:
        name = self._namer.fresh(wanted)
        plain = np.ascontiguousarray(values).reshape(values.shape)  # which makes a scalar a vector
        self._graph.initializer.append(numpy_helper.from_array(plain, name))
        return name

    def _linear(self, op: str, source: str, scale: str, zero: str, target: str, axis: int | None) -> NodeProto:
        node = helper.make_node(op, [source, scale, zero], [target], name=self._namer.fresh(f"{target}_node"))
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        return node
