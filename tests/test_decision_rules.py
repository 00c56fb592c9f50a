"""The other rule by which a decision was made is read from its operands and its answer; by none, nothing is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from sysnoise_conform.decisions import Operand, Question, rule_of

Array = np.ndarray[Any, Any]
DRAW = np.random.default_rng(0)
HALVES = np.arange(-20, 21, dtype=np.float32) / 2
NUMBERS = DRAW.uniform(-9, 9, 200).astype(np.float32)


def asked(
    node: onnx.NodeProto, operands: list[Array], golden: Array, got: Array, *, place: int = 0, opset: int = 18
) -> Question:
    return Question(
        node=node, opset=opset, operands=tuple(Operand(data=each) for each in operands), place=place,
        golden=golden, got=got, others={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("x", "got", "words"),
    [
        (HALVES, np.trunc(HALVES + np.copysign(0.5, HALVES)), "halves away from zero"),
        (HALVES, np.floor(HALVES + 0.5), "halves up"),
        (HALVES, np.ceil(HALVES - 0.5), "halves down"),
        (NUMBERS, np.trunc(NUMBERS), "towards zero"),
        (NUMBERS, np.floor(NUMBERS), "down"),
        (NUMBERS, np.ceil(NUMBERS), "up"),
    ],
)
def test_the_rule_of_rounding_is_read(x: Array, got: Array, words: str) -> None:
    question = asked(helper.make_node("Round", ["x"], ["y"]), [x], np.rint(x.astype(np.float64)), got)

    rule = rule_of(question)

    assert rule is not None
    assert (rule.kind, rule.value, rule.residual) == ("rounding_mode", words, 0)


def test_a_quantiser_that_truncates_or_adds_its_zero_point_first_is_told() -> None:
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    scale, zero = np.float32(0.5).reshape(()), np.int8(3).reshape(())

    def codes(quotient: Array) -> Array:
        return np.clip(quotient, -128, 127).astype(np.int8)

    truncated = asked(
        node, [NUMBERS, scale, zero], codes(np.rint(NUMBERS / 0.5) + 3), codes(np.trunc(NUMBERS / 0.5) + 3)
    )
    halves = HALVES / 2
    early = asked(
        node, [halves, scale, zero], codes(np.rint(halves / 0.5) + 3), codes(np.rint(halves / 0.5 + 3))
    )

    assert [each and (each.value, each.residual) for each in map(rule_of, (truncated, early))] == [
        ("towards zero", 0), ("halves to even after the zero point is added", 0),
    ]  # fmt: skip


def test_a_cast_that_rounds_is_told() -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.INT32)

    rule = rule_of(asked(node, [NUMBERS], NUMBERS.astype(np.int32), np.rint(NUMBERS).astype(np.int32)))

    assert rule is not None
    assert (rule.value, rule.residual) == ("halves to even", 0)


def test_a_nearest_resize_by_another_rule_is_told() -> None:
    x = DRAW.standard_normal((1, 2, 7, 7)).astype(np.float32)
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )  # fmt: skip
    down, up = (
        x[:, :, index][:, :, :, index] for index in
        (np.floor(np.arange(12) * 7 / 12).astype(int), np.minimum(np.ceil(np.arange(12) * 7 / 12), 6).astype(int))
    )  # fmt: skip
    sizes = np.array([1, 2, 12, 12])
    question = Question(
        node=node, opset=18, operands=(Operand(data=x), None, None, Operand(data=sizes)), place=0,
        golden=down.astype(np.float64), got=up, others={},
    )  # fmt: skip

    rule = rule_of(question)

    assert rule is not None
    assert (rule.kind, rule.value, rule.residual) == ("rounding_mode", "nearest_mode ceil", 0)


def test_a_nearest_resize_by_coordinates_in_float32_is_told() -> None:
    # Output 32 lies at 32 * 26 / 64 = 13 exactly; by the scale 64 / 26 in float32 it lies below.
    x = DRAW.standard_normal((1, 1, 1, 26)).astype(np.float32)
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )  # fmt: skip
    exact = x[..., np.arange(64) * 26 // 64]
    got = exact.copy()
    got[..., 32] = x[..., 12]
    other = exact.copy()
    other[..., 30] = x[..., 11]

    def rule(answer: Array) -> object:
        operands = (Operand(data=x), None, None, Operand(data=np.array([1, 1, 1, 64])))
        found = rule_of(
            Question(node=node, opset=13, operands=operands, place=0, golden=exact.astype(np.float64), got=answer,
                     others={})
        )  # fmt: skip
        return found and (found.kind, found.value, found.residual)

    assert rule(got) == ("rounding_mode", "coordinates rounded to float32", 0)
    assert rule(other) is None


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_a_nearest_grid_sample_by_another_rule_is_told(padding: str, corners: int) -> None:
    width, height = 8 + corners, 4 + corners
    x = DRAW.standard_normal((2, 3, height, width)).astype(np.float32)
    places = np.arange(7) + 0.5  # halfway between two pixels of a row
    rows = np.arange(height)
    across, down = (
        (2 * each / (size - 1) if corners else (2 * each + 1) / size) - 1
        for each, size in ((places, width), (rows, height))
    )
    grid = np.stack(np.meshgrid(across, down), axis=-1)[None].repeat(2, axis=0).astype(np.float32)
    node = helper.make_node(
        "GridSample", ["x", "g"], ["y"], mode="nearest", padding_mode=padding, align_corners=corners
    )
    golden, away, lower = (
        x[..., each.astype(int)] for each in (np.rint(places), np.trunc(places + 0.5), np.ceil(places - 0.5))
    )

    found = [rule_of(asked(node, [x, grid], golden.astype(np.float64), each)) for each in (away, lower, -away)]

    assert [each and (each.kind, each.value, each.residual) for each in found] == [
        ("rounding_mode", "halves away from zero", 0), ("rounding_mode", "halves down", 0), None,
    ]  # fmt: skip


@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_last_of_equal_values_is_an_order_and_a_smaller_value_is_none(keepdims: int) -> None:
    node = helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=keepdims)
    x = DRAW.integers(0, 3, (4, 30)).astype(np.float32)
    first, last = np.argmax(x, axis=1), 29 - np.argmax(x[:, ::-1], axis=1)
    worse = np.argmin(x, axis=1)
    if keepdims:
        first, last, worse = (each[:, None] for each in (first, last, worse))

    rule = rule_of(asked(node, [x], first, last))

    assert rule is not None
    assert (rule.kind, rule.value, rule.residual) == (
        "tie_order", "the last of the equal ones; ONNX takes the first of equal values", 0,
    )
    assert rule_of(asked(node, [x], first, worse)) is None


def test_topk_that_takes_the_last_of_equal_values_first_is_told() -> None:
    node = helper.make_node("TopK", ["x", "k"], ["values", "indices"], axis=-1)
    x = np.array([[1, 3, 3, 0, 3, 2, 2]], np.float32)
    k = np.array([5])

    rule = rule_of(asked(node, [x, k], np.array([[1, 2, 4, 5, 6]]), np.array([[4, 2, 1, 6, 5]]), place=1))

    assert rule is not None
    assert rule.kind == "tie_order"
    assert rule.value == "the last of the equal ones first; ONNX puts the lower index of equal values first"
    assert rule_of(asked(node, [x, k], np.array([[1, 2, 4, 5, 6]]), np.array([[0, 3, 5, 6, 2]]), place=1)) is None


def test_what_no_rule_makes_is_not_named() -> None:
    x = NUMBERS
    got = np.rint(x) + DRAW.integers(-3, 4, x.shape)

    assert rule_of(asked(helper.make_node("Round", ["x"], ["y"]), [x], np.rint(x.astype(np.float64)), got)) is None
