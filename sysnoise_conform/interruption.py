"""What Ctrl-C and SIGTERM do: everything that was started ends, one line says so, and within two seconds it is over.

The main thread gets a KeyboardInterrupt and unwinds. It may be deep in native code, or wait for a thread that is: so
another thread hears of the signal too, by the wakeup descriptor that C code writes to. It ends the children, and ends
the process itself when the main thread has not done so in time, or when a second signal says that even that is too
long. Nothing is lost by that: each result is in the report as soon as it is there, and the sentinel clears up.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_CODE = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_MS = 1200  # for the main thread to unwind
_POLARS = f"-packages{os.sep}polars{os.sep}"  # site-packages, or a distribution's dist-packages
_SHOW_CURSOR = b"\x1b[?25h"  # what a progress display may have hidden

_noted = threading.Event()
_told = threading.Lock()
_endings: list[Callable[[], None]] = []


def heeded() -> list[signal.Signals]:
    """The signals that end us. One that we were started to ignore stays ignored: a shell's background job, nohup."""
    return [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]


def leave_at_once(*_: object) -> None:
    """A handler for the time in which nothing has been started yet; and the last resort when something hangs."""
    if _told.acquire(blocking=False):
        with contextlib.suppress(OSError):
            os.write(2, (_SHOW_CURSOR if os.isatty(2) else b"") + b"error: interrupted\n")
    os._exit(EXIT_CODE)


def noted() -> bool:
    """Whether a signal has come since `listening` began."""
    return _noted.is_set()


def tell() -> bool:
    """Whether it is still to be told that we were interrupted; true once."""
    return _told.acquire(blocking=False)


@contextlib.contextmanager
def at_once(ending: Callable[[], None]) -> Iterator[None]:
    """Within the block, a signal calls `ending` at once, from another thread, whatever the main thread is doing."""
    _endings.append(ending)
    try:
        yield
    finally:
        _endings.remove(ending)


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Within the block, the first signal is a KeyboardInterrupt here, with a bound on how long it takes to get out.

    Does nothing on any but the main thread, which alone gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _noted.clear()
    if _told.locked():
        _told.release()
    heard, written = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    former = signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    before = {each: signal.signal(each, _interrupt) for each in heeded()}
    hook, sys.unraisablehook = sys.unraisablehook, _lost
    watch = threading.Thread(target=_watch, args=(heard,), name="conform-signals", daemon=True)
    watch.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        for each, handler in before.items():
            signal.signal(each, handler)
        sys.unraisablehook = hook
        os.close(written)
        watch.join()
        os.close(heard)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _unwinds_badly(frame):
        leave_at_once()
    if not _noted.is_set():
        _noted.set()
        raise KeyboardInterrupt


def _lost(what: sys.UnraisableHookArgs) -> None:
    """An interrupt that came within a finalizer can't unwind anything, and Python would print where that was."""
    if _noted.is_set() and isinstance(what.exc_value, KeyboardInterrupt):
        leave_at_once()
    sys.__unraisablehook__(what)


def _unwinds_badly(frame: FrameType | None) -> bool:
    """Whether an exception may not pass through what is running.

    While a module is imported, one in the middle of a native module's start can crash the process. Within polars, Rust
    calls back into Python and takes for granted that it succeeds: it panics, with a backtrace of its own on stderr.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib") or _POLARS in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _watch(heard: int) -> None:
    if not _signalled(heard, None):
        return
    for ending in tuple(_endings):
        with contextlib.suppress(Exception):  # the others must end all the same
            ending()
    if _signalled(heard, _PATIENCE_MS) is not False:
        leave_at_once()


def _signalled(heard: int, within_ms: int | None) -> bool | None:
    """True for a signal of ours; False when the block has ended; None when the time has passed."""
    poll = select.poll()
    poll.register(heard, select.POLLIN)
    while poll.poll(within_ms):
        numbers = os.read(heard, 64)
        if not numbers:
            return False
        if not set(numbers).isdisjoint(SIGNALS):
            return True
    return None
