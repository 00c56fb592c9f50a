"""Whether a run will have to compute its golden, told before anything is imported, so that PyTorch can come up early.

The store knows it only when the model has been read and checked. A model of which no golden was ever kept needs one
for certain; a mark named by its hash says that there was one. Nothing hangs on a mark that is missing or too many
but time.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from sysnoise_conform.case import Case
from sysnoise_conform.errors import BadModel, ConformError
from sysnoise_conform.files import digest_stream, open_regular, resolved
from sysnoise_conform.folders import cache_folder
from sysnoise_conform.runner.crew import Crew

# Hashing takes a second for 1.4 GB; PyTorch's import, which is what can be won, takes two.
LARGEST = 1 << 30


def begin(case: Case, crew: Crew) -> None:
    """On a thread of its own: start the golden's child when its model is new."""
    threading.Thread(target=_look, args=(case, crew), name="foresight", daemon=True).start()


def remember(file_sha256: str) -> None:
    """A golden of this model is kept now."""
    with suppress(OSError, RuntimeError):
        mark = _mark(file_sha256)
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch()


def _look(case: Case, crew: Crew) -> None:
    with suppress(ConformError, OSError, RuntimeError):
        if not case.cache or not _mark(_sha256(case.model)).exists():
            crew.recruit_golden()


def _sha256(path: Path) -> str:
    file = resolved(path, what="the model", error=BadModel)
    with open_regular(file, what="the model", error=BadModel, limit=LARGEST) as stream:
        return digest_stream(stream)


def _mark(file_sha256: str) -> Path:
    return cache_folder() / "golden" / "known" / file_sha256
