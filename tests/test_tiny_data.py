"""What the tiny models are judged on: the same on every machine, or said to be other data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CACHE, Conform

from sysnoise_conform.datasets import read_data
from sysnoise_conform.errors import UsageError
from sysnoise_conform.models.tiny import held_out, recipe, scenes, speech, stories
from sysnoise_conform.models.tiny.chance import Chance
from sysnoise_conform.models.tiny.jpegs import library
from sysnoise_conform.models.tiny.vocoder import waveform
from sysnoise_conform.noise.audio import log_mel


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE", str(CACHE))


def test_chance_is_splitmix() -> None:
    stream = Chance()

    # the first numbers of SplitMix64 from state 0, as its authors' splitmix64.c gives them
    assert [stream.word() for _ in range(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_a_field_is_the_stream_of_its_own_place() -> None:
    assert Chance(1).field(4, 5, below=10).tolist() == Chance(1).field(20, below=10).reshape(4, 5).tolist()
    assert set(Chance(2).field(1000, below=3).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("name", held_out.NAMES)
def test_what_is_drawn_is_what_was_recorded(name: str) -> None:
    model = held_out.tiny(name)

    for part in model.drawn:
        found = held_out.data(name, part)
        known = name not in held_out.PICTURES or library() in model.jpegs[part]
        assert (found.other == "") == known, found.other


@pytest.mark.parametrize(("name", "task"), [("tiny-cls", "classify"), ("tiny-det", "detect"), ("tiny-seg", "segment")])
def test_the_pictures_are_in_a_layout_that_noise_reads(name: str, task: str) -> None:
    data = read_data(held_out.data(name).folder, task)

    assert len(data.pictures) == {
        "classify": recipe.CLASSIFIER, "detect": recipe.DETECTOR, "segment": recipe.SEGMENTER
    }[task].held_out  # fmt: skip
    assert not data.problems


def test_pixels_that_differ_are_other_data() -> None:
    model = held_out.tiny("tiny-cls")
    folder, sums = held_out.draw("tiny-cls", "calibration")

    found = held_out.compared(model, "calibration", folder, {**sums, "drawn": "0" * 64})

    assert found.other == "other data: what is drawn here is not what was recorded"


def test_jpegs_of_a_library_that_was_never_recorded_are_other_data() -> None:
    model = held_out.tiny("tiny-cls")
    folder, sums = held_out.draw("tiny-cls", "calibration")

    found = held_out.compared(model, "calibration", folder, {**sums, "library": "9.9"})
    none = held_out.compared(model, "calibration", folder, {**sums, "library": ""})

    assert found.other == "other data: the JPEGs are of libjpeg-turbo 9.9, of which none were recorded"
    assert none.other.startswith("other data: the JPEGs are of another JPEG library")


def test_jpegs_that_differ_are_other_data() -> None:
    folder, sums = held_out.draw("tiny-cls", "calibration")
    model = replace(held_out.tiny("tiny-cls"), jpegs={"calibration": {sums["library"]: "0" * 64}})

    assert "are not those recorded for libjpeg-turbo" in held_out.compared(model, "calibration", folder, sums).other


def test_a_file_that_was_harmed_in_the_cache_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE", str(tmp_path))
    folder, before = held_out.draw("tiny-cls", "calibration")
    picture = folder / "0007.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-3] + b"abc")

    _, after = held_out.draw("tiny-cls", "calibration")

    assert picture.read_bytes() == whole
    assert after == before


def test_training_and_held_out_scenes_are_others() -> None:
    pairs = [(scenes.single(recipe.TRAINING, n), scenes.single(recipe.HELD_OUT, n)) for n in range(8)]

    assert all(one.pixels.shape != other.pixels.shape or (one.pixels != other.pixels).any() for one, other in pairs)


def test_boxes_hold_the_pixels_of_their_shape_tightly() -> None:
    for number in range(12):
        scene = scenes.several(3, number)
        assert scene.mask is not None
        for (x1, y1, x2, y2), kind in zip(scene.boxes, scene.kinds, strict=True):
            inside = scene.mask[y1:y2, x1:x2] == kind + 1
            assert inside.any(1)[[0, -1]].all()
            assert inside.any(0)[[0, -1]].all()


def test_no_question_that_is_held_out_is_among_the_texts() -> None:
    held = {
        each.text for sort in stories.SORTS for each in stories.held_out_items(recipe.HELD_OUT, sort, 60)
    }

    assert held.isdisjoint(stories.texts(recipe.TRAINING, 2000, without=frozenset(held)))


def test_questions_have_the_keys_of_their_collections() -> None:
    folder = held_out.data("tiny-lm").folder
    rows = {
        path.parent.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("*/*.jsonl"))
    }

    assert {name: sorted(each[0]) for name, each in rows.items()} == {
        "hellaswag": sorted(
            ["ind", "activity_label", "ctx_a", "ctx_b", "ctx", "endings", "source_id", "split", "split_type", "label"]
        ),
        "lambada": ["text"],
        "piqa": ["goal", "sol1", "sol2"],
        "winogrande": ["answer", "option1", "option2", "qID", "sentence"],
    }
    assert {len(each) for each in rows.values()} == {recipe.LANGUAGE.held_out}
    labels = (folder / "piqa" / "valid-labels.lst").read_text().split()
    assert len(labels) == recipe.LANGUAGE.held_out
    assert 0.4 < labels.count("1") / len(labels) < 0.6


def test_a_sound_is_as_long_as_its_letters() -> None:
    for text in speech.sentences(1, 20):
        samples = speech.sound(text)
        assert len(samples) == sum(speech.lengths(text)) * speech.HOP
        assert np.abs(samples.astype(int)).max() < 32767


def test_a_sound_made_of_its_features_has_these_features() -> None:
    mel = log_mel(speech.sound("lami sotu") / 32768, recipe.SPECTRUM)

    again = log_mel(waveform(mel), recipe.SPECTRUM)

    assert np.mean((again - mel) ** 2) < 0.05 * np.var(mel)


def test_no_tiny_model_of_that_name() -> None:
    with pytest.raises(UsageError, match="there is no tiny model 'tiny-clz'; did you mean 'tiny-cls'"):
        held_out.tiny("tiny-clz")


def test_the_command_lists_and_delivers(conform: Conform, tmp_path: Path) -> None:
    listed = conform("tiny")
    done = conform("tiny", "tiny-det", "--out", "here")
    again = conform("tiny", "tiny-det", "--out", "here")
    unknown = conform("tiny", "big-cls")

    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(held_out.NAMES)
    assert done.code == 0, done.stderr
    assert "recorded on these data: mAP" in done.stdout or "other data" in done.stdout
    assert (tmp_path / "here" / "held-out" / "instances.json").is_file()
    assert (tmp_path / "here" / "tiny-det.onnx").is_file()
    assert again.code == 2
    assert "is there already" in again.stderr
    assert unknown.code == 2
    assert unknown.stderr.startswith("error: there is no tiny model 'big-cls'")
