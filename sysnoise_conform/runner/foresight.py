"""Whether a run will have to compute its golden, told before anything is imported, so that PyTorch can come up early.

The store knows it only when the model has been read and checked. A model of which no golden was ever kept needs one
for certain; a mark named after its size, its beginning and its end says that there was one. Nothing hangs on a mark
that is missing or too many but time.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path

from sysnoise_conform.case import Case
from sysnoise_conform.errors import BadModel, ConformError
from sysnoise_conform.files import open_regular, resolved
from sysnoise_conform.folders import cache_folder
from sysnoise_conform.runner.crew import Crew

# Bytes that are read at either end: all of them would take as long as what can be won.
_END = 1 << 16


def begin(case: Case, crew: Crew) -> None:
    """On a thread of its own: start the golden's child when its model is new."""
    threading.Thread(target=_look, args=(case, crew), name="foresight", daemon=True).start()


def remember(model: Path) -> None:
    """A golden of this model is kept now."""
    with suppress(ConformError, OSError, RuntimeError):
        mark = _mark(model)
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch()


def _look(case: Case, crew: Crew) -> None:
    with suppress(ConformError, OSError, RuntimeError):
        if not case.cache or not _mark(case.model).exists():
            crew.recruit_golden()


def _mark(model: Path) -> Path:
    with open_regular(resolved(model, what="the model", error=BadModel), what="the model", error=BadModel) as stream:
        size = os.fstat(stream.fileno()).st_size
        digest = hashlib.sha256(f"{size}\n".encode() + stream.read(_END))
        stream.seek(max(0, size - _END))
        digest.update(stream.read(_END))
    return cache_folder() / "golden" / "known" / digest.hexdigest()
