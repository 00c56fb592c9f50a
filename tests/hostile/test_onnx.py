"""Hostile ONNX files through the real command line: one line and 2, or a limit and its report, or a result."""

from __future__ import annotations

import re
from pathlib import Path

import hostile_onnx as hostile
import numpy as np
import pytest
from onnx_files import adds_stored, external, relu, save

from sysnoise_conform import cli
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.inputs import load_samples

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
SECRET = re.compile(r"\b133[78]\b")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE", str(tmp_path / "cache"))


def run(model: Path, *options: str) -> int:
    """`conform run` in this process; its children are real ones."""
    out = model.parent.parent / "out"
    return cli.invoke(["run", "--model", str(model), "--backends", "ort", "--out", str(out), *options])


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", hostile.REFUSED)
def test_what_is_refused_costs_one_line_and_2(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = hostile.REFUSED[name](folder_of(tmp_path))

    code = run(path)

    said = capsys.readouterr()
    assert code == 2, said.err
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert not CONTROLS.search(said.err)
    assert not SECRET.search(said.err)
    assert len(said.err) < 2_000


@pytest.mark.parametrize("name", ["a_name_with_controls_and_marks", "a_model_without_inputs"])
def test_what_is_odd_and_legal_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(hostile.LEGAL[name](folder_of(tmp_path)), "--samples", "1")

    said = capsys.readouterr()
    assert code == 0, said.err
    assert not CONTROLS.search(said.out)
    for each in (tmp_path / "out").rglob("*"):
        assert each.name.isprintable()
        assert each.suffix not in (".html", ".md", ".xml") or "<script>alert" not in each.read_text()


@pytest.mark.parametrize("name", hostile.LEGAL)
def test_the_golden_has_every_output_of_what_is_odd_and_legal(name: str, tmp_path: Path) -> None:
    from sysnoise_conform.golden.service import Recorder
    from sysnoise_conform.store import GoldenSample

    model = open_model(hostile.LEGAL[name](folder_of(tmp_path)))
    feed = load_samples(model, inputs=None, card=None, samples=1, seed=0, shapes={}).feed(0)

    Recorder(model.proto, tmp_path).record(feed, tmp_path / "golden")

    with GoldenSample(tmp_path / "golden") as sample:
        assert {port.name for port in model.outputs} <= set(sample)


@pytest.mark.parametrize(
    "kind", ["a_condition_that_stays_true", "the_most_trips_there_are", "a_value_that_never_turns"]
)
def test_a_loop_without_an_end_is_stopped_and_told(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(save(folder_of(tmp_path), hostile.endless(kind)), "--timeout", "1", "--samples", "1", "--no-layers")

    said = capsys.readouterr()
    assert code == 3
    assert said.err.count("error: ") == 1
    assert "no answer within 1 s" in said.err
    assert "--timeout" in said.err


@pytest.mark.parametrize("op", ["Pad", "Loop"])
def test_a_model_that_asks_for_terabytes_is_told_that_they_are_not_there(
    op: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(folder_of(tmp_path), hostile.bomb(op))

    code = run(path, "--memory", "1G", "--timeout", "5", "--samples", "1", "--no-layers")

    said = capsys.readouterr()
    assert code in (2, 3), said.out
    assert said.err.count("error: ") == 1
    assert said.err.count("\n") == 1


def test_links_of_a_model_cache_work_and_linked_data_needs_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "beef").write_bytes(np.ones(4, np.float32).tobytes())
    save(blobs, adds_stored(external("w", [4], {"location": "model.onnx_data"})), "cafe")
    (snapshot / "model.onnx").symlink_to(Path("../../blobs/cafe"))
    (snapshot / "model.onnx_data").symlink_to(Path("../../blobs/beef"))

    assert run(snapshot / "model.onnx") == 2
    assert "--allow-linked-data" in capsys.readouterr().err
    assert open_model(snapshot / "model.onnx", allow_linked_data=True).data_files[0].size == 16


def test_a_path_with_line_breaks_and_escapes_is_one_path(tmp_path: Path) -> None:
    odd = tmp_path / "a\nb\x1b[2J\u202ec"
    odd.mkdir()

    assert open_model(save(odd, relu())).layers[0].tensor == "y"
