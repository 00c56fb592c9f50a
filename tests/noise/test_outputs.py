"""Noises behind the graph: what each level changes, and what may be asked for."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from sysnoise_conform.card import ImageInput
from sysnoise_conform.errors import UsageError
from sysnoise_conform.matrix.cells import Cell, asked, counts, in_order
from sysnoise_conform.noise import AXES, IDENTITY, STAGES
from sysnoise_conform.noise.outputs import decoding
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.variant import parse_variant

OUTPUT = [(axis.name, level.name) for axis in AXES.values() if axis.stage == "output" for level in axis.levels]
VARIANT = parse_variant("ort")


def changed(axis: str, level: str) -> dict[str, object]:
    plain, noisy = asdict(Decoding()), asdict(decoding([(axis, level)]))
    return {name: value for name, value in noisy.items() if value != plain[name]}


@pytest.mark.parametrize(("axis", "level"), OUTPUT, ids=lambda each: each)
def test_a_level_changes_something_and_the_first_nothing(axis: str, level: str) -> None:
    assert bool(changed(axis, level)) == (level != IDENTITY)


def test_levels_change_what_their_names_say() -> None:
    assert changed("box_offset", "nms") == {"offset_nms": True}
    assert changed("box_rounding", "outer") == {"coordinates": "outer"}
    assert changed("nms", "class_agnostic") == {"class_aware": False}
    assert changed("nms", "iou_65") == {"iou": 0.65}
    assert changed("box_clip", "off") == {"clip": False}
    assert changed("output_arithmetic", "bf16") == {"softmax_first": True, "arithmetic": "bf16"}
    assert changed("argmax_tie", "last") == {"argmax": "last"}


def test_every_place_of_the_offset_together() -> None:
    single = [changed("box_offset", level.name) for level in AXES["box_offset"].levels[1:-1]]

    assert changed("box_offset", "all") == {name: True for each in single for name in each}
    assert len(single) == 5


def test_axes_add_up_and_those_of_other_stages_are_passed_over() -> None:
    together = decoding([("resize", "pillow-box"), ("nms", "at_least"), ("box_rounding", "floor")])

    assert together == replace(Decoding(), nms_at_least=True, coordinates="floor")


def test_every_axis_begins_with_the_cards_own_way_and_has_a_stage() -> None:
    for axis in AXES.values():
        assert axis.levels[0].name == IDENTITY
        assert axis.stage in STAGES
        assert all(level.about for level in axis.levels)


# What is asked for.


def names(words: str, task: str = "classify") -> dict[str, tuple[str, ...]]:
    return {each.axis: each.levels for each in asked(words, task=task)}


def test_axes_and_levels_are_asked_for_by_name() -> None:
    assert names("resize=pillow-box,exif,resize=tf-nearest,resize=pillow-box") == {
        "exif": ("ignore", "apply"), "resize": ("pillow-box", "tf-nearest"),
    }  # fmt: skip
    assert list(names("argmax_tie,decoder")) == ["decoder", "argmax_tie"]  # in the order of the pipeline


def test_all_default_and_paper_leave_out_what_the_task_has_not() -> None:
    every, usual, paper = (names(word) for word in ("all", "default", "paper"))

    assert set(usual) < set(every)
    assert set(every) - set(usual) == {axis.name for axis in AXES.values() if axis.mistake and not axis.tasks}
    assert set(paper) == {axis.name for axis in AXES.values() if axis.paper and not axis.tasks}
    assert "box_offset" not in every
    assert "box_offset" in names("paper", "detect")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("decodr", "did you mean 'decoder'"),
        ("decoder=opencw", "did you mean 'opencv'"),
        ("decoder=card", "is the card's own way"),
        ("nms", "does not fit the task classify"),
        ("", "no noise is called"),
        ("decoder,,exif", "no noise is called"),
    ],
)
def test_what_is_not_there_is_said(words: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        asked(words, task="classify")


# Cells, and the work that they share.


def test_levels_stand_in_the_order_of_the_pipeline() -> None:
    assert in_order({"argmax_tie": "last", "resize": "tf-nearest", "decoder": "opencv"}) == (
        ("decoder", "opencv"), ("resize", "tf-nearest"), ("argmax_tie", "last"),
    )  # fmt: skip


def test_shared_work_is_counted_once() -> None:
    """Outputs are decoded anew without an inference, tensors are made without a decode, the control computes again."""
    spec = ImageInput(size=(16, 16))
    levels = [(), (("argmax_tie", "last"),), (("resize", "tf-nearest"),), (("decoder", "opencv"),)]
    cells = [*(Cell(levels=each, variant=VARIANT) for each in levels), Cell(levels=(), variant=VARIANT, again=True)]

    found = counts(cells, spec, 10)

    assert (found.decodes, found.resizes, found.inferences) == (20, 30, 40)
    assert (found.naive_decodes, found.naive_resizes, found.naive_inferences) == (50, 50, 50)
    assert len({each.key for each in cells}) == 5
