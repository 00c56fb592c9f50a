"""What a child prints, kept within bounds: the beginning and the end of it, cleaned when it is written down."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from sysnoise_conform.printable import lines, one_line
from sysnoise_conform.process.memory import tells_of_want

_FATAL = "Fatal Python error: "  # faulthandler's first words
_HALF = 512 * 1024  # bytes kept of the beginning, and as many of the end


class Capture:
    """A pipe that a thread drains: `sink` goes to the child as stdout and stderr."""

    def __init__(self) -> None:
        self._source, self.sink = os.pipe2(os.O_CLOEXEC)
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._drain, name="conform-log", daemon=True)

    def begin(self) -> None:
        """Close our copy of the sink, so that the pipe ends with the child, and drain from now on."""
        os.close(self.sink)
        self._thread.start()

    def abandon(self) -> None:
        """Close both ends of a capture that was never begun."""
        os.close(self.sink)
        os.close(self._source)

    def text(self) -> str:
        """What was printed so far, cleaned, with a line in place of what was not kept."""
        with self._lock:
            head, tail = bytes(self._head), bytes(self._tail[-_HALF:])
            dropped = self._dropped + len(self._tail) - len(tail)
        if dropped:
            return f"{_clean(head)}\n... {dropped} bytes are not kept ...\n{_clean(tail)}"
        return _clean(head + tail)

    def tells_of_want(self) -> bool:
        """Whether the child said that it found no memory."""
        self._settle()
        return tells_of_want(self.text())

    def last_line(self) -> str:
        """The last line that the runtime itself said, before Python's report of a fatal signal; cleaned and short."""
        self._settle()
        with self._lock:
            end = bytes(self._tail or self._head)[-_HALF:]
        own, _, _ = end.decode("utf-8", "replace").partition(_FATAL)
        said = [each for each in own.splitlines() if each.strip()]
        return one_line(said[-1], 200) if said else ""

    def write(self, path: Path) -> None:
        """Write it all to `path`, whose folder is made. Raises OSError."""
        self._settle()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text(), encoding="utf-8")

    def _settle(self) -> None:
        # The child's group is dead by now; only a process that left the group could still hold the pipe.
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _drain(self) -> None:
        try:
            while chunk := os.read(self._source, 1 << 16):
                with self._lock:
                    room = _HALF - len(self._head)
                    self._head += chunk[:room]
                    self._tail += chunk[room:]
                    spare = len(self._tail) - _HALF
                    if spare > _HALF:  # cut seldom, not at every chunk
                        del self._tail[:spare]
                        self._dropped += spare
        finally:
            with contextlib.suppress(OSError):
                os.close(self._source)


def _clean(data: bytes) -> str:
    return lines(data.decode("utf-8", "replace"))
