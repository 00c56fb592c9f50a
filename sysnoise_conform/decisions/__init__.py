"""Operators that decide rather than compute are judged by margin: which decisions lie within what rounding may hide.

ArgMax, TopK, Round, a comparison, the nearest neighbour: their answer jumps. A runtime whose inputs differ in the last
bit from what it shows of them is right to jump the other way, and wrong to do so where the decision is clear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from sysnoise_conform.decisions import elementwise, nearest, order, suppression
from sysnoise_conform.decisions.question import Answer, Operand, Question
from sysnoise_conform.decisions.rules import rule_of

__all__ = ["DECISIONS", "Answer", "Operand", "Question", "rule_of", "settle"]

DECISIONS: Mapping[str, Callable[[Question], Answer | None]] = {
    "ArgMax": order.extremum,
    "ArgMin": order.extremum,
    "Cast": elementwise.cast,
    "CastLike": elementwise.cast,
    "Ceil": elementwise.rounding,
    "DynamicQuantizeLinear": elementwise.dynamic_quantisation,
    "Equal": elementwise.comparison,
    "Floor": elementwise.rounding,
    "Greater": elementwise.comparison,
    "GreaterOrEqual": elementwise.comparison,
    "GridSample": nearest.grid_sample,
    "Less": elementwise.comparison,
    "LessOrEqual": elementwise.comparison,
    "NonMaxSuppression": suppression.suppression,
    "NonZero": order.non_zero,
    "QuantizeLinear": elementwise.quantisation,
    "Resize": nearest.resize,
    "Round": elementwise.rounding,
    "TopK": order.top_k,
    "Upsample": nearest.resize,
}


def settle(question: Question) -> Answer | None:
    """What to hold the backend's answer against; None where the operator decides nothing, or not in a way known here.

    A shape of its own is settled for lists of boxes and places alone; else PyTorch's stays, and is judged as it is.
    """
    decide = DECISIONS.get(question.node.op_type)
    if decide is None or question.node.domain not in ("", "ai.onnx", "com.microsoft"):
        return None
    lists = question.node.op_type in ("NonMaxSuppression", "NonZero")
    if question.got.shape != question.golden.shape and not lists:
        return None
    if question.got.dtype.kind != question.golden.dtype.kind and not _packed(question):
        return None
    if _equal(question):
        return Answer(question.golden, 0)
    answer = decide(question)
    rule = None if answer is None else rule_of(question)
    return answer if answer is None or rule is None else replace(answer, readings=(rule,))


def _equal(question: Question) -> bool:
    """Nothing to decide: most answers are PyTorch's in every element."""
    got, golden = question.got, question.golden
    if got.shape != golden.shape or got.dtype.kind == "V":
        return False
    same = golden.astype(got.dtype) if got.dtype.kind == "f" else golden
    return np.array_equal(got, same, equal_nan=got.dtype.kind == "f")


def _packed(question: Question) -> bool:
    """Integers of 2 and 4 bits, which have a kind of their own."""
    return "V" in (question.got.dtype.kind, question.golden.dtype.kind)
