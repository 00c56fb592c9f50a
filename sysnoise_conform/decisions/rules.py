"""By which other rule an operator decided: how it rounds, and which of equal values it takes.

Every rule that runtimes are known to use is applied to the operands that the backend was given. The one that makes the
backend's answer of them is named; `residual` is the share of the elements where it differs from PyTorch's that the rule
does not make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from sysnoise_conform.decisions import elementwise, nearest
from sysnoise_conform.decisions.question import Array, Operand, Question
from sysnoise_conform.decisions.reach import is_float, relative_reach, wide
from sysnoise_conform.outcome import Reading

EXPLAINS = 0.5  # a rule that is wrong at more of the differing elements than this is not named

# The likeliest first: where the operands do not tell two rules apart, the first of them is named.
ROUNDINGS: Mapping[str, Callable[[Array], Array]] = {
    "halves to even": np.rint,
    "halves away from zero": lambda x: np.trunc(x + np.copysign(0.5, x)),
    "halves up": lambda x: np.floor(x + 0.5),
    "halves down": lambda x: np.ceil(x - 0.5),
    "towards zero": np.trunc,
    "down": np.floor,
    "up": np.ceil,
}
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
_OF_A_GRID = ("halves away from zero", "halves up", "halves down")  # GridSample's own is halves to even


def rule_of(question: Question) -> Reading | None:
    """The other rule that explains the backend's answer best; None where none does."""
    if question.got.shape != question.golden.shape:
        return None
    match question.node.op_type:
        case "Round" | "Floor" | "Ceil":
            found = _rounded(question)
        case "Cast" | "CastLike":
            found = _cast(question)
        case "QuantizeLinear" | "DynamicQuantizeLinear":
            found = _quantised(question)
        case "Resize" | "Upsample":
            found = _resized(question)
        case "GridSample":
            found = _sampled(question)
        case "ArgMax" | "ArgMin":
            return _among_equals(question)
        case "TopK":
            return _in_another_order(question)
        case _:
            return None
    got = _numbers(question.got)
    differs = got != _numbers(question.golden.astype(got.dtype) if got.dtype.kind == "f" else question.golden)
    differs &= _finite(got)
    if not differs.any():
        return None
    best: Reading | None = None
    for words, answer in found:
        if answer.shape != got.shape:
            continue
        # A wrong rule is wrong elsewhere, too: what it makes of the elements that agree counts as well.
        wrong = np.count_nonzero((answer != got) & _finite(answer) & _finite(got)) / np.count_nonzero(differs)
        if wrong < (EXPLAINS if best is None else best.residual):
            best = Reading(kind="rounding_mode", residual=float(wrong), value=words)
        if not wrong:
            break
    return best


def _numbers(array: Array) -> Array:
    """Integers of 2 and 4 bits have a kind of their own, which does not compare."""
    return elementwise.codes(array) if array.dtype.kind == "V" else array


def _finite(array: Array) -> Array:
    """No rule of rounding decides on NaN and Inf."""
    found: Array = np.isfinite(array)
    return found


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
    yield "halves to even after the zero point is added", np.clip(np.rint(quotient + offset), low, high)


def _resized(question: Question) -> Iterator[tuple[str, Array]]:
    x = question.operand(0)
    if x is None or question.attribute("mode", "nearest") != "nearest":
        return
    own = question.attribute("nearest_mode", "round_prefer_floor") if question.opset >= 11 else "floor"
    for rule in _NEAREST:
        answer = None if rule == own else nearest.resized_by(question, rule)
        if answer is not None:
            yield f"nearest_mode {rule}", answer
    for answer in nearest.resized_in_float32(question):
        yield "coordinates rounded to float32", answer


def _sampled(question: Question) -> Iterator[tuple[str, Array]]:
    for words in _OF_A_GRID:
        answer = nearest.sampled_by(question, ROUNDINGS[words])
        if answer is not None:
            yield words, answer


def _among_equals(question: Question) -> Reading | None:
    """ArgMax and ArgMin: another index of the very same value."""
    x = question.operand(0)
    if x is None or not x.data.ndim or not _told(x):
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
    rule = "last" if question.attribute("select_last_index", 0) else "first"
    return _tie(differs, chosen == best, f"{said} of the equal ones; ONNX takes the {rule} of equal values")


def _in_another_order(question: Question) -> Reading | None:
    """TopK's indices: the same values, other ones of those that are equal, or these in another order.

    An order that nobody asked for is none to get wrong.
    """
    x = question.operand(0)
    if x is None or question.place != 1 or not x.data.ndim or not _told(x) or not question.attribute("sorted", 1):
        return None
    axis = int(question.attribute("axis", -1)) % x.data.ndim
    rows, got, golden = (np.moveaxis(each, axis, -1) for each in (x.data, question.got, question.golden))
    ordered = np.sort(got, axis=-1)
    if ((got < 0) | (got >= rows.shape[-1])).any() or (ordered[..., 1:] == ordered[..., :-1]).any():
        return None
    values, right = (np.take_along_axis(rows, each, axis=-1) for each in (got, golden))
    level = values[..., 1:] == values[..., :-1]
    falls = np.diff(got, axis=-1) < 0
    turned = bool(level.any()) and bool(falls[level].all())
    said = "the last of the equal ones first" if turned else "another of the equal ones first"
    return _tie(got != golden, values == right, f"{said}; ONNX puts the lower index of equal values first")


def _told(x: Operand) -> bool:
    """Whether what is equal in the record was equal where it was compared."""
    return x.roundoff is None and (x.fed or relative_reach(x) == 0)


def _tie(differs: Array, equal: Array, words: str) -> Reading | None:
    count = np.count_nonzero(differs)
    if not count:
        return None
    wrong = np.count_nonzero(differs & ~equal) / count
    return Reading(kind="tie_order", residual=float(wrong), value=words) if wrong < EXPLAINS else None
