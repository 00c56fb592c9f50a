"""The parent's handle on a child process: started apart, limited, asked, and named when it dies.

One child holds one session. It lives in an empty private folder, so nothing beside a model can be imported; it dies
with its parent; a crash, a hang or a full memory costs its own answers and is told with stage and signal.
"""

from __future__ import annotations

import os
import signal
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from sysnoise_conform.backend import Build, Effective, Optimised, Runtime, Tensors
from sysnoise_conform.case import Limits
from sysnoise_conform.errors import BackendDied, BadInput, StorageError, from_fields
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.arena import ArenaError, Reader, Writer
from sysnoise_conform.process.forked import Ended, Process
from sysnoise_conform.process.wire import (
    Channel,
    ClosedError,
    WireError,
    build_fields,
    effective_from,
    optimised_from,
    runtime_from,
)

_START_LIMIT_S = 60.0  # python, numpy and our own modules; a runtime is imported later, by `probe` or `compile`
_GRACE_S = 2.0  # for a child that was told to end
_FALL_S = 0.5  # from the end of its channel to its death, when it dies


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reply:
    """A child's answer. `tensors` are read-only views of its memory, valid until its next call: copy what must stay."""

    payload: Mapping[str, Any]
    tensors: Tensors


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outputs:
    """What one run gave; `tensors` as in `Reply`, `seconds` by the child's clock around the runtime alone."""

    tensors: Tensors
    seconds: float


