"""The parent's handle on a child process: started apart, limited, asked, and named when it dies.

One child holds one session. It lives in an empty private folder, so nothing beside a model can be imported; it dies
with its parent; a crash, a hang or a full memory costs its own answers and is told with stage and signal.
"""

from __future__ import annotations

import contextlib
import importlib.util
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
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from sysnoise_conform import registry
from sysnoise_conform.arena import ArenaError, Reader, Writer
from sysnoise_conform.backend import Build, Effective, Runtime, Tensors
from sysnoise_conform.capture import Capture
from sysnoise_conform.errors import BackendDied, BadInput, StorageError, UsageError, from_fields
from sysnoise_conform.printable import one_line
from sysnoise_conform.private import PrivateFolder
from sysnoise_conform.wire import Channel, Closed, WireError, build_fields, effective_from, runtime_from

_PACKAGES = tuple(f"sysnoise_conform{each}" for each in ("", ".backends", ".golden", ".models", ".reports"))
_START_LIMIT_S = 60.0  # python, numpy and our own modules; a runtime is imported later, by `probe` or `compile`
_GRACE_S = 2.0  # for a child that was told to end
_FALL_S = 0.5  # from the end of its channel to its death, when it dies
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
)
# PR_SET_PDEATHSIG kills a child when the THREAD that forked it ends, so one thread that lasts forks them all.
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="conform-start")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one child may use.

    `timeout_s` is wall-clock time for one call. `memory_bytes` bounds the address space (RLIMIT_AS), arenas included;
    leave it None for CUDA, which reserves far more addresses than memory. `threads` 0 is the runtime's own choice.
    """

    timeout_s: float = 300.0
    memory_bytes: int | None = None
    threads: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reply:
    """A child's answer. `tensors` are read-only views of its memory, valid until its next call: copy what must stay."""

    payload: Mapping[str, Any]
    tensors: Tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A child that is no more: its peak of resident memory in MiB, and how long it lived."""

    peak_rss_mb: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outputs:
    """What one run gave; `tensors` as in `Reply`, `seconds` by the child's clock around the runtime alone."""

    tensors: Tensors
    seconds: float


