"""Reductions, sorting and running sums: NaN, overflow, ties, and which of equals comes first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sysnoise_conform.probe.arrays import Array, f16, f32, i64
from sysnoise_conform.probe.case import Kind, ProbeCase, Trigger, case
from sysnoise_conform.probe.elementwise import REACHED, SPECIAL
from sysnoise_conform.probe.rounding import named, rounded

_TIES = "where two values are equal"


def _reduced(
    name: str, op: str, about: str, kind: Kind, why: str, x: Array, y: Any, *, axis: int = 1, opset: int = 18,
    as_input: bool = True, trigger: Trigger | None = None, when: str = "",
) -> ProbeCase:  # fmt: skip
    """One axis reduced and kept; the axis is an input since opset 18 (of ReduceSum since 13), before an attribute."""
    inputs: dict[str, Array | None] = {"x": x, **({"axes": i64([axis])} if as_input else {})}
    attributes: dict[str, Any] = {"keepdims": 1, **({} if as_input else {"axes": [axis]})}
    return case(name, op, about, kind, why, inputs, y, constants=("axes",), attributes=attributes, opset=opset,
                trigger=trigger, when=when)  # fmt: skip


def _top_k(name: str, about: str, kind: Kind, why: str, x: Array, k: int) -> ProbeCase:
    order = np.argsort(-x, axis=1, kind="stable")[:, :k]
    return case(
        name, "TopK", about, kind, why, {"x": x, "k": i64([k])},
        named({"values": np.take_along_axis(x, order, 1), "indices": order.astype(np.int64)}),
        constants=("k",), attributes={"axis": 1}, trigger=Trigger(), when=_TIES,
    )  # fmt: skip


def cases() -> tuple[ProbeCase, ...]:
    """All of them."""
    rng = np.random.default_rng(25)
    row = f32([[1, 3, 3, 2, 3, 0, 3, 3]])
    scores = rng.integers(0, 20, (1, 500)).astype(np.float32)
    ones = np.ones((1, 70_000), np.float16)
    x = rng.standard_normal((2, 3, 40)).astype(np.float32)
    wide = x.astype(np.float64)
    sums = float(np.abs(wide).sum(1).max())
    handful = "a sum of a few numbers"
    return (
        _reduced("reducemax-nan", "ReduceMax", "of a NaN", Kind.BUG, "a NaN stays one", SPECIAL[None],
                 f32([[np.nan]]), trigger=Trigger(), when=REACHED),
        case("argmax-nan", "ArgMax", "of a NaN", Kind.BUG, "a NaN is the largest, as in PyTorch", {"x": SPECIAL[None]},
             i64([[1]]), attributes={"axis": 1}, opset=13, trigger=Trigger(), when=REACHED),
        _reduced("reducemax-infinity", "ReduceMax", "of infinities", Kind.CONTROL, "infinity is the largest",
                 f32([[1, np.inf, -np.inf]]), f32([[np.inf]])),
        case("argmax-ties", "ArgMax", "five equal maxima", Kind.CONTROL, "the first", {"x": row}, i64([[1]]),
             attributes={"axis": 1}, opset=13, trigger=Trigger(attributes=("select_last_index",)), when=_TIES),
        case("argmax-last", "ArgMax", "select_last_index=1, five equal maxima", Kind.CONTROL, "the last", {"x": row},
             i64([[7]]), attributes={"axis": 1, "select_last_index": 1}, opset=13,
             trigger=Trigger(attributes=("select_last_index",)), when=_TIES),
        _top_k("topk-ties", "100 of 500, many of them equal", Kind.BUG, "of equals the lower index comes first", scores,
               100),
        _top_k("topk-few", "3 of 8, five of them equal", Kind.CONTROL, "of equals the lower index comes first", row, 3),
        _reduced("reducemean-float16", "ReduceMean", "float16, 70,000 ones", Kind.BUG,
                 "the mean is rounded once, at the end", ones,
                 f16([[1]]), trigger=Trigger(same_type=True), when="where the sum is beyond 65504"),
        _reduced("reducesum-float16", "ReduceSum", "float16, 70,000 ones", Kind.CONTROL, "beyond 65504 is infinity",
                 ones, f16([[np.inf]]), opset=13, trigger=Trigger(same_type=True),
                 when="where the sum is beyond 65504"),
        _reduced("reducel2-overflow", "ReduceL2", "of 2e19", Kind.CONTROL, "its square is beyond float32",
                 f32([[2e19]]), f32([[np.inf]])),
        _reduced("reducelogsumexp", "ReduceLogSumExp", "of 200 and 201", Kind.CONTROL, "no overflow in between",
                 f32([[200, 201]]), rounded(np.array([[201 + math.log1p(math.exp(-1))]]), 8, handful),
                 trigger=Trigger(), when="where an exponential is beyond float32"),
        _reduced("reducemean", "ReduceMean", "the middle axis", Kind.CONTROL, "the mean over it", x,
                 rounded(wide.mean(1, keepdims=True), 8, handful, scale=sums), trigger=Trigger()),
        _reduced("reduceprod", "ReduceProd", "the middle axis", Kind.CONTROL, "the product over it", x,
                 rounded(wide.prod(1, keepdims=True), 8, "some roundings of the product"), trigger=Trigger()),
        _reduced("reducel1", "ReduceL1", "the middle axis", Kind.CONTROL, "the sum of the absolute values", x,
                 rounded(np.abs(wide).sum(1, keepdims=True), 8, handful), trigger=Trigger()),
        _reduced("reducemin-attribute", "ReduceMin", "axes as an attribute, opset 13", Kind.CONTROL, "the smallest", x,
                 x.min(1, keepdims=True), opset=13, as_input=False, trigger=Trigger()),
        case("cumsum", "CumSum", "exclusive=1, reverse=1", Kind.CONTROL, "the sum of what comes after",
             {"x": x, "axis": np.array(2, np.int64)},
             rounded(wide[..., ::-1].cumsum(2)[..., ::-1] - wide, 80, "a sum of at most 40 numbers",
                     scale=float(np.abs(wide).sum(2).max())),
             constants=("axis",), attributes={"exclusive": 1, "reverse": 1}, opset=14,
             trigger=Trigger(attributes=("exclusive", "reverse"))),
    )  # fmt: skip
