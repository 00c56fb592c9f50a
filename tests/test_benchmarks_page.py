"""The page of benchmarks: some of its sections are measured anew, and the others stay to the letter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    import write_page

    yield write_page
    sys.modules.pop("write_page", None)


def test_the_page_is_its_sections_and_every_figure_that_has_a_target_stands_at_its_head(writer) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")

    sections = writer.sections_of(page)

    assert set(sections) <= {each.TITLE for each in writer.BENCHMARKS}
    assert writer.page(sections) == page
    head = page.split("\n## ")[0]
    targeted = [line for text in sections.values() for line in text.splitlines() if "| ≤ " in line]
    assert targeted == [line for line in head.splitlines() if "| ≤ " in line]


def test_a_section_that_is_measured_anew_takes_its_place(
    writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from section import Figure, Section

    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8"), encoding="utf-8")
    made = Section(title="Start", figures=(Figure(what="of a test", value=7, unit="s", target=9),), text="Words.")
    monkeypatch.setattr(writer.startup, "measure", lambda: made)
    monkeypatch.setattr(sys, "argv", ["write_page.py", "--only", "startup", "--", str(page)])

    writer.main()

    sections = writer.sections_of(page.read_text(encoding="utf-8"))
    assert sections["Start"].startswith("## Start\n\n| what | measured |")
    assert "| of a test | 7 s | ≤ 9 s | yes |" in page.read_text(encoding="utf-8").split("\n## ")[0]
    assert "Measured on " in sections["Start"]
