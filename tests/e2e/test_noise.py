"""`conform noise` end to end: real runtimes, JPEGs and labels, backends that crash, pictures that are broken, kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import onnx
import pytest
from conftest import CACHE, ROOT, Conform, Done
from noise_samples import COLOURS, Place, picture, place
from PIL import Image

from sysnoise_conform.cli import invoke

FAKES = fakes.as_environment()
SCHEMA = json.loads((ROOT / "reports" / "schema" / "noise.json").read_text())
# What two runs of one matrix may differ in.
VOLATILE = {name for name, each in SCHEMA["properties"].items() if each.get("volatile")}
KILLS = int(os.environ.get("CONFORM_KILLS", "6"))


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run knows the fakes."""
    monkeypatch.setenv(*next(iter(FAKES.items())))


Refused = Callable[..., None]


def asked(
    there: Place, *more: str | Path, backends: str = "exact", noise: str = "resize=pillow-nearest"
) -> list[str | Path]:
    given = ["noise", "-m", there.model, "-d", there.data, "-b", backends, "-x", noise, "--out", "out", *more]
    return given if "--baseline" in more else [*given, "--baseline", "exact"]


def report(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((done.out / "noise.json").read_text())
    return found


def cells(done: Done) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(each["axis"], each["level"], each["backend"]): each for each in report(done)["cells"]}


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Expects one line of error and exit code 2; in this process, since no backend has to start for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONFORM_CACHE", str(CACHE))

    def check(arguments: list[str | Path], *words: str) -> None:
        code = invoke([str(each) for each in arguments])
        said = capsys.readouterr()
        assert code == 2, said
        assert said.err.count("error:") == 1, said.err
        for word in words:
            assert word in said.err
        assert "Traceback" not in said.out + said.err
        assert not (tmp_path / "out" / "noise.json").exists()

    return check


# Tasks.


def test_classification_on_two_real_runtimes(conform: Conform, tmp_path: Path) -> None:
    there = place(tmp_path / "c", "classify")

    done = conform(*asked(
        there, "--baseline", "ort", "--margin", "60", backends="ort,openvino:fp32",
        noise="resize=pillow-nearest,channels",
    ))  # fmt: skip

    found = cells(done)
    assert report(done)["baseline"] == {"backend": "ort", "top1": 100, "top5": 100, "agreement": 100}
    assert found["backend", "openvino:fp32", "openvino:fp32"]["value"] == 100
    assert found["control", "again", "ort"]["delta"] == 0
    for backend in ("ort", "openvino:fp32"):
        # Red and blue are exchanged: of red, green, blue one is left.
        swapped = found["channels", "swapped", backend]
        assert swapped["value"] == pytest.approx(100 / 3, abs=1e-4)
        assert (swapped["flips_lost"], swapped["flips_won"]) == (4, 0)
    assert done.code == 5  # 6 pictures can't tell whether two thirds are more than 60 points
    assert {each["picture"] for each in report(done)["flips"] if each["axis"] == "channels"} == {
        "00.jpg", "02.jpg", "03.jpg", "05.jpg",
    }  # fmt: skip


def test_detection(conform: Conform, tmp_path: Path) -> None:
    there = place(tmp_path / "d", "detect")

    done = conform(*asked(there, "--margin", "60", noise="box_offset=xyxy2xywh,box_rounding=floor"))

    found = cells(done)
    assert report(done)["baseline"]["mAP"] == 100
    # 13 x 11 instead of 12 x 10 is an overlap of .839, 19 x 16 instead of 18 x 15 one of .888: 7 and 8 of 10 count.
    assert found["box_offset", "xyxy2xywh", "exact"]["value"] == pytest.approx(75, abs=1e-6)
    assert found["box_offset", "xyxy2xywh", "exact"]["verdict"] == "PASS"
    assert found["box_rounding", "floor", "exact"]["status"] == "noop"
    assert done.code == 0


def test_segmentation(conform: Conform, tmp_path: Path) -> None:
    there = place(tmp_path / "s", "segment")

    done = conform(*asked(there, noise="normalisation=raw"))

    assert report(done)["baseline"]["mIoU"] == 100
    # Not divided by 255 everything is bright: one class of two, and of it a quarter is right.
    raw = cells(done)["normalisation", "raw", "exact"]
    assert raw["value"] == pytest.approx(12.5)
    assert raw["verdict"] == "FAIL"
    assert done.code == 1


