"""`conform bench` end to end: the published figures alone, a measured row on a real runtime, what is refused."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Conform, Done
from noise_samples import place

from sysnoise_conform.cli import invoke


def rows(done: Done, table: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = csv.DictReader(io.StringIO((done.out / f"{table}.csv").read_text()))
    return {(each["model"], each["source"], each["column"]): each for each in found}


def test_the_published_figures_alone(conform: Conform) -> None:
    done = conform("bench", "table2", "table10", "fig3", "--published", "--out", "out")

    assert done.code == 0, done.stderr
    assert "the paper's figures alone: nothing was measured" in done.stdout
    assert {each.name for each in done.out.iterdir()} == {
        f"{name}.{suffix}" for name in ("table2", "table10", "fig3") for suffix in ("txt", "md", "tex", "csv", "html")
    }
    found = rows(done, "table2")
    assert found["MCUNet-293KB", "paper", "resize"]["max"] == "9.31"
    assert found["ResNet-50", "paper", "int8"]["mark"] == "doubtful"
    assert found["Swin-Base", "paper", "ceil_mode"]["mean"] == ""


def test_a_measured_row_stands_in_the_papers_table(conform: Conform, tmp_path: Path) -> None:
    there = place(tmp_path / "s", "segment")

    done = conform(
        "bench", "table4", "--model", there.model, "--data", there.data, "--baseline", "ort", "--out", "out"
    )

    assert done.code == 0, done.stderr
    found = rows(done, "table4")
    name = there.model.stem
    mine = {column: each for (model, source, column), each in found.items() if (model, source) == (name, "measured")}
    assert list(mine) == ["trained", "decode", "resize", "colour", "upsample", "int8", "ceil_mode", "combined"]
    report = json.loads((done.out / name / "noise.json").read_text())
    drops = [each["delta"] or 0.0 for each in report["cells"] if each["axis"] == "resize"]
    assert len(drops) == 10  # but for the card's own
    assert float(mine["resize"]["mean"]) == pytest.approx(100 * sum(drops) / 10, abs=1e-4)
    assert float(mine["resize"]["max"]) == pytest.approx(100 * max(drops), abs=1e-4)
    (integers,) = (each for each in report["cells"] if each["level"] == "int8-tensorrt")
    assert integers["status"] == "measured"
    assert "computed in floats" in mine["int8"]["about"]  # as ONNX Runtime does with this preset
    assert "no MaxPool" in mine["ceil_mode"]["about"]
    assert report["combined"][-1]["order"] == "given"
    assert float(mine["combined"]["mean"]) == pytest.approx(100 * report["combined"][-1]["delta"], abs=1e-4)
    assert f"{name}: no model of the paper's" in done.stdout
    assert f"{name}: mIoU on " in done.stdout
    # The pictures that calibrate are not judged.
    whole = len(list(there.data.rglob("*.jpg")))
    assert report["samples"] == whole - min(16, whole // 2)


def measured(done: Done, table: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = csv.DictReader(io.StringIO((done.out / f"{table}.csv").read_text()))
    return {(each["model"], each["data"], each["column"]): each for each in found if each["source"] == "measured"}


def test_without_a_model_those_that_come_with_the_project_are_measured(conform: Conform) -> None:
    done = conform("bench", "table4", "table10", "-n", 12, "--baseline", "ort", "--out", "out")

    assert done.code == 0, done.stderr
    assert "tiny-seg: comes with the project, not the paper's model (" in done.stdout
    assert "tiny-tts: mel_mse in nats squared of log-mel features on 12 sounds" in done.stdout
    seg, tts = measured(done, "table4"), measured(done, "table10")
    assert {column for _, _, column in tts} == {"fp16", "int8", "stft", "combined"}
    # Each column has its figure, or says which part the network does not have.
    assert all(each["mean"] or each["about"] for each in (*seg.values(), *tts.values()))
    assert all(float(each["mean"]) < float(each["ci_high"]) + 1e-9 for each in tts.values())
    (ceil,) = (each for (_, _, column), each in seg.items() if column == "ceil_mode")
    assert float(ceil["mean"]) > 10  # points: a share
    report = json.loads((done.out / "tiny-tts" / "noise.json").read_text())
    worst = max(each["delta"] for each in report["cells"] if each["axis"] == "stft" and each["delta"] is not None)
    (stft,) = (each for (_, _, column), each in tts.items() if column == "stft")
    assert float(stft["max"]) == pytest.approx(worst, abs=1e-6)  # an error, not a share


def test_each_collection_of_questions_has_a_row(conform: Conform, tmp_path: Path) -> None:
    place = tmp_path / "tiny-lm"
    assert conform("tiny", "tiny-lm", "--out", place).code == 0
    for each in ("hellaswag", "winogrande"):
        shutil.rmtree(place / "held-out" / each)

    done = conform(
        "bench", "table5", "--model", place / "tiny-lm.onnx", "--data", place / "held-out", "-n", 4,
        "--baseline", "ort", "--out", "out",
    )  # fmt: skip

    assert done.code == 0, done.stderr
    found = measured(done, "table5")
    assert {data for _, data, _ in found} == {"PIQA", "LAMBADA"}
    assert all(each["mean"] for each in found.values())
    assert "tiny-lm, LAMBADA" in done.stdout
    assert (done.out / "tiny-lm-piqa" / "noise.json").is_file()


def test_data_of_another_library_are_told_and_no_figure_is_shown(
    conform: Conform, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sysnoise_conform.matrix import benching
    from sysnoise_conform.models.tiny import held_out

    real = held_out.data("tiny-tts")
    monkeypatch.setattr(held_out, "data", lambda _: replace(real, other="other data: of another library"))

    subject = benching._with_the_project("tiny-tts")

    assert "other data: of another library" in subject.about
    assert "mel_mse" not in subject.about


def test_a_model_of_no_table_that_was_asked_for_is_refused(conform: Conform, tmp_path: Path) -> None:
    there = place(tmp_path / "s", "segment")

    done = conform("bench", "table2", "--model", there.model, "--data", there.data, "--out", "out")

    assert done.code == 2
    assert "is that of another table: segment" in done.stderr
    assert "conform bench table4" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("table1",), "there is no table 'table1'; did you mean"),
        (("table2", "--data", "d"), "there is no model to measure on these data"),
        (("table2", "--member", "resnet-18"), "there are no data to measure on"),
        (("table2", "--model", "m.onnx", "--member", "resnet-18", "--data", "d"), "give --model or --member"),
        (("table2", "--member", "u-net", "--data", "d"), "u-net is a row of table4, which is not asked for"),
        (("table2", "--card", "c.toml", "--data", "d"), "a card goes with a model"),
        (("table2", "--model", "m.onnx", "--data", "d"), "m.onnx has no card"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)

    assert invoke(["bench", *arguments]) == 2

    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
