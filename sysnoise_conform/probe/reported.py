"""Differences that users reported to the makers of runtimes, or that were found when those were tried on others.

Each was seen on a runtime here before it came in; `reported` names the thread where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sysnoise_conform.probe.arrays import Array, f32, i32, i64
from sysnoise_conform.probe.case import Kind, ProbeCase, Trigger, case
from sysnoise_conform.probe.elementwise import REACHED
from sysnoise_conform.probe.indexing import negative_indices
from sysnoise_conform.probe.node import Node
from sysnoise_conform.probe.rounding import rounded

_NAN, _INF = np.nan, np.inf
_WIDE = "where a value is beyond 32 bits"
_LARGE = i64([-(2**40), 2**40, -5, 0, 2**62])
_HANDFUL = "a handful of roundings"


def _axes_as_attribute(node: Node) -> bool:
    return bool(node.attributes.get("axes"))


def _reductions() -> list[ProbeCase]:
    """Before opset 18 (ReduceSum: 13) the axes are an attribute, and nothing else says which."""
    x = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4) / 8
    wide = x.astype(np.float64)

    def one(op: str, y: Array) -> ProbeCase:
        return case(f"{op.lower()}-attribute", op, "axes as an attribute, opset 13", Kind.BUG, "over these axes alone",
                    {"x": x}, rounded(y, 16, _HANDFUL, scale=1.0), attributes={"axes": [1], "keepdims": 1}, opset=13,
                    trigger=Trigger(also=_axes_as_attribute), reported="openvinotoolkit/openvino#38238")  # fmt: skip

    return [
        one("ReduceL1", wide.sum(1, keepdims=True)),
        one("ReduceL2", np.sqrt((wide**2).sum(1, keepdims=True))),
        one("ReduceSumSquare", (wide**2).sum(1, keepdims=True)),
        one("ReduceLogSum", np.log(wide.sum(1, keepdims=True))),
        one("ReduceLogSumExp", np.log(np.exp(wide).sum(1, keepdims=True))),
        case("reducesum-nothing", "ReduceSum", "noop_with_empty_axes=1, no axes", Kind.BUG, "the input as it is",
             {"x": x, "axes": np.zeros(0, np.int64)}, x, constants=("axes",), attributes={"noop_with_empty_axes": 1},
             opset=13, trigger=Trigger(attributes=("noop_with_empty_axes",), also=_no_axes)),
    ]  # fmt: skip


def _no_axes(node: Node) -> bool:
    axes = node.constant(1)
    return axes is not None and not axes.size


def _integers() -> list[ProbeCase]:
    """Whole numbers that a runtime may hold in fewer bits than their type has."""

    def one(name: str, op: str, about: str, inputs: Mapping[str, Array], y: Array, when: str = _WIDE,
            reported: str = "", constants: tuple[str, ...] = (), **attributes: Any) -> ProbeCase:  # fmt: skip
        return case(name, op, about, Kind.BUG, "the type's bits hold it", inputs, y, opset=13, attributes=attributes,
                    constants=constants, trigger=Trigger(attributes=tuple(attributes), same_type=True), when=when,
                    reported=reported)  # fmt: skip

    unary = "openvinotoolkit/openvino#35890"
    dividend = i64([3, 1234567890, 999999999, 1999999993, 1500000001])
    return [
        one("abs-int64", "Abs", "int64, beyond 32 bits", {"x": _LARGE}, np.abs(_LARGE), reported=unary),
        one("neg-int64", "Neg", "int64, beyond 32 bits", {"x": _LARGE}, -_LARGE, reported=unary),
        one("sign-int64", "Sign", "int64, beyond 32 bits", {"x": _LARGE}, np.sign(_LARGE), reported=unary),
        one("mod-int64", "Mod", "int64, fmod=0, beyond 24 bits", {"a": dividend, "b": i64([13] * 5)}, dividend % 13,
            "where a value is beyond 24 bits", "openvinotoolkit/openvino#35829", fmod=0),
        one("pow-int64", "Pow", "int64, beyond 24 bits", {"a": i64([13, 17, 19, 23]), "b": i64([8, 7, 7, 6])},
            i64([13**8, 17**7, 19**7, 23**6]), "where a result is beyond 24 bits", "openvinotoolkit/openvino#35838"),
        one("mul-int64", "Mul", "int64, beyond 32 bits", {"a": i64([2**20, 3]), "b": i64([2**20, 5])},
            i64([2**40, 15]), "where a result is beyond 32 bits"),
        one("equal-int32", "Equal", "int32, beyond 24 bits", {"a": i32([2**24 + 1, 5]), "b": i32([2**24, 5])},
            np.array([False, True]), "where two values beyond 24 bits are neighbours"),
        one("equal-int64", "Equal", "int64, equal in the lower 32 bits", {"a": i64([2**32 + 1, 7]), "b": i64([1, 7])},
            np.array([False, True])),
        one("gather-int64", "Gather", "of int64, beyond 32 bits", {"x": _LARGE, "i": i64([1, 4, 2])},
            _LARGE[[1, 4, 2]], constants=("i",)),
        case("cast-bool-fractions", "Cast", "float32 to bool, of fractions", Kind.BUG, "only zeros are false",
             {"x": f32([0.25, 0, -0.0, -0.5, 3])}, np.array([True, False, False, True, True]), attributes={"to": 9},
             opset=13, trigger=Trigger(attributes=("to",), same_type=True), when="where a value lies between -1 and 1"),
    ]  # fmt: skip


def _special() -> list[ProbeCase]:
    """NaN, and values so large that an approximation of the exponential leaves its range."""

    def nan(op: str, formula: Callable[[Array], Array], reported: str = "") -> ProbeCase:
        x = f32([_NAN, 1, 0, -2])
        return case(f"{op.lower()}-nan", op, "of a NaN", Kind.BUG, "a NaN stays one: else what went wrong is hidden",
                    {"x": x}, rounded(formula(x.astype(np.float64)), 48, _HANDFUL, scale=1.0), opset=13,
                    trigger=Trigger(), when=REACHED, reported=reported)  # fmt: skip

    def far(name: str, op: str, x: list[float], y: list[float], reported: str = "") -> ProbeCase:
        return case(f"{name}-far", op, "of huge numbers", Kind.BUG, "its limit", {"x": f32(x)},
                    rounded(np.array(y, np.float64), 8, _HANDFUL, scale=1.0), opset=13, trigger=Trigger(),
                    when="where a value is huge", reported=reported)  # fmt: skip

    return [
        nan("Exp", np.exp),
        nan("Sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        nan("Tanh", np.tanh),
        nan("HardSigmoid", lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
        nan("LeakyRelu", lambda x: np.where(x < 0, 0.01 * x, x)),
        case("reducemin-nan", "ReduceMin", "of a NaN", Kind.BUG, "a NaN stays one",
             {"x": f32([[1, _NAN, -1, 3]]), "axes": i64([1])}, f32([[_NAN]]), constants=("axes",), opset=18,
             trigger=Trigger(), when=REACHED, reported="tensorflow/tensorflow#118389"),
        case("globalmaxpool-nan", "GlobalMaxPool", "of a NaN", Kind.OPEN, "PyTorch answers NaN",
             {"x": f32([[[[1, _NAN], [2, 3]]]])}, f32([[[[_NAN]]]]), trigger=Trigger(), when=REACHED),
        far("sigmoid", "Sigmoid", [5e29, -5e29, 1e4, -1e4], [1, 0, 1, 0], "tensorflow/tensorflow#119354"),
        far("softplus", "Softplus", [1e4, -1e4, 500], [1e4, 0, 500]),
        far("exp", "Exp", [5e29, -5e29, 1e4, -1e4], [_INF, 0, _INF, 0]),
    ]  # fmt: skip


def _indices() -> list[ProbeCase]:
    row, image = np.arange(4, dtype=np.float32), np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
    from_end = Trigger(also=negative_indices)
    return [
        case("gathernd-negative", "GatherND", "negative indices", Kind.BUG, "they count from the end",
             {"x": image[0], "i": i64([[-1, 0], [0, -1]])}, image[0][[-1, 0], [0, -1]], constants=("i",), opset=13,
             trigger=from_end),
        case("scatterelements-negative", "ScatterElements", "negative indices", Kind.BUG, "they count from the end",
             {"x": row, "i": i64([-1]), "u": f32([9])}, f32([0, 1, 2, 9]), constants=("i",), opset=18,
             attributes={"axis": 0}, trigger=from_end),
        case("scatternd-add", "ScatterND", "reduction=add, an index twice", Kind.BUG, "both are added",
             {"x": row, "i": i64([[1], [1]]), "u": f32([10, 20])}, f32([0, 31, 2, 3]), constants=("i",),
             attributes={"reduction": "add"}, opset=16, trigger=Trigger(attributes=("reduction",))),
        case("pad-negative", "Pad", "negative pads", Kind.BUG, "they cut off",
             {"x": image[0], "pads": i64([-1, 0, 0, -1])}, image[0][1:, :-1].copy(),
             constants=("pads",), opset=13, trigger=from_end),
        case("resize-axes", "Resize", "nearest, axes=-2,-1", Kind.BUG, "these axes alone, counted from the end",
             {"x": image[None, :, :2, :2], "roi": None, "scales": f32([2, 2])},
             image[None, :, :2, :2].repeat(2, 2).repeat(2, 3), constants=("scales",), opset=18,
             attributes={"mode": "nearest", "axes": [-2, -1], "coordinate_transformation_mode": "asymmetric",
                         "nearest_mode": "floor"},
             trigger=Trigger(also=_axes_as_attribute), reported="microsoft/onnxruntime#28788"),
        case("sum-broadcast", "Sum", "of three shapes", Kind.BUG, "as numpy broadcasts",
             {"a": f32([1, 2]), "b": f32([[1], [2]]), "c": f32([10])}, f32([[12, 13], [13, 14]]), opset=13,
             trigger=Trigger(also=lambda node: None not in node.shapes and len(set(node.shapes)) > 1)),
        case("einsum-diagonal", "Einsum", "ii->i", Kind.BUG, "what lies on the diagonal", {"x": image[0][:, :3].copy()},
             np.diagonal(image[0][:, :3]).copy(), attributes={"equation": "ii->i"}, opset=12,
             trigger=Trigger(also=_repeats_an_index)),
    ]  # fmt: skip


def _repeats_an_index(node: Node) -> bool:
    terms = str(node.attributes.get("equation", "")).partition("->")[0].replace(" ", "").replace("...", "").split(",")
    return any(len(set(term)) < len(term) for term in terms)


def cases() -> tuple[ProbeCase, ...]:
    """All of them."""
    with np.errstate(all="ignore"):
        return (*_reductions(), *_integers(), *_special(), *_indices())
