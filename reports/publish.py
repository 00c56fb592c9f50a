"""A report's renderings, written beside it; `summary.json` last, so that its presence means all is there."""

from __future__ import annotations

from pathlib import Path

from sysnoise_conform.judge.verdict import Judgement
from sysnoise_conform.report import Report
from sysnoise_conform.report.folder import LAYERS, SUMMARY, atomic_write
from sysnoise_conform.reports import parquet, render

# In this order: the summary is what a gate waits for.
FILES = {"report.html": "html", "report.md": "markdown", "junit.xml": "junit", SUMMARY: "summary"}


def publish(folder: Path, report: Report, judgement: Judgement) -> None:
    """Write every rendering into `folder`, each by an atomic rename. Raises StorageError."""
    parquet.write(report, folder / LAYERS)
    for name, form in FILES.items():
        atomic_write(folder / name, render(form, report, judgement))
