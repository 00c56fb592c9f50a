"""Normalisation and softmax: the text's formula against rounding, flattening, training mode, even windows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from onnx import helper

from sysnoise_conform.backend import Tensors
from sysnoise_conform.probe.arrays import Array, f32
from sysnoise_conform.probe.case import Kind, ProbeCase, Property, Trigger, Values, case
from sysnoise_conform.probe.node import Node
from sysnoise_conform.probe.rounding import U16, U32, rounded


def _normalised(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axes, keepdims=True)
    y: Array = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + epsilon)
    return y


def _within(x: Array, y: Array, axes: tuple[int, ...], epsilon: float, *, u: float = U32) -> Values:
    """What float32 allows: the mean is off by some roundings of the numbers, which the deviation then divides by.

    The difference of large numbers is exact, so the error of the mean is all there is; it is a systematic one.
    """
    wide = x.astype(np.float64)
    deviation = np.sqrt(wide.var(axes) + epsilon).min()
    amplified = float(np.abs(wide).max()) / float(deviation)
    return rounded(
        y, 8, f"the mean's rounding, which {amplified:.3g} times as large a number has", u=u,
        scale=amplified + float(np.abs(y).max()),
    )  # fmt: skip


def _instance(name: str, about: str, kind: Kind, x: Array, epsilon: float | None) -> ProbeCase:
    used, stored = epsilon if epsilon is not None else 1e-5, ("scale", "bias")
    y = _normalised(x, (2, 3), used)
    ones = np.ones(x.shape[1], np.float32)
    return case(
        f"instancenormalization-{name}", "InstanceNormalization", about, kind, "its formula",
        {"x": x, "scale": ones, "bias": 0 * ones}, _within(x, y, (2, 3), used), constants=stored,
        attributes={} if epsilon is None else {"epsilon": epsilon}, opset=6 if epsilon is None else 18,
        trigger=Trigger(attributes=("epsilon",)) if epsilon is None else None,
    )  # fmt: skip


def _layer(
    name: str, about: str, kind: Kind, why: str, x: Array, truth: Values | Array, *, axis: int = -1,
    trigger: Trigger | None = None, when: str = "",
) -> ProbeCase:  # fmt: skip
    ones = np.ones(x.shape[axis:], x.dtype)
    return case(
        f"layernormalization-{name}", "LayerNormalization", about, kind, why,
        {"x": x, "scale": ones, "bias": np.zeros_like(ones)}, truth, constants=("scale", "bias"),
        attributes={"axis": axis}, opset=17, trigger=trigger, when=when,
        dtypes={"y": x.dtype},
    )  # fmt: skip


def _lrn(x: Array, size: int, alpha: float, beta: float, bias: float) -> Array:
    wide = x.astype(np.float64)
    y = np.empty_like(wide)
    channels = x.shape[1]
    for c in range(channels):
        low, high = max(0, c - (size - 1) // 2), min(channels - 1, c + math.ceil((size - 1) / 2))
        sums = (wide[:, low : high + 1] ** 2).sum(1)
        y[:, c] = wide[:, c] / (bias + alpha / size * sums) ** beta
    return y


def _softmax(x: Array, axes: tuple[int, ...]) -> Array:
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max(axes, keepdims=True))
    y: Array = powers / powers.sum(axes, keepdims=True)
    return y


def _flattens_more(node: Node) -> bool:
    """Before opset 13, softmax flattens all axes from `axis` on: it is another one unless that is the last."""
    return node.opset < 13 and not _along_the_last(node, 1)


def _training(
    name: str, about: str, why: str, x: Array, kind: Kind, constants: dict[str, Array], trigger: Trigger
) -> ProbeCase:
    """BatchNormalization with training_mode=1: the batch's own statistics, the same at every run."""
    y = _normalised(x, (0, 2, 3), 1e-5)
    channels = np.arange(x.shape[1]).reshape(1, -1, 1, 1)
    y = y * constants["scale"][channels] + constants["bias"][channels]
    return case(
        f"batchnormalization-{name}", "BatchNormalization", about, kind, why, {"x": x, **constants},
        Values(arrays={"y": y}, allowed=_within(x, y, (0, 2, 3), 1e-5).allowed, why="the mean's rounding"),
        constants=tuple(constants), attributes={"training_mode": 1},
        unused=("mean_after", "var_after"), opset=15,
        trigger=trigger,
    )  # fmt: skip


