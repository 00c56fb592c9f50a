"""Where conform keeps what outlives a run."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """CONFORM_CACHE, or ~/.cache/conform. Raises RuntimeError where there is no home directory."""
    named = os.environ.get("CONFORM_CACHE", "").strip()
    return Path(named).expanduser().absolute() if named else Path("~/.cache/conform").expanduser()
