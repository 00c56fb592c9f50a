"""Figures of each task against formulas written out by hand, with labels and without."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from noise_samples import coco
from PIL import Image

from sysnoise_conform.card import Card, Heads
from sysnoise_conform.datasets import DataSet, Picture
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.matrix.evaluations import evaluation_of
from sysnoise_conform.pictures.place import Placement
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.tasks.evaluation import Evaluation, Result

RNG = np.random.default_rng(8)
PLAIN = Decoding()
SIZE = (4, 6)
WHOLE = Placement(height=4, width=6, scale_x=1.0, scale_y=1.0, left=0.0, top=0.0)


def results(
    evaluation: Evaluation, outputs: list[np.ndarray], *, how: Decoding = PLAIN, there: Placement = WHOLE,
    size: tuple[int, int] = SIZE,
) -> list[Result]:  # fmt: skip
    return [evaluation.result(at, {"y": each}, there, size, how) for at, each in enumerate(outputs)]


def data(labels: list[int | None], **more) -> DataSet:
    pictures = tuple(Picture(path=Path(f"{at}.jpg"), name=f"{at}.jpg", label=one) for at, one in enumerate(labels))
    return DataSet(layout="test", pictures=pictures, **more)


def compared(evaluation: Evaluation, base: list[Result], other: list[Result]):
    return evaluation.compare(base, other, range(len(base)), margin=0.01, seed=0)


# Classes.


def scores(count: int) -> list[np.ndarray]:
    return list(RNG.standard_normal((count, 1, 10)).astype(np.float32))


def test_top_1_and_top_5_are_counted_by_hand() -> None:
    labels = RNG.integers(0, 10, 60).tolist()
    outputs = scores(60)
    evaluation = evaluation_of("classify", Card(name="c", task="classify"), data(labels))

    found = results(evaluation, outputs)
    figures = evaluation.figures(found, range(60), found)

    ranks = [sorted(range(10), key=lambda each, y=y: -y[0, each]).index(one)
             for y, one in zip(outputs, labels, strict=True)]  # fmt: skip
    assert figures["top1"] == sum(rank == 0 for rank in ranks) / 60
    assert figures["top5"] == sum(rank < 5 for rank in ranks) / 60
    assert figures["agreement"] == 1


def test_answers_lost_and_won_are_counted_and_judged_by_mcnemar() -> None:
    right, wrong = np.eye(10)[[0]], np.eye(10)[[1]]
    evaluation = evaluation_of("classify", Card(name="c", task="classify"), data([0] * 20))

    base = results(evaluation, [right] * 15 + [wrong] * 5)
    other = results(evaluation, [right] * 10 + [wrong] * 5 + [right] * 2 + [wrong] * 3)
    found = compared(evaluation, base, other)

    assert (found.lost, found.won, found.changed) == (5, 2, 7)
    assert found.delta == pytest.approx(3 / 20)
    # Exact and one-sided, since a gain is no fault: of 7 coins at least 5 heads.
    assert found.p == pytest.approx(sum(math.comb(7, each) for each in (5, 6, 7)) / 2**7)
    assert found.interval[0] < 3 / 20 < found.interval[1]
    assert found.verdict == "INCONCLUSIVE"
    assert found.images_to_decide is not None
    assert found.images_to_decide > 20


def test_nan_is_an_answer_of_nobody() -> None:
    outputs = [np.array([[np.nan, 1.0, 0.0]]), np.array([[0.0, 1.0, 0.0]])]
    labelled = evaluation_of("classify", Card(name="c"), data([1, 1]))
    agree = evaluation_of("agree", Card(name="c"), data([None, None]))

    found = results(labelled, outputs)
    assert labelled.figures(found, [0, 1], found) == {"top1": 0.5, "top5": 0.5, "agreement": 0.5}
    assert labelled.shown(0, found[0]).text == "no answer (NaN)"
    bare = results(agree, outputs)
    assert agree.figures(bare, [0, 1], bare)["agreement"] == 0.5


def test_agreement_and_divergence_without_labels() -> None:
    evaluation = evaluation_of("agree", Card(name="c"), data([None] * 30))
    first, second = scores(30), scores(30)

    base, other = results(evaluation, first), results(evaluation, second)
    figures = evaluation.figures(other, range(30), base)

    def shares(y: np.ndarray) -> np.ndarray:
        return np.exp(y[0].astype(float)) / np.exp(y[0].astype(float)).sum()

    kl = [float((shares(a) * np.log(shares(a) / shares(b))).sum()) for a, b in zip(first, second, strict=True)]
    same = [int(a.argmax() == b.argmax()) for a, b in zip(first, second, strict=True)]
    leads = [float(np.sort(b[0])[-1] - np.sort(b[0])[-2]) for b in second]
    assert figures["agreement"] == pytest.approx(np.mean(same))
    assert figures["kl"] == pytest.approx(np.mean(kl), rel=1e-5)
    assert figures["smallest_lead"] == pytest.approx(min(leads), rel=1e-6)
    assert compared(evaluation, base, other).delta == pytest.approx(1 - np.mean(same))


def test_a_class_that_the_model_does_not_know_is_named() -> None:
    evaluation = evaluation_of("classify", Card(name="c"), data([3]))

    with pytest.raises(BadInput, match=r"'0.jpg' is of class 3; the model knows 3"):
        results(evaluation, [np.zeros((1, 3))])


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (1, 4, 9), (1, 1), (0,)])
def test_outputs_that_are_no_scores_of_classes_are_refused(shape: tuple[int, ...]) -> None:
    evaluation = evaluation_of("agree", Card(name="c"), data([None]))

    with pytest.raises(UsageError, match=r"scores of classes are \(1, classes\), not"):
        results(evaluation, [np.zeros(shape)])


def test_argmax_and_softmax_are_choices() -> None:
    evaluation = evaluation_of("agree", Card(name="c"), data([None]))
    tie = [np.array([[1.0, 3.0, 3.0]])]
    close = [np.array([[9.0, 9.004, 0.0]])]  # one number in bfloat16

    assert results(evaluation, tie)[0]["top"][0] == 1
    assert results(evaluation, tie, how=Decoding(argmax="last"))[0]["top"][0] == 2
    assert results(evaluation, close)[0]["top"][0] == 1
    assert results(evaluation, close, how=Decoding(softmax_first=True))[0]["top"][0] == 1
    assert results(evaluation, close, how=Decoding(softmax_first=True, arithmetic="bf16"))[0]["top"][0] == 0


# Pixels.


@pytest.fixture
def masks(tmp_path: Path) -> tuple[DataSet, list[np.ndarray]]:
    found, pictures = [], []
    for at in range(5):
        mask = RNG.integers(0, 3, (4, 6)).astype(np.uint8)
        mask[0, 0] = 255
        mask[1, 0] = 9  # beyond the model's classes: not scored either
        Image.fromarray(mask).save(tmp_path / f"{at}.png")
        found.append(mask)
        pictures.append(Picture(path=tmp_path / f"{at}.jpg", name=f"{at}.jpg", mask=tmp_path / f"{at}.png"))
    return DataSet(layout="test", pictures=tuple(pictures), classes=("sky", "road")), found


def maps(count: int, classes: int = 3) -> list[np.ndarray]:
    return list(RNG.standard_normal((count, 1, classes, 4, 6)))


def test_mean_intersection_over_union_by_hand(masks: tuple[DataSet, list[np.ndarray]]) -> None:
    outputs = maps(5)
    outputs[0][0, :, 2, 2] = np.nan  # no answer: the pixel is in the union of its class, and in no intersection
    evaluation = evaluation_of("segment", Card(name="c", task="segment"), masks[0])

    found = results(evaluation, outputs)
    figures = evaluation.figures(found, range(5), found)

    truth, got = np.stack(masks[1]), np.stack([each[0].argmax(0) for each in outputs])
    got[0, 2, 2] = -1
    scored = truth < 3
    ious = []
    for kind in range(3):
        both = np.count_nonzero(scored & (truth == kind) & (got == kind))
        either = np.count_nonzero(scored & ((truth == kind) | (got == kind)))
        ious.append(both / either)
    assert [figures[name] for name in ("IoU_sky", "IoU_road", "IoU_2")] == pytest.approx(ious)
    assert figures["mIoU"] == pytest.approx(np.mean(ious))
    assert figures["pixel_accuracy"] == pytest.approx(np.mean((truth == got)[scored]))


def test_a_class_that_nowhere_occurs_does_not_count(masks: tuple[DataSet, list[np.ndarray]]) -> None:
    evaluation = evaluation_of("segment", Card(name="c", task="segment"), masks[0])
    perfect = [np.moveaxis(np.eye(12)[np.where(mask > 8, 0, mask)], -1, 0)[None] for mask in masks[1]]

    found = results(evaluation, perfect)
    figures = evaluation.figures(found, range(5), found)

    assert "IoU_5" not in figures
    # Class 9 is known to a model of 12 classes: there it is scored, and wrong.
    assert figures["IoU_9"] == 0
    assert figures["pixel_accuracy"] == pytest.approx(1 - 5 / (5 * 23))


def test_a_mask_of_another_size_is_named(masks: tuple[DataSet, list[np.ndarray]]) -> None:
    evaluation = evaluation_of("segment", Card(name="c", task="segment"), masks[0])
    there = Placement(height=8, width=12, scale_x=0.5, scale_y=0.5, left=0.0, top=0.0)

    with pytest.raises(BadInput, match=r"the mask of '0.jpg' is 6 x 4, the picture 12 x 8"):
        results(evaluation, maps(1), there=there)


@pytest.mark.parametrize(("task", "threshold"), [("segment", None), ("segment", 0.7), ("text-detect", None)])
def test_the_share_of_pixels_with_the_same_decision(task: str, threshold: float | None) -> None:
    channels = 1 if task == "text-detect" or threshold else 3
    card = Card(name="c", task=task, threshold=threshold)
    evaluation = evaluation_of("agree", card, data([None] * 6))
    first, second = maps(6, channels), maps(6, channels)
    second[0], second[1][0, :, 0, 0] = first[0].copy(), np.nan

    base, other = results(evaluation, first), results(evaluation, second)

    limit = threshold or 0.3
    a, b = (np.stack([each[0].argmax(0) if channels > 1 else each[0, 0] > limit for each in side])
            for side in (first, second))  # fmt: skip
    same = a == b
    same[1, 0, 0] = False
    assert evaluation.figures(other, range(6), base)["agreement"] == pytest.approx(same.mean())
    assert evaluation.figures(base, range(6), base) == {"agreement": 1}
    found = compared(evaluation, base, other)
    assert found.delta == pytest.approx(1 - same.mean())
    assert (found.lost, found.won, found.changed) == (5, 0, 5)
    assert found.verdict == "FAIL"
    assert [evaluation.differs(at, base[at], other[at]) for at in range(2)] == [False, True]
    assert found.interval[0] <= found.delta <= found.interval[1]


def test_decisions_are_compared_on_the_picture_whatever_the_tensors_size() -> None:
    """A map of 2 x 2 and one of 4 x 4 that say the same of the picture of 8 x 8."""
    evaluation = evaluation_of("agree", Card(name="c", task="segment"), data([None]))
    small = RNG.standard_normal((1, 3, 2, 2))
    large = small.repeat(2, axis=2).repeat(2, axis=3)

    base, other = (
        results(evaluation, [each], size=(side, side), there=Placement(
            height=8, width=8, scale_x=side / 8, scale_y=side / 8, left=0.0, top=0.0))
        for each, side in ((small, 2), (large, 4))
    )  # fmt: skip

    assert evaluation.figures(other, [0], base)["agreement"] == 1


def test_a_huge_picture_is_looked_at_in_a_million_places() -> None:
    evaluation = evaluation_of("agree", Card(name="c", task="segment"), data([None]))
    there = Placement(height=3000, width=500, scale_x=6 / 500, scale_y=4 / 3000, left=0.0, top=0.0)

    (found,) = results(evaluation, maps(1), there=there)

    assert found["shape"].tolist() == [1024, 500]
    assert found["decisions"].nbytes < 20_000


@pytest.mark.parametrize(("turned", "wanted"), [((3, 6), 1.0), ((4, 5), 1.0), ((6, 4), 16 / 32)])
def test_a_picture_of_another_shape_agrees_where_it_overlaps(turned: tuple[int, int], wanted: float) -> None:
    """A row that a conversion took does not count; of a turned picture that is 4 x 6, 4 x 4 pixels overlap."""
    evaluation = evaluation_of("agree", Card(name="c", task="segment"), data([None]))
    flat = np.zeros((1, 3, 4, 6))
    there = Placement(height=turned[0], width=turned[1], scale_x=1.0, scale_y=1.0, left=0.0, top=0.0)

    base, other = results(evaluation, [flat]), results(evaluation, [flat], there=there)

    assert evaluation.figures(other, [0], base)["agreement"] == wanted


@pytest.mark.parametrize(
    ("task", "shape"), [("segment", (1, 3)), ("segment", (2, 3, 4, 4)), ("text-detect", (1, 2, 4, 4))]
)
def test_outputs_that_are_no_map_are_refused(task: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=f"task {task} is"):
        results(evaluation_of("agree", Card(name="c", task=task), data([None])), [np.zeros(shape)])


def test_a_person_is_told_the_classes_with_most_pixels() -> None:
    segment = evaluation_of("agree", Card(name="c", task="segment"), data([None], classes=("sky",)))
    text = evaluation_of("agree", Card(name="c", task="text-detect"), data([None]))
    parts = np.zeros((1, 2, 4, 6))
    parts[0, 1, 0] = 1

    assert segment.shown(0, results(segment, [parts])[0]).text == "75.0% sky, 25.0% class 1"
    assert text.shown(0, results(text, [parts[:, 1:]])[0]).text == "75.0% no text, 25.0% text"


def test_a_class_is_called_by_its_name_where_it_has_one() -> None:
    named = evaluation_of("classify", Card(name="c"), data([0, 1], classes=("tench", "")))
    found = results(named, [np.eye(3)[[0]] * 9, np.eye(3)[[1]] * 9])
    assert named.shown(0, found[0]).text.startswith("tench (")
    assert named.shown(1, found[1]).text.startswith("class 1 (")


# Boxes.

DETECTOR = Card(
    name="c", task="detect", decoder="boxes", threshold=0.5,
    heads=Heads(boxes="b", scores="s", classes="c", iou=None, clip=False),
)  # fmt: skip


def found_boxes(evaluation: Evaluation, at: int, *boxes: tuple[tuple[float, ...], float, int]) -> Result:
    outputs = {
        "b": np.array([each[0] for each in boxes]).reshape(-1, 4),
        "s": np.array([each[1] for each in boxes]),
        "c": np.array([each[2] for each in boxes], np.int64),
    }
    there = Placement(height=20, width=24, scale_x=1.0, scale_y=1.0, left=0.0, top=0.0)
    return evaluation.result(at, outputs, there, (20, 24), PLAIN)


LEFT, RIGHT = (0, 0, 12, 10), (6, 5, 24, 20)  # of noise_samples.coco


def labelled(count: int) -> Evaluation:
    table = coco([f"{at}.jpg" for at in range(count)])
    table["annotations"] = [{**each, "area": each["bbox"][2] * each["bbox"][3]} for each in table["annotations"]]
    pictures = tuple(Picture(path=Path(f"{at}.jpg"), name=f"{at}.jpg", id=at + 1) for at in range(count))
    return evaluation_of("detect", DETECTOR, DataSet(layout="coco", pictures=pictures, annotations=table))


def test_average_precision_by_hand() -> None:
    """Left: all found, the first with a worse score than a wrong one. Right: one of two is found."""
    evaluation = labelled(2)
    found = [
        found_boxes(evaluation, 0, (LEFT, 0.9, 0), (RIGHT, 0.9, 1)),
        found_boxes(evaluation, 1, (LEFT, 0.7, 0), ((14, 12, 20, 18), 0.8, 0)),
    ]

    figures = evaluation.figures(found, [0, 1], found)

    # 101 places of recall: precision 1 up to a half (51 of them), then 2 of 3 with the envelope.
    left = (51 * 1 + 50 * 2 / 3) / 101
    right = 51 / 101
    assert figures["mAP"] == pytest.approx((left + right) / 2, abs=1e-9)
    assert figures["AP50"] == pytest.approx(figures["mAP"])


def test_a_box_is_true_up_to_its_overlap() -> None:
    """An overlap of .72 counts at .50, .55, .60, .65 and .70."""
    evaluation = labelled(1)
    found = [found_boxes(evaluation, 0, ((0, 0, 12, 7.2), 0.9, 0), (RIGHT, 0.9, 1))]

    assert evaluation.figures(found, [0], found)["mAP"] == pytest.approx((0.5 + 1) / 2)


def test_a_class_beyond_the_labels_contradicts_them() -> None:
    with pytest.raises(UsageError, match="finds class 2, and the labels have 2 categories"):
        found_boxes(labelled(1), 0, (LEFT, 0.9, 2))


def test_the_share_of_boxes_with_a_partner() -> None:
    evaluation = evaluation_of("agree", DETECTOR, data([None] * 3))
    base = [
        found_boxes(evaluation, 0, (LEFT, 0.9, 0), (RIGHT, 0.9, 1)),
        found_boxes(evaluation, 1, (LEFT, 0.9, 0), (RIGHT, 0.4, 1)),  # 0.4 is not shown
        found_boxes(evaluation, 2),
    ]
    other = [
        found_boxes(evaluation, 0, (LEFT, 0.8, 0), (RIGHT, 0.9, 0)),  # another class
        found_boxes(evaluation, 1, (LEFT, 0.9, 0)),
        found_boxes(evaluation, 2, (LEFT, 0.9, 1)),
    ]

    figures = evaluation.figures(other, range(3), base)
    found = compared(evaluation, base, other)

    # Shown are 3 and 4 boxes; with a partner on the other side are 2 and 2.
    assert figures == {"agreement": pytest.approx(4 / 7)}
    assert evaluation.figures(base, range(3), base) == {"agreement": 1}
    assert (found.lost, found.won, found.changed) == (1, 2, 2)
    assert found.delta == pytest.approx(3 / 7)
    assert evaluation.shown(0, base[0]).text == "1 of class 0, 1 of class 1"


def test_a_person_is_shown_where_the_boxes_lie() -> None:
    evaluation = evaluation_of("agree", DETECTOR, data([None]))
    found = found_boxes(evaluation, 0, ((1, 2, 5, 9), 0.9, 0), ((0, 0, 3, 3), 0.2, 0))
    assert evaluation.shown(0, found).boxes == ((1, 2, 4, 7),)


def test_pictures_on_which_nothing_is_shown_decide_nothing() -> None:
    evaluation = evaluation_of("agree", DETECTOR, data([None] * 3))
    nothing = [found_boxes(evaluation, at) for at in range(3)]

    found = compared(evaluation, nothing, nothing)

    assert math.isnan(found.delta)
    assert found.verdict == "INCONCLUSIVE"


def test_embeddings_decide_nothing() -> None:
    with pytest.raises(UsageError, match="decides nothing that could agree"):
        evaluation_of("agree", Card(name="c", task="embed"), data([None]))
