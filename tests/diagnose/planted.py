"""Faults as deployments bring them, each at one tensor of the graph that a healthy runtime gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

Shape = tuple[int, ...]

DOT_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
POOLS = ("MaxPool", "AveragePool")


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def _maker(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    return next(each for each in model.graph.node if tensor in each.output)


def _own_weights(model: onnx.ModelProto, node: onnx.NodeProto) -> str | None:
    """The weights of a dot product that no other operator reads."""
    if node.op_type not in DOT_PRODUCTS or len(node.input) < 2:
        return None
    name = node.input[1]
    stored = any(each.name == name and each.data_type == onnx.TensorProto.FLOAT for each in model.graph.initializer)
    return name if stored and sum(name in each.input for each in model.graph.node) == 1 else None


def weights_scaled(model: onnx.ModelProto, tensor: str, _: Shape) -> onnx.ModelProto | None:
    """The weights of one layer times 1.002; None where the operator has none of its own."""
    name = _own_weights(model, _maker(model, tensor))
    if name is None:
        return None
    made = _copy(model)
    stored = {each.name: each for each in made.graph.initializer}
    values = numpy_helper.to_array(stored[name]) * np.float32(1.002)
    stored[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    return made


def _followed(
    model: onnx.ModelProto, tensor: str, nodes: Callable[[str], list[onnx.NodeProto]],
    constants: Mapping[str, np.ndarray],
) -> onnx.ModelProto:  # fmt: skip
    """The model with nodes behind what makes `tensor`, which the last of them makes now."""
    made = _copy(model)
    sound = f"{tensor}_sound"
    at = next(place for place, each in enumerate(made.graph.node) if tensor in each.output)
    maker = made.graph.node[at]
    maker.output[list(maker.output).index(tensor)] = sound
    after = list(made.graph.node)[at + 1 :]
    before = list(made.graph.node)[: at + 1]
    ordered = [*before, *nodes(sound), *after]
    copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in ordered]
    del made.graph.node[:]
    made.graph.node.extend(copies)
    made.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return made


def channel_shifted(model: onnx.ModelProto, tensor: str, shape: Shape) -> onnx.ModelProto:
    """One channel's bias + 0.005."""
    shift = np.zeros((1, shape[1], *[1] * (len(shape) - 2)) if len(shape) > 2 else (1, shape[-1]), np.float32)
    shift.reshape(-1)[shift.size // 2] = 0.005
    return _followed(
        model, tensor, lambda sound: [helper.make_node("Add", [sound, "fault"], [tensor], name="fault_add")],
        {"fault": shift},
    )  # fmt: skip


def _masked(model: onnx.ModelProto, tensor: str, mask: np.ndarray) -> onnx.ModelProto:
    return _followed(
        model, tensor, lambda sound: [helper.make_node("Mul", [sound, "fault"], [tensor], name="fault_mul")],
        {"fault": mask.astype(np.float32)},
    )  # fmt: skip


def border_lost(model: onnx.ModelProto, tensor: str, shape: Shape) -> onnx.ModelProto:
    """The last column is zero."""
    mask = np.ones(shape)
    mask[..., -1] = 0
    return _masked(model, tensor, mask)


def pixel_brighter(model: onnx.ModelProto, tensor: str, shape: Shape) -> onnx.ModelProto:
    """One pixel, in all channels, is 10 % more."""
    mask = np.ones(shape)
    mask[..., shape[-2] // 2 if len(shape) > 1 else 0, shape[-1] // 2] = 1.1
    return _masked(model, tensor, mask)


def rounded_to_bfloat16(model: onnx.ModelProto, tensor: str, _: Shape) -> onnx.ModelProto:
    """The output keeps 8 bits of its mantissa: Dekker's splitting, t - (t - x) with t = (2**16 + 1) * x."""
    return _split(model, tensor, 2**16 + 1)


def _split(model: onnx.ModelProto, tensor: str, by: float) -> onnx.ModelProto:

    def nodes(sound: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Mul", [sound, "fault"], ["fault_t"], name="fault_mul"),
            helper.make_node("Sub", ["fault_t", sound], ["fault_low"], name="fault_low"),
            helper.make_node("Sub", ["fault_t", "fault_low"], [tensor], name="fault_high"),
        ]

    return _followed(model, tensor, nodes, {"fault": np.float32(by)})


def operands_in_bfloat16(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """One dot product multiplies bfloat16: its input and its weights keep 8 bits, its sums are float32's."""
    made = _copy(model)
    at = next(place for place, each in enumerate(made.graph.node) if tensor in each.output)
    node = made.graph.node[at]
    x = node.input[0]
    stored = {each.name: each for each in made.graph.initializer}
    weights = stored[node.input[1]]
    whole = numpy_helper.to_array(weights).view(np.uint32)
    kept = (whole + 0x7FFF + ((whole >> 16) & 1)) & np.uint32(0xFFFF0000)
    weights.CopyFrom(numpy_helper.from_array(kept.astype(np.uint32).view(np.float32), weights.name))
    node.input[0] = "narrow"
    before = [
        helper.make_node("Mul", [x, "split"], ["narrow_t"], name="narrow_mul"),
        helper.make_node("Sub", ["narrow_t", x], ["narrow_low"], name="narrow_low"),
        helper.make_node("Sub", ["narrow_t", "narrow_low"], ["narrow"], name="narrow_high"),
    ]
    nodes = list(made.graph.node)
    copies = [onnx.NodeProto.FromString(e.SerializeToString()) for e in [*nodes[:at], *before, *nodes[at:]]]
    del made.graph.node[:]
    made.graph.node.extend(copies)
    made.graph.initializer.append(numpy_helper.from_array(np.float32(2**16 + 1), "split"))
    return made


def resize_otherwise(model: onnx.ModelProto, tensor: str, _: Shape) -> onnx.ModelProto | None:
    """Resize by another rule than the model's; None where there is none."""
    if _maker(model, tensor).op_type != "Resize":
        return None
    made = _copy(model)
    node = _maker(made, tensor)
    mode = next((helper.get_attribute_value(each) for each in node.attribute if each.name == "mode"), b"nearest")
    del node.attribute[:]
    other = {"mode": "linear" if mode == b"nearest" else "nearest"}
    node.attribute.extend(
        helper.make_attribute(name, value)
        for name, value in {**other, "coordinate_transformation_mode": "asymmetric"}.items()
    )
    return made


def pool_in_ceil_mode(model: onnx.ModelProto, tensor: str, _: Shape) -> onnx.ModelProto | None:
    """A pool with the other rule of ceil_mode; None where there is none.

    Where its last window is a part of one, its output then has another size, and so has what is behind it.
    """
    if _maker(model, tensor).op_type not in POOLS:
        return None
    made = _copy(model)
    node = _maker(made, tensor)
    kept = [each for each in node.attribute if each.name != "ceil_mode"]
    ceil = any(each.name == "ceil_mode" and each.i for each in node.attribute)
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("ceil_mode", int(not ceil))])
    del made.graph.value_info[:]  # declared sizes
    return made


def nan_arriving(model: onnx.ModelProto, tensor: str, shapes: Mapping[str, Shape]) -> onnx.ModelProto | None:
    """The healthy model of `nan_swallowed`: one element of what the operator reads, and nobody else, is NaN."""
    made = _copy(model)
    at = next(place for place, each in enumerate(made.graph.node) if tensor in each.output)
    node = made.graph.node[at]
    place = next((place for place, name in enumerate(node.input) if shapes.get(name)), None)
    if place is None:
        return None
    mask = np.zeros(shapes[node.input[place]], np.float32)
    mask.reshape(-1)[mask.size // 2] = np.nan
    made.graph.initializer.append(numpy_helper.from_array(mask, "fault_nan"))
    arriving = helper.make_node("Add", [node.input[place], "fault_nan"], ["fault_arriving"], name="fault_arriving")
    node.input[place] = "fault_arriving"
    nodes = [onnx.NodeProto.FromString(e.SerializeToString()) for e in made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend([*nodes[:at], arriving, *nodes[at:]])
    return made


def nan_swallowed(model: onnx.ModelProto, tensor: str, _: Shape) -> onnx.ModelProto | None:
    """A NaN becomes a number: Where is right of it on all runtimes but TFLite, whose Max is wrong of it.

    It is not less than the largest number on any of them, while for OpenVINO that number is greater.
    """

    def nodes(sound: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Less", [sound, "fault_most"], ["fault_is"], name="fault_is"),
            helper.make_node("Where", ["fault_is", sound, "fault_zero"], ["fault_kept"], name="fault_where"),
            helper.make_node("Max", ["fault_kept", "fault_least"], [tensor], name="fault_max"),
        ]

    most = np.finfo(np.float32).max
    numbers = {"fault_most": most, "fault_zero": 0, "fault_least": -most}
    return _followed(model, tensor, nodes, {name: np.float32(each) for name, each in numbers.items()})


Fault = Callable[[onnx.ModelProto, str, Shape], onnx.ModelProto | None]
FAULTS: Mapping[str, Fault] = {
    each.__name__: each
    for each in (
        weights_scaled, channel_shifted, border_lost, pixel_brighter, rounded_to_bfloat16, resize_otherwise,
        pool_in_ceil_mode, nan_swallowed,
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Planted:
    """The graph that PyTorch computes, the one that the backend gets, and one that has the same fault in float64."""

    sound: onnx.ModelProto
    faulty: onnx.ModelProto
    exact: onnx.ModelProto


def fits(fault: str, model: onnx.ModelProto, tensor: str, shape: Shape) -> bool:
    """Whether a fault can be at a tensor, told without making it."""
    node = _maker(model, tensor)
    match fault:
        case "weights_scaled":
            return _own_weights(model, node) is not None
        case "resize_otherwise":
            return node.op_type == "Resize"
        case "pool_in_ceil_mode":
            return node.op_type in POOLS
        case "border_lost" | "pixel_brighter":
            return len(shape) > 1 and min(shape[-2:]) > 1
        case _:
            return len(shape) > 1 and max(shape) > 1


def plant(fault: str, model: onnx.ModelProto, tensor: str, shapes: Mapping[str, Shape]) -> Planted | None:
    """A fault at one tensor; None where it can't be there. `shapes` has every floating-point tensor and input."""
    sound = nan_arriving(model, tensor, shapes) if fault == "nan_swallowed" else model
    faulty = None if sound is None else FAULTS[fault](sound, tensor, shapes[tensor])
    if sound is None or faulty is None:
        return None
    # Of the 53 bits of a float64, t - (t - x) with t = 2**45 * x leaves 8; float32's factor would leave 36.
    exact = _split(model, tensor, 2**45) if fault == "rounded_to_bfloat16" else faulty
    return Planted(sound=sound, faulty=faulty, exact=exact)