@dataclass(kw_only=True, slots=True, eq=False)
class _Process:
    """The operating system's side of a child, apart from `Child` so that it can be ended after it."""

    popen: subprocess.Popen[bytes]
    pidfd: int
    folder: PrivateFolder
    capture: Capture
    log: Path
    started: float
    baseline_kib: int
    peak_kib: int = 0
    log_fault: OSError | None = None
    ended: Ended | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def dead(self, within_s: float) -> bool:
        """Whether the process is dead, or dies within that time; it is not reaped."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(within_s * 1000))

    def note_peak(self, kib: object) -> None:
        if isinstance(kib, int):
            self.peak_kib = max(self.peak_kib, kib)

    def sample(self) -> None:
        """Read the peak of resident memory while there is somebody to ask."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path(f"/proc/{self.popen.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.note_peak(int(line.split()[1]))

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
            self.folder.remove()
            self.ended = Ended(peak_rss_mb=self.peak_kib / 1024, seconds=time.monotonic() - self.started)
            try:
                self.capture.write(self.log)
            except OSError as err:  # `close` tells it: here it would hide how the child died
                self.log_fault = err
            return self.ended


class Child:
    """A child process and the way to ask it; `start` it, use it as a context manager. Not for two threads at once."""

    def __init__(self, process: _Process, sock: socket.socket, limits: Limits, label: str) -> None:
        self.label = label
        self.limits = limits
        self.workdir = process.folder.path / "work"  # for the model's private copy and what a converter writes
        self._process = process
        self._channel = Channel(sock, peer=process.pidfd, tick=process.sample)
        self._writer, self._reader = Writer(), Reader()
        self._greeted = False
        self._calls = 0
        self._death: BackendDied | None = None
        self._finalizer = weakref.finalize(self, process.end)

    @classmethod
    def start(cls, *, python: Path | None = None, limits: Limits, log: Path, label: str) -> Child:
        """Start a child and return at once; the first call waits until it is up, so children start side by side.

        `python` is another interpreter (numpy and onnx suffice there); `log` gets what the child printed, cleaned,
        when it ends. Raises UsageError when the interpreter can't be started, StorageError.
        """
        interpreter = Path(sys.executable) if python is None else python
        try:
            folder = PrivateFolder.make(("here", "work", "tmp"))
        except OSError as err:
            raise StorageError(f"can't make a private folder: {err}", hint="TMPDIR names another place") from err
        ours, theirs = socket.socketpair()
        capture = Capture()
        baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        config = {
            "fd": theirs.fileno(), "parent": os.getpid(), "memory": limits.memory_bytes, "roots": _roots(),
        }
        command = [str(interpreter), "-u", str(Path(__file__).with_name("boot.py")), json.dumps(config)]
        try:
            environment = _environment(folder.path / "tmp", limits.threads)
            popen = _STARTER.submit(
                subprocess.Popen, command, cwd=folder.path / "here", env=environment, stdin=subprocess.DEVNULL,
                stdout=capture.sink, stderr=capture.sink, pass_fds=(theirs.fileno(),), start_new_session=True,
            ).result()
        except BaseException as err:
            ours.close()
            capture.abandon()
            folder.remove()
            if isinstance(err, OSError):
                raise UsageError(
                    f"can't start the interpreter {one_line(interpreter)}: {err.strerror}", hint="+python=PATH names one"
                ) from err
            raise
        finally:
            theirs.close()
        capture.begin()
        process = _Process(
            popen=popen, pidfd=os.pidfd_open(popen.pid), folder=folder, capture=capture, log=log,
            started=time.monotonic(), baseline_kib=baseline,
        )
        return cls(process, ours, limits, one_line(label))

    def call(
        self, do: str, payload: Mapping[str, Any] | None = None, tensors: Mapping[str, np.ndarray] | None = None, *,
        stage: str, timeout_s: float | None = None,
    ) -> Reply:
        """Ask the worker for one thing and wait. `stage` is the word for it when the child dies of it.

        Raises BackendDied when it crashed, ran past `timeout_s` (`limits.timeout_s` if None) or ran out of memory,
        then and at every later call; whatever ConformError the child answered; BadInput for a dtype that can't travel,
        StorageError when the inputs find no shared memory.
        """
        if self._death is not None:
            raise self._death
        limit = self.limits.timeout_s if timeout_s is None else timeout_s
        if not self._greeted:
            self._exchange("start", _START_LIMIT_S, lambda deadline: self._channel.receive(deadline=deadline))
            self._greeted = True
        try:
            layout, fds = self._writer.write(tensors or {})
        except MemoryError as err:
            raise StorageError(str(err), hint="run with fewer or smaller inputs") from err
        except ArenaError as err:
            raise BadInput(str(err)) from err
        self._calls += 1
        request = {"id": self._calls, "do": do, "payload": dict(payload or {}), "tensors": layout}

        def ask(deadline: float) -> tuple[dict[str, Any], list[int]]:
            self._channel.send(request, fds, deadline=deadline)
            return self._channel.receive(deadline=deadline)

        message = self._exchange(stage, limit, ask)
        if "error" in message:
            fault = from_fields(message["error"])
            if isinstance(fault, BackendDied):  # out of memory, alive but not to be trusted any more
                self._process.end()
                fault.stage = stage
                self._death = BackendDied(
                    f"{self.label}: {fault.message}", stage=stage, cause=fault.cause, hint=self._memory_hint()
                )
                raise self._death
            raise fault
        return Reply(payload=message["payload"], tensors=message["tensors"])

    def probe(self, backend: str) -> Runtime:
        """What the runtime says of itself. Raises BackendUnavailable, BackendDied."""
        return runtime_from(self.call("probe", {"backend": backend}, stage="probe").payload)

    def compile(self, backend: str, build: Build, *, session: str = "main") -> tuple[Effective, float]:
        """Make the session; what it really does, and the seconds it took. Raises Unsupported, BackendDied."""
        request = {"backend": backend, "session": session, "build": build_fields(build)}
        payload = self.call("compile", request, stage="compile").payload
        return effective_from(payload["effective"]), float(payload["seconds"])

    def run(self, feeds: Mapping[str, np.ndarray], *, session: str = "main") -> Outputs:
        """Run the session once. Raises Unsupported, BackendDied."""
        reply = self.call("run", {"session": session}, feeds, stage="run")
        return Outputs(tensors=reply.tensors, seconds=float(reply.payload["seconds"]))

    @property
    def pid(self) -> int:
        """The process's number, which is its group's as well."""
        return self._process.popen.pid

    @property
    def peak_rss_mb(self) -> float:
        """The most resident memory seen so far, in MiB."""
        return self._process.peak_kib / 1024

    def close(self) -> Ended:
        """End the child and everything it started, write its log, remove its folder; twice is harmless.

        Raises StorageError, once, when the log could not be written.
        """
        self._channel.close()
        self._reader.close()
        self._writer.close()
        ended = self._process.end(0.0 if self._death else _GRACE_S)
        self._finalizer.detach()
        fault, self._process.log_fault = self._process.log_fault, None
        if fault is not None:
            raise StorageError(f"can't write the log {one_line(self._process.log)}: {fault.strerror}") from fault
        return ended

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._process.end()
        self.close()

    def _exchange(
        self, stage: str, limit_s: float, talk: Callable[[float], tuple[dict[str, Any], list[int]]]
    ) -> dict[str, Any]:
        try:
            message, fds = talk(time.monotonic() + limit_s)
            if message.get("id", 0) != self._calls:
                for each in fds:
                    os.close(each)
                raise WireError("an answer to another question")
            self._process.note_peak(message.get("peak_rss_kib"))
            if "payload" in message:
                message["tensors"] = self._reader.read(message.get("tensors"), fds)
        except TimeoutError as err:
            self._process.end()
            self._death = self._died(
                stage, "timeout", f"gave no answer within {limit_s:g} s", hint="--timeout allows more"
            )
            raise self._death from err
        except Closed as err:
            self._death = self._autopsy(stage)
            raise self._death from err
        except (WireError, ArenaError, KeyError) as err:
            self._process.end()
            self._death = self._died(stage, "crash", f"answered nonsense ({one_line(err)}) and was ended")
            raise self._death from err
        return message

    def _autopsy(self, stage: str) -> BackendDied:
        fell = self._process.dead(_FALL_S)
        self._process.end()
        code = self._process.popen.returncode
        if not fell:
            return self._died(stage, "crash", "closed its channel and was ended")
        if code >= 0:
            return self._died(stage, "crash", f"ended with status {code} and no answer")
        name = _signal_name(-code)
        if -code == signal.SIGKILL:  # we did not send it: it was dead before end()
            return self._died(stage, "memory", "was killed, most likely by the kernel for want of memory", name)
        if -code == signal.SIGABRT and self._process.capture.mentions("std::bad_alloc"):
            return self._died(stage, "memory", "ran out of memory and aborted", name)
        return self._died(stage, "crash", f"died of {name}", name)

    def _died(
        self, stage: str, cause: str, what: str, signal_name: str | None = None, hint: str | None = None
    ) -> BackendDied:
        if cause == "memory":
            hint = self._memory_hint()
        last = self._process.capture.last_line() if hint is None else ""
        return BackendDied(
            f"{self.label} {what} (stage {stage})", stage=stage, cause=cause, signal=signal_name,
            hint=hint or (f"it last said: {last}" if last else None),
        )

    def _memory_hint(self) -> str:
        bound = self.limits.memory_bytes
        return f"--memory allows it {bound / 2**20:.0f} MiB" if bound else "the machine has no more"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _roots() -> dict[str, str]:
    """The folder of each package of ours, found without importing it, however we are installed."""
    roots: dict[str, str] = {}
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            roots[package] = str(Path(next(iter(spec.submodule_search_locations))).resolve())
    return roots


def _environment(tmp: Path, threads: int) -> dict[str, str]:
    environment = {
        **os.environ,
        "PYTHONSAFEPATH": "1",  # -P, where it is known (3.11); boot.py does the same for 3.10
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "TMPDIR": str(tmp),
    }
    paths = environment.pop("PYTHONPATH", "").split(os.pathsep)
    if any(paths):  # an empty entry means the working directory: never the child's, and not the model's either
        environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(each) for each in paths if each)
    backends = registry.absolute_environment()
    if backends is not None:
        environment[registry.VARIABLE] = backends
    if threads > 0:
        environment.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    return environment