def _dropout(x: Array) -> ProbeCase:
    """At inference; a node before it, since some runtimes leave nothing of a graph that is Identity alone."""
    alone = case("dropout", "Dropout", "inference", Kind.CONTROL, "Identity", {"x": x}, -x, opset=13, trigger=Trigger())
    nodes = (helper.make_node("Neg", ["x"], ["h"]), helper.make_node("Dropout", ["h"], ["y"], name="node"))
    return replace(alone, nodes=nodes)


def _dropped(x: Array) -> Property:
    def check(outputs: Tensors) -> str:
        y = outputs["y"]
        if y.shape != x.shape or not np.isin(y, (0, 1)).size:
            return f"shape {list(y.shape)} in place of {list(x.shape)}"
        fits = np.isclose(y, 2 * x, rtol=1e-6, atol=0) | (y == 0)
        return "" if fits.all() else f"{int((~fits).sum())} elements are neither 0 nor twice the input's"

    return Property(check=check, about="each element is 0 or twice the input's")


def cases() -> tuple[ProbeCase, ...]:
    """All of them."""
    rng = np.random.default_rng(26)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape)

    faint = (5 + 1e-3 * normal(1, 4, 120, 120)).astype(np.float32)
    far = (1e4 + normal(4, 256)).astype(np.float32)
    batch = (1 + 2 * normal(4, 3, 5, 5)).astype(np.float32)
    channels = (10 * np.abs(normal(1, 8, 3, 3))).astype(np.float32)
    block = normal(2, 3, 4, 5).astype(np.float32)
    halves = (300 * normal(2, 256)).astype(np.float16)
    flat, handful = _softmax(block, (1, 2, 3)), "exponentials, a sum and a quotient"
    one = {"scale": np.ones(3, np.float32), "bias": np.zeros(3, np.float32)}
    same = {**one, "mean": np.zeros(3, np.float32), "var": np.ones(3, np.float32)}
    apart = {
        "scale": f32([1, 2, 3]), "bias": f32([0.5, 1.5, -1]), "mean": f32([0.25, -0.25, 0.125]),
        "var": f32([4, 5, 6]),
    }  # fmt: skip
    rows = f32([[1e4, 1e4 - 1, -1e4], [-np.inf, 0, 1], [-np.inf, -np.inf, -np.inf]])
    with np.errstate(all="ignore"):
        specials = _softmax(rows, (1,))
    training = Trigger(attributes=("training_mode",))
    even = Trigger(also=lambda node: node.attributes.get("size", 1) % 2 == 0)
    inference = (batch.astype(np.float64) - 0.25) / math.sqrt(4 + 1e-3)
    per_channel = {
        "scale": np.ones(3, np.float32), "bias": np.zeros(3, np.float32), "mean": np.full(3, 0.25, np.float32),
        "var": np.full(3, 4, np.float32),
    }  # fmt: skip
    return (
        _instance("faint", "epsilon=1e-12, deviation 1e-3 around 5", Kind.PRECISION, faint, 1e-12),
        _instance("default", "the default epsilon", Kind.CONTROL, normal(1, 4, 9, 9).astype(np.float32), None),
        _layer("far", "deviation 1 around 1e4", Kind.PRECISION, "its formula", far,
               _within(far, _normalised(far, (1,), 1e-5), (1,), 1e-5)),
        _layer("constant", "of a constant", Kind.FIXED, "zero, no NaN", np.full((1, 256), 1234, np.float32),
               Values(arrays={"y": np.zeros((1, 256))}, allowed=0.4,
                      why="the mean's rounding, an ulp of 1234, over sqrt(epsilon)"), trigger=Trigger(),
               when="where all numbers are equal"),
        _layer("axis", "axis=1 of 4", Kind.CONTROL, "over all axes from there on", block,
               rounded(_normalised(block, (1, 2, 3), 1e-5), 64, "sums of 60 numbers", scale=1.0), axis=1,
               trigger=Trigger(also=lambda node: not _along_the_last(node, -1))),
        _layer("float16", "float16, numbers around 300", Kind.BUG, "computed in float32, rounded at the end", halves,
               rounded(_normalised(halves, (1,), 1e-5), 4, "a rounding to float16", u=U16, scale=1.0),
               trigger=Trigger(same_type=True), when="where squares are beyond 65504"),
        *(
            case(f"{op.lower()}-opset11", op, "opset 11, axis=1 of 4", Kind.BUG, "the axes from there on are one",
                 {"x": block}, rounded(shown(flat), 32, handful, scale=0.0 if op == "Softmax" else 8.0),
                 attributes={"axis": 1}, opset=11, trigger=Trigger(also=_flattens_more))
            for op, shown in (("Softmax", np.asarray), ("LogSoftmax", np.log))
        ),
        case("softmax-axis", "Softmax", "opset 13, axis=1 of 4", Kind.CONTROL, "along that axis alone", {"x": block},
             rounded(_softmax(block, (1,)), 32, handful), attributes={"axis": 1}, opset=13,
             trigger=Trigger(also=lambda node: node.opset >= 13 and not _along_the_last(node, -1))),
        case("softmax-extremes", "Softmax", "of 1e4, and of rows with -inf", Kind.CONTROL,
             "no overflow; a row of -inf alone has no softmax", {"x": rows}, rounded(specials, 32, handful),
             attributes={"axis": 1}, opset=13, trigger=Trigger(), when="where a row holds -inf"),
        case("lrn-even", "LRN", "size=4", Kind.BUG, "one channel below and two above",
             {"x": channels}, rounded(_lrn(channels, 4, 1e-2, 0.75, 1.0), 64, "a power of a sum"),
             attributes={"size": 4, "alpha": 1e-2, "beta": 0.75, "bias": 1.0}, opset=13, trigger=even),
        case("lrn-odd", "LRN", "size=5", Kind.CONTROL, "two channels below and two above",
             {"x": channels}, rounded(_lrn(channels, 5, 1e-2, 0.75, 1.0), 64, "a power of a sum"),
             attributes={"size": 5, "alpha": 1e-2, "beta": 0.75, "bias": 1.0}, opset=13,
             trigger=Trigger(also=lambda node: node.attributes.get("size", 0) % 2 == 1)),
        _training("training", "training_mode=1 left on", "the statistics of the batch, not those that are stored",
                  batch, Kind.SEMANTICS, apart, training),
        _training("training-shared", "training_mode=1, scale and var equal, bias and mean equal",
                  "the statistics of the batch, the same at every run", batch, Kind.BUG, same,
                  Trigger(attributes=("training_mode",), also=_shares)),
        case("batchnormalization", "BatchNormalization", "inference, epsilon=1e-3", Kind.CONTROL,
             "the stored statistics", {"x": batch, **per_channel},
             rounded(inference, 8, "a handful of roundings", scale=float(np.abs(inference).max())),
             constants=tuple(per_channel), attributes={"epsilon": 1e-3}, opset=15,
             trigger=training),
        case("dropout-training", "Dropout", "training_mode=true left on, ratio=0.5", Kind.SEMANTICS,
             "half of the elements at random: PyTorch's is Identity at inference",
             {"x": batch, "ratio": np.array(0.5, np.float32), "training": np.array(True)}, _dropped(batch),
             constants=("ratio", "training"), attributes={"seed": 1}, opset=13, steady=False),
        _dropout(batch),
    )  # fmt: skip


def _along_the_last(node: Node, default: int) -> bool:
    """Whether `axis` is the last axis; where no rank is known, True."""
    shape, axis = node.shape(), node.attributes.get("axis", default)
    return shape is None or axis in (-1, len(shape) - 1)


def _shares(node: Node) -> bool:
    """Whether two of the stored statistics and weights are equal, which runtimes store once."""
    stored = [value.tobytes() for place in range(1, 5) if (value := node.constant(place)) is not None]
    return len(set(stored)) < len(stored)
