"""A diagnosis, written into its folder; `diagnosis.json` last, so that its presence means all is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sysnoise_conform.diagnose.facts import Diagnosis
from sysnoise_conform.report.folder import (
    CUMULATIVE,
    DIAGNOSIS,
    DIAGNOSIS_PAGE,
    INTRODUCED,
    atomic_write,
    begin_diagnosis,
    is_diagnosis,
    storage_errors,
)
from sysnoise_conform.reports import diagnosis_html, diagnosis_json, model_explorer

# In this order: the JSON is what a program waits for.
_FILES: dict[str, Callable[[Diagnosis], str]] = {
    DIAGNOSIS_PAGE: diagnosis_html.render,
    INTRODUCED: model_explorer.introduced,
    CUMULATIVE: model_explorer.cumulative,
    DIAGNOSIS: diagnosis_json.render,
}


def publish(folder: Path, diagnosis: Diagnosis) -> None:
    """Write every rendering into `folder`, each by an atomic rename. Raises UsageError or StorageError.

    Reproducers are written before, so `folder.begin_diagnosis` comes before them; a folder that nobody began is begun
    here, and refused where its files are a stranger's.
    """
    if not is_diagnosis(folder):
        begin_diagnosis(folder)
    with storage_errors(folder):
        (folder / DIAGNOSIS).unlink(missing_ok=True)
    for name, render in _FILES.items():
        atomic_write(folder / name, render(diagnosis))
