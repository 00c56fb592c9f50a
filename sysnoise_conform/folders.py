"""Where conform keeps what outlives a run."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """CONFORM_CACHE, or ~/.cache/conform."""
    named = os.environ.get("CONFORM_CACHE", "").strip()
    return Path(os.path.expanduser(named)).absolute() if named else home() / ".cache" / "conform"


def home() -> Path:
    """The user's home; the root folder for a user who has none, as container runtimes have it."""
    found = os.path.expanduser("~")  # unlike Path.home, never raises
    return Path(found if os.path.isabs(found) else "/")
