"""A report's renderings, written beside it; `summary.json` last, so that its presence means all is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sysnoise_conform.errors import StorageError
from sysnoise_conform.printable import one_line
from sysnoise_conform.reports import parquet, render

if TYPE_CHECKING:
    from sysnoise_conform.judge import Judgement
    from sysnoise_conform.report import Report

# In this order: the summary is what a gate waits for.
FILES = {"report.html": "html", "junit.xml": "junit", "summary.json": "summary"}
TABLE = "layers.parquet"


def publish(folder: Path, report: Report, judgement: Judgement) -> None:
    """Write every rendering into `folder`, each by an atomic rename. Raises StorageError."""
    parquet.write(report, folder / TABLE)
    for name, form in FILES.items():
        _write(folder / name, render(form, report, judgement))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".tmp")
    try:
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as err:
        partial.unlink(missing_ok=True)
        raise StorageError(f"cannot write {one_line(path)}: {one_line(err)}", hint="free space, or choose another --out") from err
