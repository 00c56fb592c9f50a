"""What a run will do, decided before anything is started: one cell per variant, graphs shared between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from onnx.helper import make_tensor_value_info, tensor_dtype_to_np_dtype

from sysnoise_conform import registry
from sysnoise_conform.case import Case
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.graph.tap import observable
from sysnoise_conform.graph.walk import reads
from sysnoise_conform.outcome import NotApplicable, Outcome, Unobservable, Unsupported
from sysnoise_conform.precision.recipe import PRECISIONS, refuse_idle
from sysnoise_conform.report.folder import log_stem
from sysnoise_conform.runner.target import Target, target_of
from sysnoise_conform.variant import Variant

# All inner tensors of one chunk are alive at once in the runtime and in the arena.
TAP_BUDGET_BYTES = 1 << 30

# Shapes, axes and sizes are short vectors; what is longer is weights.
MOST_SHAPE_ELEMENTS = 1024

FLOAT_TYPES = {
    number for name, number in onnx.TensorProto.DataType.items() if "FLOAT" in name or name == "DOUBLE"
}

# Operators that runtimes fuse into the one before them, in integers, too.
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Elu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One variant to run, or the outcome that is known without running it."""

    variant: Variant
    place: str  # the stem of its log files
    known: Outcome | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The cells, and which inner tensors every cell is asked for."""

    target: Target
    cells: tuple[Cell, ...]
    taps: tuple[tuple[str, ...], ...]  # golden names, in chunks that fit the budget together
    unobservable: tuple[Unobservable, ...]
    aside: frozenset[str] = frozenset()  # of a quantised graph: what stands between integers, and is no layer of it


def check_variants(case: Case) -> None:
    """Names, devices and options of all variants, before any file is opened. Raises UsageError."""
    for variant in case.variants:
        registry.check(variant)
    refuse_idle(case.variants, calibration=case.calibration is not None, keep_fp32=bool(case.keep_fp32))


def known_outcome(variant: Variant, target: Target, model: Model) -> Outcome | None:
    """What can be said of a variant without running it."""
    capabilities = registry.load(variant.backend).capabilities
    if target.format not in capabilities.formats:
        return NotApplicable(why=f"{variant.backend} does not run .{target.format} files")
    if variant.precision in PRECISIONS:
        if target.model is model:
            return None
        return NotApplicable(why=f"the file given with --deployed runs as it is: leave :{variant.precision} out")
    if variant.precision == "tf32" and capabilities.tf32:
        return None
    if variant.precision == "tf32" or (variant.precision == "fp32" and not is_plain_float32(model)):
        return Unsupported(
            stage="plan",
            why=f"this version does not rewrite graphs to {variant.precision}; "
            "convert the model yourself and give it with --deployed",
        )
    return None


def is_plain_float32(model: Model) -> bool:
    """Whether `:fp32` is what the model is already: no other float type, nothing quantised."""
    kinds = {each.elem_type for each in model.layers} | {each.data_type for each in model.proto.graph.initializer}
    quantised = any(each.op_type == "DequantizeLinear" for each in model.layers)
    return not quantised and not kinds & (FLOAT_TYPES - {onnx.TensorProto.FLOAT})


def places(variants: Sequence[Variant]) -> list[str]:
    """A file name's stem for each variant: `openvino-auto`; numbered where two would be the same."""
    stems = [log_stem(str(each)) for each in variants]
    return [
        stem if stems.count(stem) == 1 else f"{stem}-{stems[: index + 1].count(stem)}"
        for index, stem in enumerate(stems)
    ]


