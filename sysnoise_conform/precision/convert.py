"""A model and a recipe give a graph in that precision, and a record of all that was done to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.graph.intake import Model, open_model, write_proto
from sysnoise_conform.precision.floats import TYPES, to_float
from sysnoise_conform.precision.observed import Ranges
from sysnoise_conform.precision.opset import raised, version_of
from sysnoise_conform.precision.placement import described
from sysnoise_conform.precision.presets import PRESETS
from sysnoise_conform.precision.quantise import to_int8
from sysnoise_conform.precision.recipe import BF16, FP16, INT8, Recipe
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

# Per-channel scales (int8) came with opset 13; Conv and pooling in bfloat16 with 22.
_OPSETS = {INT8: 13, BF16: 22, FP16: 0}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Converted:
    """A graph in a recipe's precision.

    Tensors keep their names; `codes` maps a quantised activation to the tensor of its integers. `record` is JSON: the
    recipe, the opset, what stays in float32 and why, each weight's difference from the original, each activation's
    range.
    """

    proto: onnx.ModelProto
    recipe: Recipe
    record: Mapping[str, Any]
    codes: Mapping[str, str]

    def opened(self, folder: Path, name: str) -> Model:
        """Written into `folder` and opened like any model: its checks, its hash, its layers. Raises StorageError."""
        return open_model(write_proto(self.proto, folder, name))


def convert(model: Model, recipe: Recipe, ranges: Ranges | None = None) -> Converted:
    """`model` in the precision of `recipe`; `ranges` is what calibration saw, without which there is no int8.

    Raises UsageError for a node to keep that is not there and for a model that is quantised already; BadInput where
    the precision finds nothing to convert, or needs an opset that the model can't be brought to; BadModel and
    StorageError for weights that can't be read.
    """
    keep = kept_tensors(model, recipe.keep_fp32)
    why = f":{recipe.precision}"
    proto = raised(model.proto, _OPSETS[recipe.precision], why)
    about: dict[str, Any] = {
        "recipe": recipe.record(), "opset": version_of(proto), "opset_before": version_of(model.proto),
    }  # fmt: skip
    folder = model.path.parent
    if recipe.precision != INT8:
        kept = {at for at, node in enumerate(proto.graph.node) if any(name in keep for name in node.output)}
        found = to_float(proto, TYPES[recipe.precision], folder, keep=kept, ranges=ranges)
        if not found.converted:
            raise _nothing(model, recipe, sorted({each["why"] for each in found.kept}))
        about |= {"converted": found.converted, "kept": list(found.kept), "weights": list(found.weights),
                  "folded": [], "activations": [], "notes": []}
        return Converted(proto=found.proto, recipe=recipe, record=about, codes={})
    if ranges is None:
        raise UsageError("int8 needs ranges: nothing was calibrated", hint="give --calibration DATA")
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.proto.graph.node):
        raise UsageError(
            f"{one_line(model.path.name, 80)!r} is quantised already: :int8 has nothing to do",
            hint="name the backend without :int8, or give the float model",
        )
    quantised = to_int8(proto, PRESETS[recipe.preset], recipe.observer, folder, ranges, keep=keep)
    if not quantised.placement.nodes:
        raise _nothing(model, recipe, sorted(set(quantised.placement.left.values())))
    about |= {
        "converted": len(quantised.placement.nodes),
        "kept": quantised.left,
        "folded": quantised.folded,
        "weights": quantised.weights,
        "activations": quantised.activations,
        "notes": quantised.notes,
    }
    return Converted(proto=quantised.proto, recipe=recipe, record=about, codes=quantised.codes)


def kept_tensors(model: Model, names: tuple[str, ...]) -> frozenset[str]:
    """The tensors that the nodes of `--keep-fp32` make; a name is a node's, or a tensor's. Raises UsageError."""
    graph = model.proto.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    nodes: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        nodes.setdefault(node.name, []).append(node)
    found: set[str] = set()
    for name in names:
        chosen = nodes.get(name, []) or ([makers[name]] if name in makers else [])
        if not name or not chosen:
            raise UsageError(
                f"--keep-fp32 {one_line(name, 80)}: the model has no such node",
                hint=nearest(name, {*nodes, *makers} - {""}),
            )
        found.update(tensor for node in chosen for tensor in node.output if tensor)
    return frozenset(found)


def _nothing(model: Model, recipe: Recipe, reasons: list[str]) -> BadInput:
    why = f" ({one_line('; '.join(reasons[:3]), 200)})" if reasons else ""
    return BadInput(
        f":{recipe.precision} finds nothing to convert in {one_line(model.path.name, 80)!r}: "
        f"its operators are {one_line(described(iter(model.proto.graph.node)), 200)}{why}",
        hint=f"name the backend without :{recipe.precision}",
    )
