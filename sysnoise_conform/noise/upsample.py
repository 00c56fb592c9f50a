"""How a graph enlarges its maps: the mode of every Resize, the rule of its coordinates, the rounding of nearest."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto

from sysnoise_conform.graph.interpolation import (
    Axis as ResizedAxis,
)
from sysnoise_conform.graph.interpolation import (
    Floats,
    Style,
    filter_weights,
    nearest_indices,
    source_coordinates,
)
from sysnoise_conform.graph.measured import Measured
from sysnoise_conform.graph.rewrite import (
    Attribute,
    NoOp,
    NotApplicable,
    Rewrite,
    Rewritten,
    integer,
    integers,
    name_of,
    nodes,
    opset,
    real,
    text,
)
from sysnoise_conform.graph.types import element_type, infer
from sysnoise_conform.noise.axis import Axis, Level, identity

_SOURCE = "ONNX Resize"
_MODES = ("nearest", "linear", "cubic")
_COORDINATES = {
    "asymmetric": "Caffe, and PyTorch's nearest",
    "half_pixel": "OpenCV, TensorFlow 2, PyTorch's bilinear",
    "pytorch_half_pixel": "PyTorch's bilinear, to one pixel too",
    "align_corners": "align_corners=True of PyTorch and TensorFlow 1",
    "half_pixel_symmetric": "OpenVINO; opset 19",
    "tf_half_pixel_for_nn": "TensorFlow 1 with half_pixel_centers; before opset 13",
}
_ROUNDINGS = ("floor", "round_prefer_floor", "round_prefer_ceil", "ceil")
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)


def _levels() -> dict[str, tuple[Level, dict[str, str]]]:
    """By name: the level, and the attributes that it sets."""
    found = {}
    for mode in _MODES:
        about = f"{mode}, coordinates and roundings as they are"
        found[mode] = (Level(name=mode, about=about, imitates="SysNoise 3.2" if mode != "cubic" else "",
                             source=f"{_SOURCE} mode"), {"mode": mode})  # fmt: skip
    for mode in _MODES:
        for rule, who in _COORDINATES.items():
            if rule == "tf_half_pixel_for_nn" and mode != "nearest":
                continue
            for rounding in _ROUNDINGS if mode == "nearest" else ("",):
                name = "-".join(each for each in (mode, rule, rounding) if each)
                attributes = {"mode": mode, "coordinate_transformation_mode": rule}
                if rounding:
                    attributes["nearest_mode"] = rounding
                about = f"{mode}, coordinates {rule}" + (f", nearest_mode {rounding}" if rounding else "")
                found[name] = (Level(name=name, about=about, imitates=who, source=_SOURCE), attributes)
    return found


_LEVELS = _levels()
AXIS = Axis(
    name="upsample",
    stage="graph",
    about="how maps are enlarged in the network",
    paper=True,
    levels=(identity("as the graph says"), *(level for level, _ in _LEVELS.values())),
)


def rewrite(proto: onnx.ModelProto, axis: str, level: str, measured: Measured) -> Rewrite:
    """Every Resize and Upsample at a level; those that compute the same afterwards are left as they are.

    What nodes compute is compared by applying them to random vectors of the real sizes, axis by axis: the ONNX text has
    many names for one thing (asymmetric + floor is half_pixel + round_prefer_floor where the size is doubled).
    """
    del axis
    found = list(nodes(proto, "Resize", "Upsample"))
    if not found:
        return NoOp(why="the graph has no Resize and no Upsample", always=True)
    version = opset(proto)
    types = infer(proto.graph, {each.domain: each.version for each in proto.opset_import})
    wanted = _LEVELS[level][1]
    edits: dict[int, dict[str, Attribute]] = {}
    changed: list[str] = []
    effects: list[np.ndarray] = []
    for at, node in found:
        own = _style(node, version)
        if own.coordinates == "tf_crop_and_resize":
            return NotApplicable(node=name_of(node), why="it crops while it resizes, and the other rules do not crop")
        other = _style(node, version, wanted)
        axes = _axes(node, measured)
        before, after = _effect(axes, own), _effect(axes, other)
        effects.append(after)
        if np.allclose(before, after, rtol=0.0, atol=1e-5):
            continue
        why = _impossible(version, own, other)
        elem_type = element_type(types.get(node.input[0], ""))
        if not why and other.mode != "nearest" and elem_type and elem_type not in _FLOATS:
            why = f"it resizes {onnx.TensorProto.DataType.Name(elem_type)}, of which {other.mode} takes no means"
        if why:
            return NotApplicable(node=name_of(node), why=why)
        edits[at] = {**wanted, **({"antialias": None} if other.mode == "nearest" else {})}
        if version < 11:
            edits[at] = {"mode": other.mode}
        changed.append(name_of(node))
    if edits:
        return Rewritten(edits=edits, changed=tuple(changed), effect=np.concatenate(effects))
    return NoOp(why="on these sizes every Resize takes the same elements with the same weights")


def _impossible(version: int, own: Style, other: Style) -> str:
    """Why an opset has no way to say a style; "" where it has."""
    if version < 11 and (other.coordinates != "asymmetric" or other.mode == "cubic" or other.nearest != own.nearest):
        return f"opset {version} has neither other coordinates than asymmetric nor cubic; export with 11 or later"
    if version < 19 and other.coordinates == "half_pixel_symmetric":
        return f"opset {version} has no half_pixel_symmetric; export with 19 or later"
    if version >= 13 and other.coordinates == "tf_half_pixel_for_nn":
        return f"opset {version} no longer has tf_half_pixel_for_nn"
    return ""


def _style(node: NodeProto, version: int, changes: dict[str, str] | None = None) -> Style:
    mode = text(node, "mode", "nearest")
    old = version < 11  # coordinates are x / scale, nearest is the element below
    given: dict[str, Any] = {
        "mode": {"bilinear": "linear"}.get(mode, mode),
        "coordinate_transformation_mode": "asymmetric" if old else text(
            node, "coordinate_transformation_mode", "half_pixel"
        ),
        "nearest_mode": "floor" if old else text(node, "nearest_mode", "round_prefer_floor"),
    }  # fmt: skip
    given |= changes or {}
    return Style(
        mode=given["mode"],
        coordinates=given["coordinate_transformation_mode"],
        nearest=given["nearest_mode"],
        cubic_a=real(node, "cubic_coeff_a", -0.75),
        exclude_outside=bool(integer(node, "exclude_outside", 0)),
        antialias=bool(integer(node, "antialias", 0)) and given["mode"] != "nearest",
    )


def _axes(node: NodeProto, measured: Measured) -> list[ResizedAxis]:
    """The axes that change, with the scale as it was given: a float32, or a ratio of sizes."""
    shape, target = measured.shapes[node.input[0]], measured.shapes[node.output[0]]
    chosen = [each % len(shape) for each in integers(node, "axes", range(len(shape)))]
    scales, sizes = _steering(node, measured)
    ratios: list[Fraction | np.float32]
    if len(sizes):
        ratios = [Fraction(int(size), shape[axis]) for size, axis in zip(sizes, chosen, strict=True)]
        match text(node, "keep_aspect_ratio_policy", "stretch"):
            case "not_larger":
                ratios = [min(ratios)] * len(ratios)
            case "not_smaller":
                ratios = [max(ratios)] * len(ratios)
            case _:
                pass
    else:
        ratios = [np.float32(each) for each in scales]
    return [
        ResizedAxis(size=shape[axis], target=target[axis], scale=ratio)
        for axis, ratio in zip(chosen, ratios, strict=True)
        if shape[axis] != target[axis] or ratio != 1
    ]


def _steering(node: NodeProto, measured: Measured) -> tuple[np.ndarray, np.ndarray]:
    """(scales, sizes) of a node, one of them empty."""
    none: np.ndarray = np.zeros(0, np.float32)
    if node.op_type == "Upsample" or len(node.input) == 2:
        if len(node.input) < 2:  # opset 7 and 8
            found = next((each.floats for each in node.attribute if each.name == "scales"), ())
            return np.array(found, np.float32), none
        return measured.values[node.input[1]].reshape(-1), none
    scales = measured.values.get(node.input[2], none).reshape(-1)
    sizes = measured.values.get(node.input[3], none).reshape(-1) if len(node.input) > 3 else none
    return scales, sizes


def _effect(axes: list[ResizedAxis], style: Style) -> np.ndarray:
    """What a style makes of two random vectors along each axis."""
    random = np.random.default_rng(0)
    found = []
    for axis in axes:
        vectors = random.random((2, axis.size))
        # As in the golden: a choice between neighbours is made in the type of the scale.
        decisive = np.float64 if isinstance(axis.scale, Fraction) else np.float32
        coordinates: Floats = source_coordinates(axis, style.coordinates, decisive)
        if style.mode == "nearest":
            index = np.clip(nearest_indices(coordinates, style.nearest), 0, axis.size - 1)
            found.append(vectors[:, index])
        else:
            exact = source_coordinates(axis, style.coordinates, np.float64)
            indices, weights = filter_weights(axis, style, exact)
            found.append((vectors[:, indices] * weights).sum(axis=-1))
    return np.concatenate([each.reshape(-1) for each in found]) if found else np.zeros(1)
