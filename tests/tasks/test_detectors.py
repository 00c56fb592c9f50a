"""Decoders of detectors against their formulas, written out here box by box, and what each choice in them does."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from sysnoise_conform.card import Card, Heads
from sysnoise_conform.errors import UsageError
from sysnoise_conform.pictures.place import Placement
from sysnoise_conform.tasks.boxes import Boxes, as_coco, from_centres, on_picture, overlaps, rounded, suppress
from sysnoise_conform.tasks.decoding import EXP_LIMIT, Decoding
from sysnoise_conform.tasks.detectors import decode, made_anchors

RNG = np.random.default_rng(3)
SIZE = (64, 96)  # height, width of the tensor
PLAIN = Decoding()


def card(decoder: str, **heads) -> Card:
    return Card(name="c", task="detect", decoder=decoder, heads=Heads(**{"iou": None, **heads}))


def rows(boxes: Boxes) -> list[tuple[float, ...]]:
    """Boxes as tuples in an order of their own: x1, y1, x2, y2, score, class."""
    found = zip(boxes.corners.tolist(), boxes.scores.tolist(), boxes.classes.tolist(), strict=True)
    return sorted((*corners, score, kind) for corners, score, kind in found)


def same(found: list[tuple[float, ...]], wanted: list[tuple[float, ...]]) -> None:
    assert len(found) == len(wanted)
    np.testing.assert_allclose(found, sorted(wanted), rtol=1e-6, atol=1e-6)


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (a, b)]
    return across * down / (sum(areas) - across * down)


@pytest.mark.parametrize("name", ["yolov5", "yolov8"])
def test_yolo(name: str) -> None:
    count, classes = 40, 3
    centres, sides = RNG.uniform(10, 50, (count, 2)), RNG.uniform(2, 30, (count, 2))
    objectness, shares = RNG.uniform(size=count), RNG.uniform(size=(count, classes))
    parts = [centres, sides, *([objectness[:, None]] if name == "yolov5" else []), shares]
    raw = np.concatenate(parts, axis=1)[None]

    found = decode(card(name), {"y": raw if name == "yolov5" else raw.transpose(0, 2, 1)}, SIZE, PLAIN)

    wanted = []
    for (x, y), (w, h), there, share in zip(centres, sides, objectness, shares, strict=True):
        kind = max(range(classes), key=lambda each: share[each])
        score = share[kind] * (there if name == "yolov5" else 1)
        if score > 0.01:
            wanted.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2, score, kind))
    same(rows(found), wanted)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_retinanet_anchors_lie_where_detectrons_do() -> None:
    """Centre half a cell in, areas of size², height / width as the ratio; the map ends with the picture."""
    found = made_anchors(Heads(strides=(32, 64), sizes=((40.0,), (80.0, 100.0)), ratios=(0.5, 2.0)), SIZE)

    wanted = []
    for stride, sizes in ((32, (40.0,)), (64, (80.0, 100.0))):
        for row in range(math.ceil(SIZE[0] / stride)):
            for column in range(math.ceil(SIZE[1] / stride)):
                for size in sizes:
                    for ratio in (0.5, 2.0):
                        w = math.sqrt(size * size / ratio)
                        h = w * ratio
                        x, y = (column + 0.5) * stride, (row + 0.5) * stride
                        wanted.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_ssd_anchors_are_given_by_width_and_height() -> None:
    found = made_anchors(Heads(strides=(64,), sizes=(((30.0, 30.0), (60.0, 15.0)),), centre=0.5), SIZE)

    assert found.tolist() == [
        [17, 17, 47, 47], [2, 24.5, 62, 39.5], [81, 17, 111, 47], [66, 24.5, 126, 39.5],
    ]  # fmt: skip


RETINANET = {
    "strides": (32,), "sizes": ((40.0,),), "ratios": (0.5, 1.0, 2.0), "boxes": "b", "scores": "s",
    "activation": "sigmoid", "variances": (1.0, 1.0, 1.0, 1.0),
}  # fmt: skip
ANCHORS = 2 * 3 * 3  # of SIZE


def anchor_outputs(classes: int) -> dict[str, np.ndarray]:
    scores = RNG.standard_normal((1, ANCHORS, classes)) * 2
    deltas = RNG.standard_normal((1, ANCHORS, 4)) * 0.5
    deltas[0, 0, 2] = 7.0  # beyond the bound of logarithmic sizes
    return {"s": scores.astype(np.float32), "b": deltas.astype(np.float32)}


def by_hand(heads: Heads, outputs: dict[str, np.ndarray], shares: np.ndarray, variances: tuple[float, ...]) -> list:
    found = []
    for anchor, (dx, dy, dw, dh), scores in zip(made_anchors(heads, SIZE), outputs["b"][0], shares, strict=True):
        w, h = anchor[2] - anchor[0], anchor[3] - anchor[1]
        x = (anchor[0] + anchor[2]) / 2 + dx * variances[0] * w
        y = (anchor[1] + anchor[3]) / 2 + dy * variances[1] * h
        w *= math.exp(min(dw * variances[2], EXP_LIMIT))
        h *= math.exp(min(dh * variances[3], EXP_LIMIT))
        corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        found += [(*corners, score, kind) for kind, score in enumerate(scores) if score > 0.3]
    return found


def test_retinanet() -> None:
    outputs = anchor_outputs(4)
    heads = card("anchors", **RETINANET)

    found = decode(heads, outputs, SIZE, Decoding(score=0.3))

    shares = np.vectorize(sigmoid)(outputs["s"][0].astype(float))
    same(rows(found), by_hand(heads.heads, outputs, shares, (1.0,) * 4))


@pytest.mark.parametrize("background", ["first", "last"])
def test_ssd(background: str) -> None:
    outputs = anchor_outputs(4)
    heads = card("anchors", **{**RETINANET, "activation": "softmax", "background": background, "variances": ()})

    found = decode(heads, outputs, SIZE, Decoding(score=0.3))

    powers = np.exp(outputs["s"][0].astype(float))
    shares = powers / powers.sum(1, keepdims=True)
    shares = shares[:, 1:] if background == "first" else shares[:, :-1]
    same(rows(found), by_hand(heads.heads, outputs, shares, (0.1, 0.1, 0.2, 0.2)))


def test_boxes_that_the_graph_made() -> None:
    outputs = {
        "b": np.array([[[0.25, 0.5, 0.5, 1.0], [0, 0, 1, 1]]], np.float32),
        "s": np.array([[0.9, 0.4]], np.float32),
        "c": np.array([[3, 1]], np.int64),
    }
    names = {"boxes": "b", "scores": "s"}

    plain = decode(card("boxes", **names, classes="c", first_class=1), outputs, SIZE, PLAIN)
    unit = decode(card("boxes", **names, classes="c", normalised=True), outputs, SIZE, PLAIN)
    table = decode(card("boxes", **names), {**outputs, "s": np.array([[[0.1, 0.9], [0, 0.4]]])}, SIZE, PLAIN)

    assert plain.classes.tolist() == [2, 0]
    assert unit.corners.tolist() == [[24, 32, 48, 64], [0, 0, 96, 64]]
    assert rows(table) == [(0, 0, 1, 1, 0.4, 1), (0.25, 0.5, 0.5, 1, 0.1, 0), (0.25, 0.5, 0.5, 1, 0.9, 1)]


def test_no_box_at_all_is_an_answer() -> None:
    nothing = {"b": np.zeros((0, 4), np.float32), "s": np.zeros(0, np.float32), "c": np.zeros(0, np.int64)}

    for names in ({"classes": "c"}, {}):
        assert not len(decode(card("boxes", boxes="b", scores="s", iou=0.5, **names), nothing, SIZE, PLAIN).scores)


@pytest.mark.parametrize(
    ("decoder", "outputs", "words"),
    [
        ("boxes", {"b": np.zeros((3, 4)), "s": np.zeros(2)}, r"not \(3, 4\), \(2,\)"),
        ("boxes", {"b": np.zeros((3, 5)), "s": np.zeros(3)}, r"not \(3, 5\), \(3,\)"),
        ("boxes", {"b": np.zeros(()), "s": np.zeros(3)}, "a single number"),
        ("boxes", {"b": np.zeros((3, 4)), "x": np.zeros(3)}, "does not name an output of the model for scores"),
        ("anchors", {"b": np.zeros((3, 4)), "s": np.zeros((3, 2))}, "makes 0 anchors for 3 scores"),
        ("yolov5", {"y": np.zeros((1, 7))}, r"reads a table of boxes, not \(7,\)"),
        ("yolov5", {"y": np.zeros((1, 9, 5))}, r"reads 5 \+ classes numbers a box, not 5"),
        ("fastestdet", {"y": np.zeros((1, 5, 2, 2))}, r"reads maps of 5 \+ classes"),
    ],
)
def test_a_card_that_contradicts_the_outputs_is_refused(decoder: str, outputs: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        decode(card(decoder, boxes="b", scores="s"), outputs, SIZE, PLAIN)


def test_nan_is_no_box() -> None:
    outputs = {"b": np.array([[0, 0, np.nan, 1], [0, 0, 1, 1], [0, 0, 2, 2]]), "s": np.array([0.9, np.nan, 0.5])}

    assert decode(card("boxes", boxes="b", scores="s"), outputs, SIZE, PLAIN).corners.tolist() == [[0, 0, 2, 2]]


# What each choice does.


@pytest.mark.parametrize(("side", "wanted"), [(8, 0.766), (16, 0.879), (32, 0.939), (64, 0.969), (128, 0.984)])
def test_a_pixel_less_at_the_end_costs_small_boxes_most(side: int, wanted: float) -> None:
    centre = np.array([100.0])
    right, wrong = (
        from_centres(centre, centre, np.array([side]), np.array([side]), Decoding(offset_decode_tail=flag))
        for flag in (False, True)
    )

    assert overlaps(right, wrong)[0, 0] == pytest.approx(wanted, abs=6e-4)
    assert iou(tuple(right[0]), tuple(wrong[0])) == pytest.approx(wanted, abs=6e-4)


@pytest.mark.parametrize(("how", "wanted"), [("floor", 0.886), ("ceil", 0.885), ("round", 0.940), ("outer", 0.886)])
def test_whole_pixels_cost_boxes_of_16_so_much(how: str, wanted: float) -> None:
    corner = RNG.uniform(50, 80, (20_000, 2))
    boxes = np.concatenate([corner, corner + 16], axis=1)

    found = rounded(boxes, Decoding(coordinates=how))
    mean = np.mean([iou(tuple(a), tuple(b)) for a, b in zip(found, boxes, strict=True)])

    assert mean == pytest.approx(wanted, abs=2e-3)


def changed(how: Decoding, outputs: dict[str, np.ndarray] | None = None, **heads) -> tuple[list, list]:
    """Boxes of a detector as they are, and under a choice."""
    outputs = outputs or anchor_outputs(4)
    detector = card("anchors", **{**RETINANET, **heads})
    low = replace(how, score=0.3)
    return rows(decode(detector, outputs, SIZE, Decoding(score=0.3))), rows(decode(detector, outputs, SIZE, low))


def test_anchors_of_the_one_kind_read_by_the_other_shrink_and_move() -> None:
    outputs = {"b": np.zeros((1, ANCHORS, 4)), "s": np.full((1, ANCHORS, 1), 3.0)}

    plain, noisy = changed(Decoding(offset_anchors=True), outputs)
    _, whole = changed(Decoding(offset_anchors=True, offset_decode_tail=True), outputs)

    same([each[:4] for each in noisy], [(a, b, c - 1, d - 1) for a, b, c, d, *_ in plain])
    same([each[:4] for each in whole], [(a, b, c - 1, d - 1) for a, b, c, d, *_ in plain])


def test_without_the_bound_a_logarithmic_size_runs_away() -> None:
    outputs = {"b": np.zeros((1, ANCHORS, 4)), "s": np.full((1, ANCHORS, 1), 3.0)}
    outputs["b"][0, 4, 2] = 7.0

    plain, noisy = changed(Decoding(exp_clamp=False), outputs)
    widths = [max(each[2] - each[0] for each in side) for side in (plain, noisy)]

    assert widths[1] / widths[0] == pytest.approx(math.exp(7) / (1000 / 16))
    assert len([each for each in noisy if each in plain]) == ANCHORS - 1


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_fewer_bits_move_scores_and_sizes_a_little(kind: str) -> None:
    outputs = {"b": np.full((1, ANCHORS, 4), 0.3), "s": np.full((1, ANCHORS, 1), 1.234)}

    plain, noisy = (np.array(each) for each in changed(Decoding(arithmetic=kind), outputs))

    off = np.abs(noisy[:, 4] / plain[:, 4] - 1).max()
    assert 0 < off < {"fp16": 2e-3, "bf16": 1.5e-2}[kind]
    assert 0 < np.abs(noisy[:, :4] - plain[:, :4]).max() < 1


def pair(second: tuple[float, ...], *, classes: tuple[int, int] = (0, 0), scores: tuple[float, float] = (0.9, 0.8)):
    return Boxes(np.array([[0, 0, 10, 10], second], float), np.array(scores), np.array(classes))


def kept(boxes: Boxes, limit: float, how: Decoding) -> list[int]:
    """The positions that stay, by their second corner."""
    stay = suppress(boxes, limit, how).corners.tolist()
    return [at for at, each in enumerate(boxes.corners.tolist()) if each in stay]


HALF = (0.0, 0.0, 10.0, 5.0)  # its overlap with 10 x 10 is a half, exactly


@pytest.mark.parametrize(
    ("boxes", "limit", "how", "plain", "noisy"),
    [
        (pair(HALF), 0.5, Decoding(nms_at_least=True), [0, 1], [0]),
        (pair(HALF, classes=(0, 1)), 0.4, Decoding(class_aware=False), [0, 1], [0]),
        (pair(HALF, scores=(0.9, 0.9)), 0.4, Decoding(tie="last"), [0], [1]),
        # 6 * 11 / (11 * 11) = .545 instead of .5
        (pair(HALF), 0.52, Decoding(offset_nms=True), [0, 1], [0]),
    ],
)
def test_rules_of_suppression(
    boxes: Boxes, limit: float, how: Decoding, plain: list[int], noisy: list[int]
) -> None:
    assert kept(boxes, limit, PLAIN) == plain
    assert kept(boxes, limit, how) == noisy


def test_suppression_is_that_of_a_loop() -> None:
    corner = RNG.uniform(0, 40, (200, 2))
    boxes = Boxes(
        np.concatenate([corner, corner + RNG.uniform(5, 30, (200, 2))], axis=1), RNG.permutation(200) / 200,
        RNG.integers(0, 3, 200),
    )  # fmt: skip

    wanted: list[tuple[float, ...]] = []
    for each in sorted(rows(boxes), key=lambda row: -row[4]):
        if all(each[5] != other[5] or iou(each, other) <= 0.5 for other in wanted):
            wanted.append(each)

    same(rows(suppress(boxes, 0.5, PLAIN)), wanted)


def test_the_cards_threshold_of_overlap_or_that_of_a_noise() -> None:
    outputs = {"b": np.array([[0, 0, 10, 10], HALF]), "s": np.array([0.9, 0.8])}

    counts = [
        len(decode(card("boxes", boxes="b", scores="s", iou=iou_), outputs, SIZE, how).scores)
        for iou_, how in ((0.45, PLAIN), (0.45, Decoding(iou=0.65)), (None, PLAIN), (None, Decoding(iou=0.4)))
    ]

    assert counts == [1, 2, 2, 1]


def test_scores_equal_to_the_least_are_kept_where_that_is_the_rule() -> None:
    outputs = {"b": np.array([[0, 0, 10, 10]]), "s": np.array([0.5])}
    detector = card("boxes", boxes="b", scores="s", classes="c")
    outputs["c"] = np.array([0])

    assert not len(decode(detector, outputs, SIZE, Decoding(score=0.5)).scores)
    assert len(decode(detector, outputs, SIZE, Decoding(score=0.5, score_at_least=True)).scores) == 1


def test_of_equal_classes_the_first_or_the_last() -> None:
    raw = np.array([[[20, 20, 8, 8, 1.0, 0.2, 0.7, 0.7]]])

    assert decode(card("yolov5"), {"y": raw}, SIZE, PLAIN).classes.tolist() == [1]
    assert decode(card("yolov5"), {"y": raw}, SIZE, Decoding(argmax="last")).classes.tolist() == [2]


def test_boxes_go_back_to_the_picture_and_end_at_its_border() -> None:
    """A letterbox of a picture of 40 x 30: twice as large, 6 pixels lower."""
    there = Placement(height=30, width=40, scale_x=2.0, scale_y=2.0, left=0.0, top=6.0)
    boxes = Boxes(np.array([[10, 16, 100, 46]], float), np.ones(1), np.zeros(1, int))

    free, clipped, legacy = (
        on_picture(boxes, there, how, clip=clip).corners[0].tolist()
        for how, clip in ((PLAIN, False), (PLAIN, True), (Decoding(offset_clip=True), True))
    )

    assert free == [5, 5, 50, 20]
    assert clipped == [5, 5, 40, 20]
    assert legacy == [5, 5, 39, 20]


def test_the_width_that_is_handed_on() -> None:
    boxes = Boxes(np.array([[5, 6, 15, 26]], float), np.ones(1), np.zeros(1, int))

    assert as_coco(boxes, PLAIN).tolist() == [[5, 6, 10, 20]]
    assert as_coco(boxes, Decoding(offset_xyxy2xywh=True)).tolist() == [[5, 6, 11, 21]]


def test_the_best_hundred_stay() -> None:
    here = Placement(height=500, width=500, scale_x=1.0, scale_y=1.0, left=0.0, top=0.0)
    boxes = Boxes(RNG.uniform(0, 9, (150, 4)), RNG.permutation(150) / 150, np.zeros(150, int))

    assert on_picture(boxes, here, PLAIN, clip=False).scores.tolist() == [each / 150 for each in range(149, 49, -1)]