@pytest.mark.parametrize("task", ["classify", "text-detect", "segment", "detect"])
def test_agreement_needs_no_labels_whatever_the_card(conform: Conform, tmp_path: Path, task: str) -> None:
    there = place(tmp_path / "a", task, labels=False)

    done = conform(*asked(there, "--task", "agree", "--margin", "50", backends="exact,makes_nan"))

    found = cells(done)
    assert report(done)["task"] == "agree"
    assert report(done)["metric"] == "agreement"
    assert report(done)["baseline"]["agreement"] == 100
    assert found["control", "again", "exact"]["value"] == 100
    broken = found["backend", "makes_nan", "makes_nan"]
    assert broken["value"] < 100
    # One number of a map is one pixel of 256, less than a person sees; of scores it is an answer.
    assert (broken["flips_lost"] == 0) == (task in ("text-detect", "segment"))
    assert done.code == (0 if task in ("text-detect", "segment") else 5)


# Exit codes, and what a fault costs.


def test_each_fault_costs_its_own_cells_and_has_its_own_code(conform: Conform, tmp_path: Path) -> None:
    there = place(tmp_path / "c", "classify")
    arguments = ("--margin", "60")

    done = conform(*asked(there, *arguments, backends="exact,crashes,refuses,absent"))

    found = cells(done)
    assert done.code == 3
    assert found["resize", "pillow-nearest", "exact"]["status"] == "measured"
    for backend, status in (("crashes", "crashed"), ("refuses", "unsupported"), ("absent", "unavailable")):
        for cell in (("backend", backend, backend), ("resize", "pillow-nearest", backend)):
            assert found[cell]["status"] == status
            assert found[cell]["value"] is None
            assert found[cell]["reason"]
    # The same again out of the journal: nobody is asked a second time.
    again = conform(*asked(there, *arguments, "--resume", backends="exact,crashes,refuses,absent"))
    assert again.code == 3
    assert cells(again) == found


@pytest.mark.parametrize(("backend", "code"), [("refuses", 5), ("absent", 6)])
def test_a_cell_without_an_answer_is_never_green(conform: Conform, tmp_path: Path, backend: str, code: int) -> None:
    done = conform(*asked(place(tmp_path / "c", "classify"), "--margin", "100", backends=backend))

    assert done.code == code
    assert not [each for each in report(done)["cells"] if each["verdict"] and each["axis"] != "control"]


def test_a_baseline_that_fails_leaves_nothing_to_compare_with(refused: Refused, tmp_path: Path) -> None:
    there = place(tmp_path / "c", "classify")

    refused(asked(there, "--baseline", "crashes"), "the baseline crashes failed")


def test_what_is_asked_wrongly_is_said_in_a_line(refused: Refused, tmp_path: Path) -> None:
    there = place(tmp_path / "t", "text-detect", labels=False)

    refused(asked(there), "text-detect", "--task agree")
    refused(asked(there, "--task", "agree", "--samples", "7"), "7 pictures were asked for, there are 6")
    refused(asked(there, "--task", "agree", noise="nms"), "does not fit the task text-detect")
    there.card.write_text(there.card.read_text().replace("text-detect", "embed"))
    refused(asked(there, "--task", "agree"), "embed decides nothing")
    there.card.unlink()
    refused(asked(there, "--task", "agree"), "need a model card", "net.toml")


# Bad pictures and labels.


