"""`conform bench` end to end: the published figures alone, a measured row on a real runtime, what is refused."""

from __future__ import annotations

import csv
import io
import json
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
    assert "no MaxPool" in mine["ceil_mode"]["about"]
    assert report["combined"][-1]["order"] == "given"
    assert float(mine["combined"]["mean"]) == pytest.approx(100 * report["combined"][-1]["delta"], abs=1e-4)
    assert f"{name}: no model of the paper's; mIoU on " in done.stdout
    # The pictures that calibrate are not judged.
    whole = len(list(there.data.rglob("*.jpg")))
    assert report["samples"] == whole - min(16, whole // 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("table1",), "there is no table 'table1'; did you mean"),
        (("table2",), "there is no model to measure"),
        (("table5", "--model", "m.onnx", "--data", "d"), "table5 is not measured by this version"),
        (("table2", "--member", "resnet-18"), "there are no pictures to measure on"),
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
