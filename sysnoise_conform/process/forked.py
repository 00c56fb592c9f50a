"""A child process as the operating system sees it: started apart and limited, killed with its group, reaped."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sysnoise_conform.case import Limits
from sysnoise_conform.errors import StorageError, UsageError
from sysnoise_conform.printable import one_line
from sysnoise_conform.private import PrivateFolder
from sysnoise_conform.process.capture import Capture
from sysnoise_conform.process.surroundings import child_environment, package_roots
from sysnoise_conform.sentinel import MARK, sentinel

# PR_SET_PDEATHSIG kills a child when the THREAD that forked it ends, so one thread that lasts forks them all.
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="conform-start")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A child that is no more: its peak of resident memory in MiB, and how long it lived."""

    peak_rss_mb: float
    seconds: float


@dataclass(kw_only=True, slots=True, eq=False)
class Process:
    """A started child: its number, its folder, its log, and its end. `start` it."""

    popen: subprocess.Popen[bytes]
    pidfd: int
    sock: socket.socket  # our end of the channel
    folder: PrivateFolder
    capture: Capture
    mark: str
    started: float
    baseline_kib: int
    log: Path | None = None  # where what it printed goes when it ends
    peak_kib: int = 0
    log_fault: OSError | None = None
    ended: Ended | None = None
    unwanted: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def start(
        cls, *, python: Path | None, limits: Limits, ahead: str | None = None,
        defaults: Mapping[str, str] | None = None,
    ) -> Process:  # fmt: skip
        """Start an interpreter on `boot.py`, with a channel to it.

        `ahead` names a backend that it imports before anybody asks, or `golden`; `defaults` are for environment
        variables that are not set. Raises UsageError, StorageError.
        """
        ours, theirs = socket.socketpair()
        try:
            return cls._start(ours, theirs, python=python, limits=limits, ahead=ahead, defaults=defaults)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    @classmethod
    def _start(
        cls, ours: socket.socket, theirs: socket.socket, *, python: Path | None, limits: Limits, ahead: str | None,
        defaults: Mapping[str, str] | None,
    ) -> Process:  # fmt: skip
        interpreter = Path(sys.executable) if python is None else python
        try:
            folder = PrivateFolder.make(("here", "work", "tmp"))
        except OSError as err:
            raise StorageError(f"can't make a private folder: {err}", hint="TMPDIR names another place") from err
        capture = Capture()
        mark = sentinel.next_mark()
        baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        config = {
            "fd": theirs.fileno(), "parent": os.getpid(), "memory": limits.memory_bytes, "roots": package_roots(),
            "ahead": ahead,
        }  # fmt: skip
        command = [str(interpreter), "-u", str(Path(__file__).with_name("boot.py")), json.dumps(config)]
        try:
            popen = _STARTER.submit(
                subprocess.Popen,
                command,
                cwd=folder.path / "here",
                env={**child_environment(folder.path / "tmp", limits.threads, defaults), MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=capture.sink,
                stderr=capture.sink,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            ).result()
        except BaseException as err:
            capture.abandon()
            folder.remove()
            if isinstance(err, OSError):
                raise UsageError(
                    f"can't start the interpreter {one_line(interpreter)}: {err.strerror}",
                    hint="+python=PATH names another",
                ) from err
            raise
        capture.begin()
        return cls(
            popen=popen,
            pidfd=os.pidfd_open(popen.pid),
            sock=ours,
            folder=folder,
            capture=capture,
            mark=mark,
            started=time.monotonic(),
            baseline_kib=baseline,
        )

    def dead(self, within_s: float) -> bool:
        """Whether the process is dead, or dies within that time; it is not reaped."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(within_s * 1000))

    def note_peak(self, kib: object) -> None:
        """Remember the largest figure that came by; what is no figure says nothing."""
        if isinstance(kib, int):
            self.peak_kib = max(self.peak_kib, kib)

    def sample(self) -> None:
        """Read the peak of resident memory while there is somebody to ask."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path(f"/proc/{self.popen.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.note_peak(int(line.split()[1]))

    def kill(self) -> None:
        """Kill the whole group and leave the rest to `end`; from any thread."""
        with self.lock:
            if self.ended is None:
                self.unwanted = True
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.popen.pid, signal.SIGKILL)

    def end(self, grace_s: float = 0.0) -> Ended:
        """Kill the whole group, reap the child, keep its log, remove its folder; a second call changes nothing."""
        with self.lock:
            if self.ended is not None:
                return self.ended
            if grace_s:
                self.dead(grace_s)
            self.sample()
            # The child is not reaped yet, so its number can't have gone to a stranger.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            _, status, usage = os.wait4(self.popen.pid, 0)
            self.popen.returncode = os.waitstatus_to_exitcode(status)
            # ru_maxrss survives exec: below the parent's own peak at the start it says nothing of the child.
            if usage.ru_maxrss > self.baseline_kib:
                self.note_peak(usage.ru_maxrss)
            os.close(self.pidfd)
            sentinel.ended(self.mark)  # what left the group is not ours to find: it is found by its mark
            self.sock.close()
            self.folder.remove()
            self.ended = Ended(peak_rss_mb=self.peak_kib / 1024, seconds=time.monotonic() - self.started)
            try:
                if self.log is not None:
                    self.capture.write(self.log)
            except OSError as err:  # `close` tells it: here it would hide how the child died
                self.log_fault = err
            return self.ended