def spoiled(folder: Path) -> Place:
    """Eight pictures of which three are fine."""
    there = place(folder, "classify", count=8)
    whole = (there.data / "00.jpg").read_bytes()
    (there.data / "00.jpg").write_bytes(whole[: len(whole) // 2])
    (there.data / "01.jpg").write_bytes(b"")
    Image.new("1", (11_000, 11_000)).save(there.data / "02.png")
    labels = (there.data / "labels.csv").read_text()
    labels = labels.replace("02.jpg,2", "02.png,2").replace("03.jpg,0", "03.jpg,3").replace("04.jpg,1", "gone.jpg,1")
    (there.data / "labels.csv").write_text(labels)
    (there.data / "02.jpg").unlink()
    return there


def test_bad_pictures_and_labels_are_counted_or_end_the_run(
    conform: Conform, refused: Refused, tmp_path: Path
) -> None:
    there = spoiled(tmp_path / "c")

    refused(asked(there), "gone.jpg")
    done = conform(*asked(there, "--on-bad", "skip", "--margin", "90"))

    problems = {each["name"]: each["why"] for each in report(done)["problems"]}
    assert set(problems) == {"gone.jpg", "04.jpg", "00.jpg", "01.jpg", "02.png", "03.jpg"}
    assert "broken" in problems["00.jpg"]
    assert "the limit is" in problems["02.png"]
    assert "is of class 3; the model knows 3" in problems["03.jpg"]
    assert report(done)["samples"] == 7
    assert cells(done)["control", "again", "exact"]["samples"] == 3
    assert done.code in (0, 5)
    again = conform(*asked(there, "--on-bad", "skip", "--margin", "90", "--resume"))
    assert report(again)["problems"] == report(done)["problems"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("00.jpg", b"\xff\xd8\xff\xe0", "00.jpg"), ("labels.csv", b"file,class_index\n00.jpg,5\n", "01.jpg")],
)
def test_the_first_bad_thing_ends_the_run_with_its_name(
    refused: Refused, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    there = place(tmp_path / "c", "classify")
    (there.data / name).write_bytes(content)

    refused(asked(there), words)


def test_legal_but_awkward_pictures_are_measured(conform: Conform, tmp_path: Path) -> None:
    there = place(tmp_path / "a", "classify", count=2, labels=False)
    pixels = Image.open(there.data / "00.jpg")
    pixels.convert("CMYK").save(there.data / "cmyk.jpg")
    pixels.convert("P").save(there.data / "palette.png")
    pixels.resize((1, 1)).save(there.data / "one.png")
    Image.fromarray((np.arange(480).reshape(20, 24) * 100).astype(np.uint16)).save(there.data / "wide.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    pixels.save(there.data / "turned.jpg", exif=turned.tobytes())
    pixels.save(there.data / "deep.jpg", "MPO", save_all=True, append_images=[pixels.rotate(90)])  # as telephones do

    noise = "decoder=float-idct,resize=pillow-nearest,exif"
    done = conform(*asked(there, "--task", "agree", "--margin", "90", noise=noise))

    assert report(done)["samples"] == 8
    # Of four inks libjpeg makes no RGB: that costs the one level that asks it for such, and is told.
    assert [(each["name"], "not decoded by float-idct" in each["why"]) for each in report(done)["problems"]] == [
        ("cmyk.jpg", True)
    ]
    assert cells(done)["decoder", "float-idct", "exact"]["samples"] == 7
    assert cells(done)["resize", "pillow-nearest", "exact"]["samples"] == 8
    assert done.code in (0, 5)


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
def test_a_file_of_several_pictures_is_named_since_nobody_says_which_is_meant(
    conform: Conform, refused: Refused, tmp_path: Path, suffix: str
) -> None:
    there = place(tmp_path / "a", "classify", count=3, labels=False)
    pixels = Image.open(there.data / "00.jpg")
    pixels.save(there.data / f"moving.{suffix}", save_all=True, append_images=[pixels.rotate(90)])

    refused(asked(there, "--task", "agree"), f"'moving.{suffix}' holds 2 pictures", "--on-bad skip")
    if suffix == "webp":
        done = conform(*asked(there, "--task", "agree", "--margin", "90", "--on-bad", "skip"))
        assert [each["name"] for each in report(done)["problems"]] == ["moving.webp"]
        assert cells(done)["resize", "pillow-nearest", "exact"]["samples"] == 3


@pytest.mark.parametrize("policy", ["fail", "skip"])
@pytest.mark.parametrize(
    ("task", "change", "words"),
    [
        ("classify", ("size = 16", "size = 32"), "the card makes images of height 32, the model takes 16"),
        ("classify", ("size = 16", "size = 16\ncolour = 'GRAY'"), "images of 1 channel (GRAY, NCHW), the model's"),
        ("classify", ("size = 16", "size = 16\nlayout = 'NHWC'"), "images of 3 channels (RGB, NHWC), the model's"),
        ("classify", ("task", "output = 'z'\ntask"), "reads the output 'z', which the model has not"),
        ("detect", ("'scores'", "'z'"), "does not name an output of the model for scores"),
        ("detect", ("classes = 'classes'", "classes = 'scores'"), "'scores' for classes, and none of its values is"),
        ("detect", ("[heads]", "[heads]\nfirst_class = 5"), "the model finds class 0, and the card's first_class is 5"),
        ("detect", ("[heads]", "[heads]\nfirst_class = -3"), "the model finds class 4, and the labels have 2"),
    ],
)  # fmt: skip
def test_a_card_that_contradicts_the_model_ends_the_run_whatever_the_policy(
    refused: Refused, tmp_path: Path, policy: str, task: str, change: tuple[str, str], words: str
) -> None:
    there = place(tmp_path / "c", task, count=2)
    there.card.write_text(there.card.read_text().replace(*change))

    refused(asked(there, "--on-bad", policy), words)


@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_data_without_one_picture_that_can_be_read_is_no_fault_of_the_baseline(
    refused: Refused, tmp_path: Path, policy: str
) -> None:
    there = place(tmp_path / "c", "classify", count=3)
    for each in there.data.glob("*.jpg"):
        each.write_bytes(b"")

    refused(asked(there, "--on-bad", policy), "00.jpg", "no picture that can be read")


@pytest.mark.parametrize("policy", ["fail", "skip"])
@pytest.mark.parametrize(
    ("said", "bbox", "words"),
    [
        ({"width": 2400, "height": 2000}, None, "'00.jpg' has 24 x 20 pixels; the labels say 2400 x 2000"),
        ({"width": 20, "height": 24}, [0, 0, 20, 20], ""),  # before EXIF turned it
        ({}, [200, 0, 90, 8], "'00.jpg' has 24 x 20 pixels, and its box [200.0, 0.0, 90.0, 8.0] lies outside"),
        ({}, [0, 0, 24, 20], ""),
    ],
)
def test_a_picture_that_contradicts_its_boxes_is_named(
    conform: Conform, refused: Refused, tmp_path: Path, policy: str, said: dict[str, int], bbox: list[int] | None,
    words: str,
) -> None:  # fmt: skip
    there = place(tmp_path / "d", "detect", count=3)
    place_of = there.data / "instances.json"
    table = json.loads(place_of.read_text())
    first = table["images"][0]
    table["images"][0] = {"id": first["id"], "file_name": first["file_name"], **said}
    for each in table["annotations"]:
        if bbox and each["image_id"] == first["id"]:
            each["bbox"] = bbox
    place_of.write_text(json.dumps(table))
    command = asked(there, "--on-bad", policy, "--margin", "90")

    if words and policy == "fail":
        refused(command, words)
        return
    found = report(conform(*command))["problems"]
    assert [(each["name"], words in each["why"]) for each in found] == ([("00.jpg", True)] if words else [])


# Kills.


def many(folder: Path) -> Place:
    return place(folder, "classify", count=40)


NOISES = "resize=pillow-nearest,resize=opencv-bilinear,normalisation,channels,output_arithmetic"


def bare(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    return {name: value for name, value in found.items() if name not in VOLATILE}


def rows(journal: Path) -> int:
    """Results that are in the journal; 0 where there is none yet."""
    try:
        base = sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)
    except sqlite3.Error:
        return 0
    try:
        return int(base.execute("SELECT COUNT(*) FROM results").fetchone()[0])
    except sqlite3.Error:
        return 0
    finally:
        base.close()


def test_a_run_that_is_killed_again_and_again_goes_on_to_the_same_report(conform: Conform, tmp_path: Path) -> None:
    """Kills at seeded places of the work and a moment after; the first one hits before anything is measured."""
    there = many(tmp_path / "d")
    command = asked(there, "--margin", "50", noise=NOISES)
    whole = conform(*command[:-2], "--baseline", "exact")
    wanted = bare(whole.out / "noise.json")
    total = rows(whole.out / "journal.sqlite")
    rng = random.Random(KILLS)
    targets = [0, *sorted(rng.sample(range(1, total), KILLS - 1))]
    given = [str(each) if str(each) != "out" else "killed" for each in command]

    hits = 0
    for target in targets:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from sysnoise_conform.cli import main; main()", *given, "--resume"],
            cwd=tmp_path, env={**os.environ, "CONFORM_CACHE": str(CACHE)}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None and rows(tmp_path / "killed" / "journal.sqlite") < target:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.4) if target == 0 else rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        hits += process.wait() == -signal.SIGKILL
        assert not (tmp_path / "killed" / "noise.json").exists() or process.returncode == 0

    done = conform(*given, "--resume")

    assert hits >= KILLS // 2  # else nothing was interrupted here
    assert done.code == whole.code
    assert bare(done.out / "noise.json") == wanted
    assert report(done)["resumed"] > 0


def test_the_journal_of_another_model_card_or_data_is_refused(
    conform: Conform, refused: Refused, tmp_path: Path
) -> None:
    there = place(tmp_path / "d", "detect")
    done = conform(*asked(there, "--margin", "50"))
    assert done.code == 0
    (done.out / "noise.json").unlink()

    def not_mine() -> None:
        refused(asked(there, "--margin", "50", "--resume"), "another model, data, card or version")

    card = there.card.read_text()
    there.card.write_text(card.replace("[heads]", "[heads]\niou = 0.6"))
    not_mine()
    there.card.write_text(card)
    model = onnx.load(there.model)
    kept = there.model.read_bytes()
    model.graph.name = "other"
    onnx.save(model, there.model)
    not_mine()
    there.model.write_bytes(kept)
    path = there.data / "00.jpg"
    first = path.read_bytes()
    picture(path, COLOURS[1], size=(48, 40))
    not_mine()
    changed = bytearray(first)
    changed[-9] ^= 1  # of the same size and name
    path.write_bytes(changed)
    not_mine()
    path.write_bytes(first)
    assert conform(*asked(there, "--margin", "50", "--resume")).code == 0


def test_a_folder_that_holds_another_ones_file_is_left_alone(conform: Conform, tmp_path: Path) -> None:
    there = place(tmp_path / "c", "classify")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "noise.json").write_text("mine")

    done = conform(*asked(there))

    assert done.code == 2
    assert (tmp_path / "out" / "noise.json").read_text() == "mine"


# Hooks.

HOOKS = """
import numpy as np

print("loaded", flush=True)

def boxes(outputs, size, decoding):
    return outputs["boxes"], outputs["scores"], outputs["classes"]

def scores(outputs, size, decoding):
    return outputs["y"][0, ::-1]  # the classes in the other order

def broken(outputs, size, decoding):
    return 1 / 0
"""


def hooked(there: Place, name: str) -> None:
    (there.folder / "hooks.py").write_text(HOOKS)
    (there.folder / "numpy.py").write_text("raise SystemExit('the numpy beside the card was imported')")
    lines = [line for line in there.card.read_text().splitlines() if not line.startswith("decoder")]
    there.card.write_text("\n".join([f'decoder = "hooks:{name}"', *lines]))


def test_a_hook_decodes_where_it_is_trusted(conform: Conform, refused: Refused, tmp_path: Path) -> None:
    there = place(tmp_path / "d", "detect")
    hooked(there, "boxes")

    refused(asked(there), "'hooks:boxes'", "--allow-hooks")
    allowed = conform(*asked(there, "--allow-hooks", "--margin", "60", noise="box_offset=xyxy2xywh"))

    assert allowed.code == 0, allowed.stderr
    assert report(allowed)["baseline"]["mAP"] == 100
    assert cells(allowed)["box_offset", "xyxy2xywh", "exact"]["value"] == pytest.approx(75, abs=1e-6)
    assert (allowed.out / "logs" / "hook.txt").read_text() == "loaded\n"


def test_a_hook_makes_scores_of_classes_and_its_errors_are_a_line(
    conform: Conform, refused: Refused, tmp_path: Path
) -> None:
    there = place(tmp_path / "c", "classify")
    hooked(there, "scores")

    done = conform(*asked(there, "--card", there.card, "--margin", "90"))
    assert report(done)["baseline"]["top1"] == pytest.approx(100 / 3, abs=1e-4)  # green alone stays where it is
    hooked(there, "broken")
    (tmp_path / "out" / "noise.json").unlink()
    where = "ZeroDivisionError: division by zero (hooks.py, line 13)"
    refused(asked(there, "--card", there.card), "hooks:broken", where)


def test_pictures_may_be_links_where_that_is_allowed(conform: Conform, refused: Refused, tmp_path: Path) -> None:
    there = place(tmp_path / "c", "classify", labels=False)
    shutil.move(there.data, tmp_path / "elsewhere")
    there.data.mkdir()
    for each in (tmp_path / "elsewhere").iterdir():
        (there.data / each.name).symlink_to(each)
    arguments = ("--task", "agree", "--margin", "90")

    refused(asked(there, *arguments), "leaves the folder", "--allow-linked-data")
    assert conform(*asked(there, *arguments, "--allow-linked-data")).code == 0
