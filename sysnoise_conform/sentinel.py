"""A tiny process that outlives ours by a moment, and clears up what a `kill -9` would leave behind.

Nobody can clean up after their own SIGKILL, so another process does: it holds the reading end of a pipe whose writing
end only we hold. When the pipe ends, we are dead or done: whatever carries our mark in its environment is killed (a
grandchild that left its group, too), and what was not finished or given back is removed. It is this very file, run
by a bare interpreter: standard library only.

    +PATH NUL    a file or folder to remove at the end    -PATH NUL    no more
    !MARK NUL    the child of this mark has ended: kill what it left running
"""

from __future__ import annotations

import os
import sys

MARK = "CONFORM_CHILD"  # the variable that tells a child, and all that it starts, as ours


class Sentinel:
    """Our side: starts the process at the first use; where it can't be started, the next run's sweep must do."""

    def __init__(self) -> None:
        import threading

        self.run = os.urandom(8).hex()
        self._lock = threading.Lock()
        self._pipe = -1
        self._owner = -1
        self._children = 0

    def guard(self, path: str) -> None:
        """Have this file or folder removed when we are gone."""
        self._tell("+", path)

    def release(self, path: str) -> None:
        """Forget `path`: it is removed, or has got its final name."""
        self._tell("-", path)

    def next_mark(self) -> str:
        """The mark of one more child: it goes into its environment as `MARK`."""
        with self._lock:
            self._children += 1
            return f"{self.run}.{self._children}"

    def ended(self, mark: str) -> None:
        """Have everything killed that the child of this mark left behind."""
        self._tell("!", mark)

    def _tell(self, verb: str, what: str) -> None:
        with self._lock:
            try:
                if self._owner != os.getpid():
                    self._start()
                os.write(self._pipe, os.fsencode(f"{verb}{what}\0"))
            except OSError:
                return  # it was killed, or no process can be started

    def _start(self) -> None:
        import subprocess

        self._owner = os.getpid()
        theirs, self._pipe = os.pipe2(os.O_CLOEXEC)
        try:
            subprocess.Popen(
                [sys.executable, "-I", "-S", os.path.abspath(__file__), self.run],
                stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", env={},
                start_new_session=True,  # Ctrl-C goes to the whole group, and a supervisor may kill it
            ).returncode = 0  # never waited for: it ends after us
        finally:
            os.close(theirs)


def keep_watch(run: str) -> None:
    """Read what the other side tells until it is gone, then clear up. Standard input is the pipe."""
    import signal

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    guarded: set[bytes] = set()
    rest = b""
    while chunk := os.read(0, 1 << 16):
        *messages, rest = (rest + chunk).split(b"\0")
        for message in messages:
            verb, what = message[:1], message[1:]
            if verb == b"+":
                guarded.add(what)
            elif verb == b"-":
                guarded.discard(what)
            else:
                kill_marked(what + b"\0")
    kill_marked(os.fsencode(run) + b".")
    if guarded:
        import shutil

        for path in guarded:
            try:
                os.unlink(path)
            except OSError:  # a folder
                shutil.rmtree(path, ignore_errors=True)


def kill_marked(start: bytes) -> None:
    """Kill every process whose mark begins like this, until a look around finds none, and see them dead."""
    import select
    import signal

    needle = b"\0" + MARK.encode() + b"=" + start
    for _ in range(20):  # what is forked while we look is found by the next look
        killed = []
        for pid in _others():
            if needle not in _environment(pid):
                continue
            try:
                handle = os.pidfd_open(pid)
            except OSError:
                continue
            killed.append(handle)
            if needle in _environment(pid):  # it is still the same, and the handle can't become a stranger's
                try:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                except OSError:
                    continue
        for handle in killed:
            select.select([handle], [], [], 1.0)
            os.close(handle)
        if not killed:
            return


def _others() -> list[int]:
    return [int(each) for each in os.listdir("/proc") if each.isdigit() and int(each) != os.getpid()]


def _environment(pid: int) -> bytes:
    """What the process was started with; nothing of a dead one, nor of a stranger's."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return b"\0" + file.read()
    except OSError:
        return b""


if __name__ == "__main__":
    keep_watch(sys.argv[1])
else:
    sentinel = Sentinel()  # one for the whole process
