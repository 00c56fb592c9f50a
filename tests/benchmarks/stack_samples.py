"""Runs `conform` in this process and looks at every thread's stack each millisecond: what is it at?

Run: python stack_samples.py RESULT LAUNCHED ARGUMENTS... where LAUNCHED is the starter's time.monotonic(). RESULT gets
JSON: the seconds from LAUNCHED until the watch begins, those of the command itself, when it ended, and for each thread
its phases in the order of their begin. Nothing of the measured code is wrapped or named here: a phase is the package
that is being imported, the request that a child is waited for, or the innermost module of ours.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

OURS = "sysnoise_conform"
EVERY_S = 0.001
WAITS = ("threading", "concurrent.futures._base", "concurrent.futures.thread", "selectors", "queue")


def outwards(frame: FrameType | None) -> Iterator[tuple[str, FrameType]]:
    """Module names and frames from the innermost outwards."""
    while frame is not None:
        yield frame.f_globals.get("__name__", ""), frame
        frame = frame.f_back


def imported(stack: list[tuple[str, FrameType]]) -> str | None:
    """The package being imported: the outermost foreign one, since what it imports in turn is its price."""
    names = [
        str(frame.f_locals.get("name", "")).partition(".")[0]
        for module, frame in reversed(stack)
        if module == "importlib._bootstrap" and frame.f_code.co_name == "_find_and_load"
    ]
    foreign = [each for each in names if each and each != OURS and each not in sys.stdlib_module_names]
    return next(iter(foreign), OURS if OURS in names else "the standard library" if names else None)


def phase(innermost: FrameType) -> str:
    """What a thread is at, in a few words."""
    stack = list(outwards(innermost))
    package = imported(stack)
    if package is not None:
        return f"import {package}"
    for module, frame in stack:
        if module == f"{OURS}.process.child" and "stage" in frame.f_locals:
            return f"wait for the child: {frame.f_locals['stage']}"
    waits = "wait in " if stack[0][0] in WAITS else ""
    for module, _ in stack:
        if module.startswith(f"{OURS}."):
            return f"{waits}{module.removeprefix(f'{OURS}.')}"
    return "idle" if waits else "Python"


def cpu_seconds(thread: threading.Thread) -> float:
    """What the thread has had of a processor; 0 when it is gone."""
    try:
        return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


class Watch(threading.Thread):
    """The thread that looks at all others."""

    def __init__(self) -> None:
        super().__init__(name="watch", daemon=True)
        self.begin = time.monotonic()
        self.done = threading.Event()
        self.threads: dict[str, dict[str, dict[str, float]]] = {}
        self._cpu: dict[int, float] = {}

    def run(self) -> None:
        before = self.begin
        while not self.done.wait(EVERY_S):
            now = time.monotonic()
            known = {each.ident: each for each in threading.enumerate() if each is not self}
            for ident, frame in sys._current_frames().items():
                if ident in known:
                    thread = known[ident]
                    phases = self.threads.setdefault(thread.name, {})
                    seen = phases.setdefault(phase(frame), {"begin": before - self.begin, "wall": 0.0, "cpu": 0.0})
                    seen["wall"] += now - before
                    cpu = cpu_seconds(thread)
                    seen["cpu"] += max(0.0, cpu - self._cpu.get(ident, 0.0))
                    self._cpu[ident] = cpu
            before = now


def main() -> None:
    """Run the command under the watch, write what was seen, end as it ended."""
    result, launched = Path(sys.argv[1]), float(sys.argv[2])
    sys.argv = ["conform", *sys.argv[3:]]
    sys.setswitchinterval(EVERY_S)
    watch = Watch()
    watch.start()
    from sysnoise_conform.cli import invoke

    code = invoke()
    ended_at = time.monotonic()
    watch.done.set()
    watch.join()
    seen = {
        "start_s": watch.begin - launched, "command_s": ended_at - watch.begin, "ended_at": ended_at,
        "threads": watch.threads,
    }  # fmt: skip
    result.write_text(json.dumps(seen), encoding="utf-8")
    sys.stdout.flush()
    os._exit(code)  # as the command itself ends


if __name__ == "__main__":
    main()
