"""A matrix, written into its folder; `noise.json` last, so that its presence means all is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sysnoise_conform.matrix.facts import Matrix
from sysnoise_conform.report.folder import NOISE, NOISE_CELLS, NOISE_PAGE, NOISE_TABLE, NOISE_TEXT, atomic_write
from sysnoise_conform.reports import noise_html, noise_json, noise_markdown, noise_table

# In this order: the JSON is what a program waits for.
_FILES: dict[str, Callable[[Matrix], str | bytes]] = {
    NOISE_PAGE: noise_html.render,
    NOISE_TEXT: noise_markdown.render,
    NOISE_TABLE: noise_table.csv,
    NOISE_CELLS: noise_table.parquet,
    NOISE: noise_json.render,
}


def publish(folder: Path, found: Matrix) -> None:
    """Write every rendering into `folder`, each by an atomic rename. Raises StorageError."""
    for name, render in _FILES.items():
        atomic_write(folder / name, render(found))