class Child:
    """A child process and the way to ask it; `start` it, use it as a context manager. Not for two threads at once."""

    def __init__(self, process: Process, *, limits: Limits, log: Path, label: str) -> None:
        """Take over a started process; `start` does both."""
        self.label = one_line(label)
        self.limits = limits
        process.log = log
        self.workdir = process.folder.path / "work"  # for the model's private copy and what a converter writes
        self._process = process
        self._channel = Channel(process.sock, peer=process.pidfd, tick=process.sample)
        self._writer, self._reader = Writer(), Reader()
        self._greeted = False
        self._calls = 0
        self._death: BackendDied | None = None
        self._finalizer = weakref.finalize(self, process.end)

    @classmethod
    def start(cls, *, python: Path | None = None, limits: Limits, log: Path, label: str) -> Child:
        """Start a child and return at once; the first call waits until it is up, so children start side by side.

        `python` is another interpreter (numpy and onnx suffice there); `log` gets what the child printed, cleaned,
        when it ends. `limits.memory_bytes` bounds the address space (RLIMIT_AS), the arenas included: leave it None
        for CUDA, which reserves far more addresses than memory. Raises UsageError when the interpreter can't be
        started, StorageError.
        """
        return cls(Process.start(python=python, limits=limits), limits=limits, log=log, label=label)

    def call(
        self,
        do: str,
        payload: Mapping[str, Any] | None = None,
        tensors: Mapping[str, np.ndarray] | None = None,
        *,
        stage: str,
        timeout_s: float | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Reply:
        """Ask the worker for one thing and wait. `stage` is the word for it when the child dies of it.

        `meanwhile` is called while the child is at work; its own time does not count against the limit.

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
            if meanwhile is not None:
                before = time.monotonic()
                meanwhile()
                deadline += time.monotonic() - before
            return self._channel.receive(deadline=deadline)

        message = self._exchange(stage, limit, ask)
        if "error" in message:
            fault = from_fields(message["error"])
            if isinstance(fault, BackendDied):  # out of memory, or its converter died: not to be trusted any more
                self._process.end()
                self._death = BackendDied(
                    f"{self.label}: {fault.message}",
                    stage=fault.stage,
                    cause=fault.cause,
                    signal=fault.signal,
                    hint=fault.hint or (self._memory_hint() if fault.cause == "memory" else None),
                )
                raise self._death
            raise fault
        return Reply(payload=message["payload"], tensors=message["tensors"])

    def probe(self, backend: str) -> Runtime:
        """What the runtime says of itself. Raises BackendUnavailable, BackendDied."""
        return runtime_from(self.call("probe", {"backend": backend}, stage="probe").payload)

    def compile(
        self, backend: str, build: Build, *, session: str = "main", meanwhile: Callable[[], None] | None = None
    ) -> tuple[Effective, float]:
        """Make the session; what it really does, and the seconds it took. Raises Unsupported, BackendDied."""
        request = {"backend": backend, "session": session, "build": build_fields(build)}
        payload = self.call("compile", request, stage="compile", meanwhile=meanwhile).payload
        return effective_from(payload["effective"]), float(payload["seconds"])

    def run(self, feeds: Mapping[str, np.ndarray], *, session: str = "main") -> Outputs:
        """Run the session once. Raises Unsupported, BackendDied."""
        reply = self.call("run", {"session": session}, feeds, stage="run")
        return Outputs(tensors=reply.tensors, seconds=float(reply.payload["seconds"]))

    def run_each(self, feeds: Sequence[Mapping[str, np.ndarray]], *, session: str = "main") -> list[Outputs]:
        """Run the session once with each of `feeds`, all in one exchange. Raises Unsupported, BackendDied.

        For small networks: an exchange costs a tenth of their run. `seconds` are the mean of all runs.
        """
        numbered = {f"{at}/{name}": array for at, feed in enumerate(feeds) for name, array in feed.items()}
        reply = self.call(
            "run_each", {"session": session, "times": len(feeds)}, numbered, stage="run",
            timeout_s=self.limits.timeout_s * max(1, len(feeds)),
        )  # fmt: skip
        found: list[dict[str, np.ndarray]] = [{} for _ in feeds]
        for key, array in reply.tensors.items():
            at, _, name = key.partition("/")
            found[int(at)][name] = array
        seconds = float(reply.payload["seconds"]) / max(1, len(feeds))
        return [Outputs(tensors=each, seconds=seconds) for each in found]

    def optimised(self, *, session: str = "main") -> Optimised:
        """What the runtime made of the session's graph, as far as it tells. Raises Unsupported, BackendDied."""
        return optimised_from(self.call("optimised", {"session": session}, stage="compile").payload)

    @property
    def pid(self) -> int:
        """The process's number, which is its group's as well."""
        return self._process.popen.pid

    @property
    def peak_rss_mb(self) -> float:
        """The most resident memory seen so far, in MiB."""
        return self._process.peak_kib / 1024

    @property
    def dead(self) -> bool:
        """True once a call has found it dead, or ended it."""
        return self._death is not None

    def hang_up(self) -> None:
        """Ask nothing more: the child closes its sessions and ends while its last tensors are still read here."""
        self._channel.close()

    def kill(self) -> None:
        """End the child at once, from any thread: a call that waits for it raises BackendDied; `close` it as always."""
        self._process.kill()

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
            raise StorageError(f"can't write the log {one_line(self._process.log or '')}: {fault.strerror}") from fault
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
        except ClosedError as err:
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
        if self._process.unwanted:
            return self._died(stage, "crash", "was ended by conform")
        if code >= 0:
            cause = "memory" if code and self._process.capture.tells_of_want() else "crash"
            return self._died(stage, cause, f"ended with status {code} and no answer")
        name = _signal_name(-code)
        if -code == signal.SIGKILL:  # we did not send it: it was dead before end()
            return self._died(stage, "memory", "was killed, most likely by the kernel for want of memory", name)
        if -code == signal.SIGABRT and self._process.capture.tells_of_want():
            return self._died(stage, "memory", "ran out of memory and aborted", name)
        return self._died(stage, "crash", f"died of {name}", name)

    def _died(
        self, stage: str, cause: str, what: str, signal_name: str | None = None, hint: str | None = None
    ) -> BackendDied:
        if cause == "memory":
            hint = self._memory_hint()
        last = self._process.capture.last_line() if hint is None else ""
        return BackendDied(
            f"{self.label} {what} (stage {stage})",
            stage=stage,
            cause=cause,
            signal=signal_name,
            hint=hint or (f"it last said: {last}" if last else None),
        )

    def _memory_hint(self) -> str:
        bound = self.limits.memory_bytes
        if not bound:
            return "the machine has no more"
        size = f"{bound / 2**20:.0f} MiB" if bound >= 2**20 else f"{bound / 2**10:g} KiB"
        return f"--memory allows it {size}, allow more"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
