"""Where results lie, and whether there are any: all that a run without them has to know."""

from __future__ import annotations

from pathlib import Path

from sysnoise_conform.folders import cache_folder


def folder() -> Path:
    """The folder of all stored results."""
    return cache_folder() / "probe" / "1"


def any_kept() -> bool:
    """Whether anything was ever measured."""
    try:
        return any(folder().glob("*.json"))
    except OSError:
        return False
