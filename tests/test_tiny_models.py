"""The models that come with the project: small, whole, and as good on held-out data as their record says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import CACHE, Conform

from sysnoise_conform.card import load_card
from sysnoise_conform.models.tiny import held_out, measure, recipe
from sysnoise_conform.noise.audio import log_mel

ort = pytest.importorskip("onnxruntime")

CHANCE = {"piqa": 0.5, "hellaswag": 0.25, "winogrande": 0.5, "lambada": 0.0}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE", str(CACHE))


def runner(name: str) -> measure.Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(held_out.tiny(name).model), options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    names = [each.name for each in session.get_outputs()]

    def run(array: np.ndarray) -> Mapping[str, np.ndarray]:
        return dict(zip(names, session.run(None, {taken.name: array}), strict=True))

    return run


@pytest.mark.parametrize("name", held_out.NAMES)
def test_a_model_is_under_two_megabytes(name: str) -> None:
    model = held_out.tiny(name)

    assert sum(each.stat().st_size for each in (model.model, model.weights, model.card)) < 2_000_000


@pytest.mark.parametrize("name", held_out.NAMES)
def test_an_export_names_no_path_of_the_machine_that_trained_it(name: str) -> None:
    graph = onnx.load(held_out.tiny(name).model).graph

    assert not any(each.metadata_props or each.doc_string for each in (*graph.node, *graph.value_info, graph))


@pytest.mark.parametrize("name", held_out.NAMES)
def test_a_card_loads_and_names_the_weights_factory(name: str) -> None:
    card = load_card(held_out.tiny(name).card)

    assert card.name == name
    assert card.weights.factory.startswith("sysnoise_conform.models.tiny.")


def test_the_frozen_input_is_that_of_the_cards() -> None:
    frozen = {
        "tiny-cls": recipe.CLASSIFIER_INPUT, "tiny-det": recipe.DETECTOR_INPUT, "tiny-seg": recipe.SEGMENTER_INPUT
    }  # fmt: skip
    for name, spec in frozen.items():
        card = load_card(held_out.tiny(name).card)
        assert card.image is not None
        assert np.allclose(card.image.mean, spec.mean)
        assert np.allclose(card.image.std, spec.std)
        assert (card.image.size, card.image.resize, card.image.shorter, card.image.filter) == (
            spec.size, spec.resize, spec.shorter, spec.filter
        )  # fmt: skip
    assert load_card(held_out.tiny("tiny-det").card).heads == recipe.DETECTOR_HEADS


@pytest.mark.parametrize(
    ("name", "count", "figure", "least"),
    [("tiny-cls", 240, "top1", 0.9), ("tiny-det", 60, "AP50", 0.5), ("tiny-seg", 40, "mIoU", 0.7)],
)
def test_pictures_are_told_as_well_as_recorded(name: str, count: int, figure: str, least: float) -> None:
    model = held_out.tiny(name)

    found = measure.of_pictures(load_card(model.card), held_out.data(name).folder, runner(name), count=count)

    assert model.figures[figure] >= least
    assert found[figure] >= least - 0.03  # of a part of the pictures
    assert abs(found[figure] - model.figures[figure]) < 0.06


def test_questions_are_answered_twenty_points_above_chance() -> None:
    found = measure.of_questions(runner("tiny-lm"), count=60)

    for sort, chance in CHANCE.items():
        assert held_out.tiny("tiny-lm").figures[sort] >= chance + 0.2
        assert found[sort] >= chance + 0.2


def test_sentences_are_spoken_as_they_sound() -> None:
    from sysnoise_conform.models.tiny import speech

    texts = speech.sentences(recipe.HELD_OUT, 12)
    true = [log_mel(speech.sound(each) / 32768, recipe.SPECTRUM) for each in texts]

    found = measure.of_sentences(texts, true, runner("tiny-tts"))

    assert found["mel_mse"] < 0.2 * found["variance"]
    assert found["frames_off"] < 1


def test_the_parts_that_noises_are_looked_for_on_are_there() -> None:
    kinds = {
        name: {each.op_type for each in onnx.load(held_out.tiny(name).model).graph.node} for name in held_out.PICTURES
    }

    assert all("MaxPool" in each for each in kinds.values())
    assert "Resize" in kinds["tiny-det"]
    assert "Resize" in kinds["tiny-seg"]


@pytest.mark.parametrize(
    ("name", "noise"),
    [("tiny-cls", "resize=pillow-nearest,ceil_mode"), ("tiny-det", "upsample=linear"), ("tiny-seg", "ceil_mode")],
)
def test_noise_runs_on_a_tiny_model_with_its_own_card(conform: Conform, tmp_path: Path, name: str, noise: str) -> None:
    model, data = held_out.tiny(name), held_out.data(name)

    done = conform(
        "noise", "--model", model.model, "--data", data.folder, "--backends", "ort", "--baseline", "ort",
        "--noise", noise, "--combine", "none", "--samples", "16", "--out", "n",
    )  # fmt: skip

    assert done.code in (0, 1, 5), done.stderr
    assert (tmp_path / "n" / "noise.json").is_file()