def _sizes(model: Model, feed: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Bytes of the inner tensors whose shape ONNX's own inference finds from the shapes of `feed`."""
    bare = onnx.ModelProto(ir_version=model.proto.ir_version)
    bare.opset_import.extend(model.proto.opset_import)
    bare.graph.node.extend(model.proto.graph.node)
    bare.graph.output.extend(model.proto.graph.output)
    for port in model.inputs:
        if port.name in feed:
            bare.graph.input.append(make_tensor_value_info(port.name, port.elem_type, feed[port.name].shape))
    for weight in model.proto.graph.initializer:
        if prod(weight.dims) <= MOST_SHAPE_ELEMENTS:
            bare.graph.initializer.append(weight)
        else:  # no shape hangs on its values
            bare.graph.input.append(make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    try:
        found = onnx.shape_inference.infer_shapes(bare, data_prop=True)
    except Exception:  # inference is a convenience here: without it everything is one chunk
        return {}
    sizes = {}
    for info in found.graph.value_info:
        kind = info.type.tensor_type
        if kind.elem_type and all(each.HasField("dim_value") for each in kind.shape.dim):
            width = np.dtype(tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
            sizes[info.name] = prod(each.dim_value for each in kind.shape.dim) * width
    return sizes


def chunks(names: Sequence[str], sizes: Mapping[str, int], budget: int) -> tuple[tuple[str, ...], ...]:
    """`names` in graph order, cut where the sum of `sizes` would exceed `budget` bytes."""
    parts: list[list[str]] = []
    room = 0
    for name in names:
        size = sizes.get(name, 0)
        if not parts or size > room:
            parts.append([])
            room = budget
        parts[-1].append(name)
        room -= size
    return tuple(tuple(each) for each in parts)


def make_plan(case: Case, model: Model, feed: Mapping[str, np.ndarray]) -> Plan:
    """The plan of a run; `feed` is one sample, for the sizes of the inner tensors."""
    target = target_of(case, model, feed)
    cells = tuple(
        Cell(variant=each, place=place, known=known_outcome(each, target, model))
        for each, place in zip(case.variants, places(case.variants), strict=True)
    )
    if not case.layers:
        why = "outputs only, as asked by --no-layers"
        return Plan(
            target=target, cells=cells, taps=(),
            unobservable=tuple(Unobservable(tensor=each.tensor, why=why) for each in model.layers),
        )
    names, hidden = observable(model)
    if target.model is not None and target.model is not model:
        there = {each.tensor for each in target.model.layers}
        hidden += [
            Unobservable(tensor=each, why="the deployed file has no tensor of this name")
            for each in names
            if target.name(each) not in there
        ]
        names = [each for each in names if target.name(each) in there]
    taps = chunks(names, _sizes(model, feed), TAP_BUDGET_BYTES)
    return Plan(target=target, cells=cells, taps=taps, unobservable=tuple(hidden))


def converted_plan(plan: Plan, model: Model, codes: Mapping[str, str], feed: Mapping[str, np.ndarray]) -> Plan:
    """The plan for a converted graph: `plan`'s, with that graph as its target and tensors of its own to watch.

    `codes` maps quantised tensors to those of their integers, which are watched in their place: a runtime that has to
    show a number between a DequantizeLinear and a QuantizeLinear can't compute it in integers.
    """
    target = Target(path=model.path, format="onnx", model=model)
    aside = between_integers(model) if codes else frozenset[str]()
    if not plan.taps:
        why = plan.unobservable[0].why if plan.unobservable else "no layer is watched"
        hidden = tuple(Unobservable(tensor=each.tensor, why=why) for each in model.layers if each.tensor not in aside)
        return Plan(target=target, cells=plan.cells, taps=(), unobservable=hidden, aside=aside)
    names, unseen = observable(model)
    taps = chunks([each for each in names if each not in aside], _sizes(model, feed), TAP_BUDGET_BYTES)
    return Plan(target=target, cells=plan.cells, taps=taps, unobservable=tuple(unseen), aside=aside)


def between_integers(model: Model) -> frozenset[str]:
    """Tensors of a quantised graph that no runtime has that computes in integers: dequantised, or not yet quantised."""
    nodes = model.proto.graph.node
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in reads(node):
            readers.setdefault(name, []).append(node)
    ends = {each.name for each in model.outputs}
    found: set[str] = set()
    for node in reversed(nodes):
        for name in node.output:
            after = readers.get(name, [])
            quantised = len(after) == 1 and (
                after[0].op_type == "QuantizeLinear"
                or (after[0].op_type in ACTIVATIONS and after[0].output[0] in found)
            )
            if name not in ends and (quantised or node.op_type == "DequantizeLinear"):
                found.add(name)
    return frozenset(found)
