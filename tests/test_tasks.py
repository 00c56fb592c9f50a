from __future__ import annotations

import numpy as np
import pytest

from sysnoise_conform.card import Card
from sysnoise_conform.errors import UsageError
from sysnoise_conform.outcome import TaskFigure
from sysnoise_conform.tasks import task_meter
from sysnoise_conform.tasks.boxes import Boxes, overlaps, suppress
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.tasks.detect import partners
from sysnoise_conform.tasks.detectors import decode

RNG = np.random.default_rng(0)


def figures(card: Card, *samples: tuple[np.ndarray, np.ndarray]) -> dict[str, TaskFigure]:
    meter = task_meter(card)
    assert meter is not None
    for golden, got in samples:
        meter.add({"y": golden}, {"y": got})
    return {each.name: each for each in meter.figures()}


def card(task: str, **more) -> Card:
    return Card(name="c", task=task, **more)


def test_a_model_without_a_task_has_no_meter() -> None:
    assert task_meter(None) is None
    assert task_meter(Card(name="c")) is None


def test_top_1_flips_and_margins_are_counted_over_rows_and_samples() -> None:
    golden = np.array([[5.0, 3.0, 1.0], [1.0, 2.0, 1.5]])
    got = np.array([[4.0, 3.5, 1.0], [1.0, 1.6, 1.7]])

    found = figures(card("classify"), (golden, golden), (golden, got))

    assert (found["top1_flips"].value, found["top1_flips"].of) == (1, 4)
    assert found["top1_margin_smallest"].value == pytest.approx(0.5)
    assert found["top1_margin_lost"].value == pytest.approx(1.2)  # from 0.5 to -0.1


def test_nan_scores_are_flips() -> None:
    golden = np.array([[1.0, 0.0]])

    assert figures(card("classify"), (golden, np.array([[np.nan, 0.0]])))["top1_flips"].value == 1


def test_pixels_flip_where_they_cross_the_threshold() -> None:
    golden = np.array([[[[0.1, 0.4], [0.31, 0.9]]]])
    got = np.array([[[[0.1, 0.2], [0.32, np.nan]]]])

    found = figures(card("text-detect"), (golden, got))

    assert (found["pixel_flips"].value, found["pixel_flips"].of) == (2, 4)
    assert found["pixel_margin_smallest"].value == pytest.approx(0.01)


def test_pixels_of_a_segmentation_flip_with_their_class() -> None:
    golden = np.zeros((1, 3, 4, 5))
    golden[:, 1] = 1
    got = golden.copy()
    got[0, 2, 0, 0] = 2

    assert figures(card("segment"), (golden, got))["pixel_flips"] == TaskFigure(
        name="pixel_flips", value=1, of=20, about="the class differs"
    )


def test_the_lowest_cosine_of_embeddings_is_kept() -> None:
    golden = np.array([[1.0, 0.0], [0.0, 2.0]])

    assert figures(card("embed"), (golden, golden))["embedding_cosine_lowest"].value == pytest.approx(1)
    assert figures(card("embed"), (golden, golden[:, ::-1]))["embedding_cosine_lowest"].value == pytest.approx(0)
    assert figures(card("embed"), (golden, golden * np.nan))["embedding_cosine_lowest"].value == -1


def raw_map(*objects: tuple[int, int, int, float]) -> np.ndarray:
    """A map of 22 x 22 cells with objects at (row, column) of a class, with an objectness."""
    raw = np.zeros((85, 22, 22))
    raw[3:5] = -2.0
    raw[5] = 1.0
    for row, column, kind, score in objects:
        raw[0, row, column] = score
        raw[5, row, column] = 0
        raw[5 + kind, row, column] = 1
    return raw


def test_fastestdet_boxes_stand_where_its_card_says() -> None:
    outputs = {"y": raw_map((4, 6, 3, 0.9))[None]}
    boxes = decode(card("detect", decoder="fastestdet"), outputs, (1, 1), Decoding(score=0.65))

    side = 1 / (1 + np.exp(2.0))
    assert boxes.classes.tolist() == [3]
    assert boxes.scores[0] == pytest.approx(0.9**0.6)
    np.testing.assert_allclose(
        boxes.corners[0], [6 / 22 - side / 2, 4 / 22 - side / 2, 6 / 22 + side / 2, 4 / 22 + side / 2], atol=1e-7
    )


def test_suppression_keeps_the_best_of_each_class() -> None:
    corners = np.array([[0, 0, 2, 2], [0, 0, 2, 2.1], [0, 0, 2, 2], [5, 5, 6, 6]], float)
    boxes = suppress(Boxes(corners, np.array([0.8, 0.9, 0.7, 0.6]), np.array([1, 1, 2, 1])), 0.45, Decoding())

    assert boxes.scores.tolist() == [0.9, 0.7, 0.6]


def test_intersection_over_union_is_that() -> None:
    a = np.array([[0, 0, 2, 2]], float)

    assert overlaps(a, np.array([[1, 1, 3, 3], [0, 0, 2, 2], [4, 4, 5, 5], [0, 0, 0, 0]], float))[0].tolist() == [
        1 / 7,
        1,
        0,
        0,
    ]


def test_partners_are_of_one_class_and_each_box_has_one() -> None:
    corners = np.array([[0, 0, 2, 2], [0, 0, 2, 2]], float)
    a = Boxes(corners, np.array([0.9, 0.8]), np.array([1, 2]))
    b = Boxes(corners[:1], np.array([0.9]), np.array([2]))

    assert partners(a, b) == [(1, 0)]
    assert partners(a, Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))) == []


def test_boxes_flip_when_they_vanish_move_or_change_class() -> None:
    golden = raw_map((4, 6, 3, 0.9), (10, 10, 1, 0.9), (18, 3, 2, 0.9))
    got = raw_map((4, 6, 3, 0.8), (10, 10, 7, 0.9), (1, 20, 5, 0.9))
    detect = card("detect", decoder="fastestdet")

    same, other = (figures(detect, (golden[None], each[None])) for each in (golden, got))

    assert (same["box_flips"].value, same["box_flips"].of, same["box_extras"].value) == (0, 3, 0)
    assert (other["box_flips"].value, other["box_flips"].of) == (2, 3)
    assert (other["box_extras"].value, other["box_extras"].of) == (2, 3)
    assert other["box_score_change"].value == pytest.approx(0.9**0.6 - 0.8**0.6)


def test_the_card_must_name_the_output_where_there_are_several() -> None:
    meter = task_meter(card("classify"))
    named = task_meter(card("classify", output="b"))
    wrong = task_meter(card("classify", output="bb"))
    outputs = {"a": np.zeros((1, 3)), "b": np.eye(3)}

    assert named is not None
    named.add(outputs, outputs)
    assert named.figures()[0].of == 3
    for each, words in ((meter, "which of the 2 outputs"), (wrong, "did you mean 'b'")):
        assert each is not None
        with pytest.raises(UsageError, match=words):
            each.add(outputs, outputs)
