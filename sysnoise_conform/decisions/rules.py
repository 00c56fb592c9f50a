"""By which other rule an operator decided: how it rounds, and which of equal values it takes.

Every rule that runtimes are known to use is applied to the operands that the backend was given. The one that makes the
backend's answer of them is named; `residual` is the share of the elements where it differs from PyTorch's that the rule
does not make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from sysnoise_conform.decisions import elementwise, nearest
from sysnoise_conform.decisions.question import Array, Question
from sysnoise_conform.decisions.reach import is_float, wide
from sysnoise_conform.outcome import Reading

EXPLAINS = 0.5  # a rule that is wrong at more of the differing elements than this is not named

# The likeliest first: where the operands do not tell two rules apart, the first of them is named.
ROUNDINGS: Mapping[str, Callable[[Array], Array]] = {
    "half to even": np.rint,
    "half away from zero": lambda x: np.trunc(x + np.copysign(0.5, x)),
    "half up": lambda x: np.floor(x + 0.5),
    "half down": lambda x: np.ceil(x - 0.5),
    "towards zero": np.trunc,
    "down": np.floor,
    "up": np.ceil,
}
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def rule_of(question: Question) -> Reading | None:
    """The other rule that explains the backend's answer best; None where none does."""
    if question.got.shape != question.golden.shape or question.got.dtype.kind not in "fiu":
        return None
    match question.node.op_type:
        case "Round" | "Floor" | "Ceil":
            found, kind = _rounded(question), "rounding_mode"
        case "Cast" | "CastLike":
            found, kind = _cast(question), "rounding_mode"
        case "QuantizeLinear":
            found, kind = _quantised(question), "rounding_mode"
        case "Resize" | "Upsample":
            found, kind = _resized(question), "rounding_mode"
        case "ArgMax" | "ArgMin":
            return _among_equals(question)
        case "TopK":
            return _in_another_order(question)
        case _:
            return None
    differs = _differs(question)
    if not differs.any():
        return None
    best: Reading | None = None
    for words, answer in found:
        if answer.shape != question.got.shape:
            continue
        # A wrong rule is wrong elsewhere, too: what it makes of the elements that agree counts as well.
        wrong = np.count_nonzero(answer != question.got) / np.count_nonzero(differs)
        if wrong < (EXPLAINS if best is None else best.residual):
            best = Reading(kind=kind, residual=float(wrong), value=words)
    return best


def _differs(question: Question) -> Array:
    golden = question.golden.astype(question.got.dtype) if question.got.dtype.kind == "f" else question.golden
    differs: Array = question.got != golden
    return differs


def _rounded(question: Question) -> Iterator[tuple[str, Array]]:
    x = question.operand(0)
    if x is not None and is_float(x.data):
        for words, rounding in ROUNDINGS.items():
            yield words, rounding(wide(x.data))


def _cast(question: Question) -> Iterator[tuple[str, Array]]:
    x, kind = question.operand(0), question.golden.dtype
    if x is None or not is_float(x.data) or kind.kind not in "iu":
        return
    low, high = float(np.iinfo(kind).min), float(np.iinfo(kind).max)
    inside = (wide(x.data) > low) & (wide(x.data) < high)  # beyond, no rule of rounding decides
    for words, rounding in ROUNDINGS.items():
        whole = rounding(np.where(inside, wide(x.data), 0.0)).astype(kind)
        yield words, np.where(inside, whole, question.got)


def _quantised(question: Question) -> Iterator[tuple[str, Array]]:
    found = elementwise.quotient(question)
    if found is None:
        return
    quotient, offset, low, high = found
    for words, rounding in ROUNDINGS.items():
        yield words, np.clip(rounding(quotient) + offset, low, high)
    yield "half to even after the zero point is added", np.clip(np.rint(quotient + offset), low, high)


def _resized(question: Question) -> Iterator[tuple[str, Array]]:
    x = question.operand(0)
    if x is None or question.attribute("mode", "nearest") != "nearest":
        return
    own = question.attribute("nearest_mode", "round_prefer_floor") if question.opset >= 11 else "floor"
    for rule in _NEAREST:
        answer = None if rule == own else nearest.resized_by(question, rule)
        if answer is not None:
            yield f"nearest_mode {rule}", answer


def _among_equals(question: Question) -> Reading | None:
    """ArgMax and ArgMin: another index of the very same value."""
    x = question.operand(0)
    if x is None or not x.data.ndim:
        return None
    axis = int(question.attribute("axis", 0)) % x.data.ndim
    rows = np.moveaxis(x.data, axis, -1)
    keeps = bool(question.attribute("keepdims", 1))
    got, golden = (
        np.moveaxis(each, axis, -1)[..., 0] if keeps else each for each in (question.got, question.golden)
    )
    if ((got < 0) | (got >= rows.shape[-1])).any() or got.shape != rows.shape[:-1]:
        return None
    differs = got != golden
    chosen, best = (np.take_along_axis(rows, each[..., None], axis=-1)[..., 0] for each in (got, golden))
    equal = rows == best[..., None]
    last = rows.shape[-1] - 1 - np.argmax(equal[..., ::-1], axis=-1)
    words = {"the last": got == last, "the first": got == np.argmax(equal, axis=-1)}
    said = next((each for each, holds in words.items() if holds[differs].all()), "another")
    return _tie(differs, chosen == best, f"{said} of the equal ones")


def _in_another_order(question: Question) -> Reading | None:
    """TopK's indices: the same values, other ones of those that are equal, or these in another order."""
    x = question.operand(0)
    if x is None or question.place != 1 or not x.data.ndim:
        return None
    axis = int(question.attribute("axis", -1)) % x.data.ndim
    rows, got, golden = (np.moveaxis(each, axis, -1) for each in (x.data, question.got, question.golden))
    if ((got < 0) | (got >= rows.shape[-1])).any():
        return None
    values, right = (np.take_along_axis(rows, each, axis=-1) for each in (got, golden))
    level = values[..., 1:] == values[..., :-1]
    falls = np.diff(got, axis=-1) < 0
    turned = bool(level.any()) and bool(falls[level].all())
    return _tie(got != golden, values == right, "the last of the equal ones first" if turned else "not the first first")


def _tie(differs: Array, equal: Array, words: str) -> Reading | None:
    count = np.count_nonzero(differs)
    if not count:
        return None
    wrong = np.count_nonzero(differs & ~equal) / count
    return Reading(kind="tie_order", residual=float(wrong), value=words) if wrong < EXPLAINS else None
