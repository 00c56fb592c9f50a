"""Faults as deployments bring them, each at one tensor of the graph that a healthy runtime gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

Shape = tuple[int, ...]


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def _maker(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    return next(each for each in model.graph.node if tensor in each.output)


def weights_scaled(model: onnx.ModelProto, tensor: str, _: Shape) -> onnx.ModelProto | None:
    """The weights of one layer times 1.002; None where the operator has none of its own."""
    made = _copy(model)
    node = _maker(made, tensor)
    stored = {each.name: each for each in made.graph.initializer}
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    name = node.input[1]
    if name not in stored or sum(name in each.input for each in made.graph.node) != 1:
        return None
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

    def nodes(sound: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Mul", [sound, "fault"], ["fault_t"], name="fault_mul"),
            helper.make_node("Sub", ["fault_t", sound], ["fault_low"], name="fault_low"),
            helper.make_node("Sub", ["fault_t", "fault_low"], [tensor], name="fault_high"),
        ]

    return _followed(model, tensor, nodes, {"fault": np.float32(2**16 + 1)})


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
    made = _copy(model)
    node = _maker(made, tensor)
    if node.op_type != "Resize":
        return None
    mode = next((helper.get_attribute_value(each) for each in node.attribute if each.name == "mode"), b"nearest")
    del node.attribute[:]
    other = {"mode": "linear" if mode == b"nearest" else "nearest"}
    node.attribute.extend(
        helper.make_attribute(name, value)
        for name, value in {**other, "coordinate_transformation_mode": "asymmetric"}.items()
    )
    return made


Fault = Callable[[onnx.ModelProto, str, Shape], onnx.ModelProto | None]
FAULTS: Mapping[str, Fault] = {
    each.__name__: each
    for each in (
        weights_scaled, channel_shifted, border_lost, pixel_brighter, rounded_to_bfloat16, resize_otherwise
    )
}  # fmt: skip
