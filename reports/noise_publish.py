"""A matrix, written into its folder; `noise.json` last, so that its presence means all is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sysnoise_conform.matrix.facts import Matrix
from sysnoise_conform.report.folder import NOISE, atomic_write
from sysnoise_conform.reports import noise_json

_FILES: dict[str, Callable[[Matrix], str]] = {NOISE: noise_json.render}


def publish(folder: Path, found: Matrix) -> None:
    """Write every rendering into `folder`, each by an atomic rename. Raises StorageError."""
    for name, render in _FILES.items():
        atomic_write(folder / name, render(found))
