from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_samples import every_outcome, hostile

from sysnoise_conform.errors import StorageError
from sysnoise_conform.reports import publish as publishing
from sysnoise_conform.reports.publish import publish


def test_every_file_is_there_and_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path, *every_outcome())
    assert {each.name for each in tmp_path.iterdir()} == {
        "layers.parquet", "report.html", "report.md", "junit.xml", "summary.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "summary.json").read_text())["verdict"] == "FAIL"


def test_hostile_names_do_not_become_files(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    publish(folder, *hostile())
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert len(list(folder.iterdir())) == 5


def test_the_summary_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present: list[set[str]] = []
    write = publishing.atomic_write

    def watched(path: Path, content: str | bytes) -> None:
        present.append({each.name for each in tmp_path.iterdir()})
        write(path, content)

    monkeypatch.setattr(publishing, "atomic_write", watched)
    publish(tmp_path, *every_outcome())
    assert all("summary.json" not in each for each in present)
    assert {"layers.parquet", "report.html", "junit.xml"} <= present[-1]


def test_a_folder_that_cannot_be_written_leaves_no_summary(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError):
        publish(tmp_path, *every_outcome())
    assert not (tmp_path / "summary.json").exists()
