from __future__ import annotations

import os
from pathlib import Path

import pytest

from sysnoise_conform.card import find_card, load_card
from sysnoise_conform.errors import UsageError

WHOLE = """
name = "det"
task = "detect"
decoder = "fastestdet"
output = "boxes"
threshold = 0.5
[weights]
package = "some-package==1.0"
member = "a/b.onnx"
sha256 = "00"
licence = "MIT"
[image]
name = "x"
layout = "NHWC"
colour = "BGR"
size = [352, 416]
resize = "letterbox"
filter = "opencv-bilinear"
exif = false
scale = 1
mean = [1, 2, 3]
std = 2.5
pad = 114
[bind]
sr = 16000
[shapes]
state = [2, 1, 128]
[export]
anything = "goes"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "det.toml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_card(write(folder, text))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_card_is_read(tmp_path: Path) -> None:
    card = load_card(write(tmp_path, WHOLE))

    assert (card.name, card.task, card.decoder, card.output, card.threshold) == (
        "det",
        "detect",
        "fastestdet",
        "boxes",
        0.5,
    )
    assert card.weights.package == "some-package==1.0"
    assert card.image is not None
    assert (card.image.layout, card.image.size, card.image.exif) == ("NHWC", (352, 416), False)
    assert (card.image.mean, card.image.std, card.image.pad) == ((1.0, 2.0, 3.0), (2.5,), 114.0)
    assert card.bind == {"sr": 16000}
    assert card.shapes == {"state": (2, 1, 128)}


def test_an_empty_card_has_the_file_s_name_and_no_task(tmp_path: Path) -> None:
    card = load_card(write(tmp_path, ""))

    assert (card.name, card.task, card.image) == ("det", None, None)


def test_what_a_detectors_outputs_mean(tmp_path: Path) -> None:
    heads = "suppressed = true\niou = 0.6\nstrides = [8, 16]\nsizes = [[32, [60, 30]], 64]\nfirst_class = 1\n"
    card = load_card(write(tmp_path, f"task = 'detect'\ndecoder = 'boxes'\n[heads]\n{heads}"))

    assert card.heads.iou is None
    assert card.heads.sizes == ((32.0, (60.0, 30.0)), (64.0,))
    assert (card.heads.strides, card.heads.first_class) == ((8, 16), 1)
    assert not card.hook


def test_a_decoder_may_be_a_function_of_ones_own(tmp_path: Path) -> None:
    card = load_card(write(tmp_path, "task = 'detect'\ndecoder = 'my.package:boxes'"))

    assert card.hook
    assert card.decoder == "my.package:boxes"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "not TOML"),
        ("name = 'a'\nname = 'b'", "not TOML"),
        ("[" * 100_000, "not TOML"),
        ("naem = 'a'", "did you mean 'name'"),
        ("task = 'clasify'", "did you mean 'classify'"),
        ("task = 'detect'", "needs a decoder"),
        ("name = 3", "write text in quotes"),
        ("threshold = nan", "a finite number"),
        ("threshold = true", "a finite number"),
        ("image = 3", "write a table"),
        ("[image]\nresise = 'squash'", "did you mean 'resize'"),
        ("[image]\nresize = 'stretch'", "is not known"),
        ("[image]\nsize = [0, 3]", "one number for a square"),
        ("[image]\nsize = [1, 2, 3]", "one number for a square"),
        ("[image]\nshorter = 1.5", "a whole number"),
        ("[image]\nmean = [1, 2]", "3 numbers or one"),
        ("[image]\nstd = [1, 0, 1]", "other than 0"),
        ("[image]\nscale = 0", "other than 0"),
        ("[image]\nexif = 'no'", "true or false"),
        ("[shapes]\nx = 3", "list of whole numbers"),
        ("decoder = 'yolov3'", "did you mean"),
        ("decoder = 'os.system:'", "package.module:function"),
        ("decoder = 'a b:c'", "package.module:function"),
        ("[heads]\nstrides = [1.5]\nsizes = [1]", "whole numbers from 1 on"),
        ("[heads]\nstrides = [0]\nsizes = [1]", "whole numbers from 1 on"),
        ("[heads]\nstrides = [8]", "a list for each of the strides"),
        ("[heads]\nstrides = [8]\nsizes = [[1, 2, 3], [4]]", "a list for each of the strides"),
        ("[heads]\nstrides = [8]\nsizes = [[0]]", "positive numbers, in pixels"),
        ("[heads]\nstrides = [8]\nsizes = [[[1, 2, 3]]]", "pairs of them"),
        ("[heads]\nstrides = [8]\nsizes = [[[1, nan]]]", "pairs of them"),
        ("[heads]\nratios = [1, -2]", "positive numbers"),
        ("[heads]\nvariances = [1, 2]", "four numbers"),
        ("[heads]\nfirst_class = 0.5", "a whole number"),
        ("[heads]\nactivation = 'relu'", "is not known"),
    ],
)
def test_a_mistake_in_a_card_is_named_with_its_key(tmp_path: Path, text: str, words: str) -> None:
    assert words in refusal(tmp_path, text)


def test_a_card_that_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "absent.toml", tmp_path, tmp_path / "pipe.toml"):
        with pytest.raises(UsageError):
            load_card(path)


def test_the_card_beside_a_model_is_found(tmp_path: Path) -> None:
    assert find_card(tmp_path / "det.onnx") is None

    write(tmp_path, WHOLE)

    card = find_card(tmp_path / "det.onnx")
    assert card is not None
    assert card.path == tmp_path / "det.toml"
