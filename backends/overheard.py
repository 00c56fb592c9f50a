"""What native code prints while a block runs, for runtimes that tell the reason of a failure to nobody else."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


class Words:
    """`text` is what was printed, once the block is left."""

    def __init__(self) -> None:
        self.text = ""


@contextmanager
def overheard(*, repeat: bool = True) -> Iterator[Words]:
    """Divert descriptors 1 and 2 of this process into `Words`, then `repeat` all of it on stderr."""
    words = Words()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    saved = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as sink:
        try:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            yield words
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for target, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, target)
                os.close(copy)
            sink.seek(0)
            words.text = sink.read().decode(errors="replace")
            if repeat and words.text.strip():
                print(words.text, file=sys.stderr, flush=True)  # noqa: T201
