"""The child's side: takes one request after another, asks a backend or the golden, and answers.

Requests (`do`): `probe {backend}`, `compile {backend, session, build}`, `run {session}` with tensors, `run_each
{session, times}` with tensors named `0/x`, `1/x` and so on, `optimised {session}`, and `prepare {what}`, `golden`,
`exact`, `replay`, `gains`, `apply`, `observe`, `module`, `export`, which alone import the golden (`prepare` does
nothing else), and `picture {library, do}`, which imports a picture library. Every fault of a backend that leaves the
process alive becomes an error of ours here; what does not leave it alive is the parent's to name. Sessions end with the
channel. Needs numpy alone, and what is asked for: onnx for a backend; Python 3.10.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import json
import platform
import resource
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from sysnoise_conform import registry
from sysnoise_conform.backend import Inspectable, Optimised, Session, Tensors
from sysnoise_conform.errors import BackendDied, BackendUnavailable, BadModel, ConformError, StorageError, Unsupported
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.arena import NoSharedMemory, Reader, Writer
from sysnoise_conform.process.memory import tells_of_want
from sysnoise_conform.process.wire import Channel, ClosedError, build_from

PROTOCOL = 1
_GOLDEN = ("prepare", "golden", "exact", "replay", "gains", "apply", "observe", "module", "export")
_READ = 1 << 14  # characters of a message
_FILE_SIZE = resource.getrlimit(resource.RLIMIT_FSIZE)  # as we were started

Answer = tuple[dict[str, Any], Mapping[str, np.ndarray]]


class Worker:
    """The sessions that live in this process, and what can be asked of them."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def prepare(self, ahead: str | None) -> None:
        """Import what will be asked for: a backend's runtime, or the golden. What fails here fails again when asked."""
        with contextlib.suppress(Exception, SystemExit):
            if ahead == "golden":
                self.answer("prepare", {"what": "golden"}, {})
            elif ahead is not None:
                registry.load(ahead)().probe()

    def answer(self, do: str, payload: dict[str, Any], tensors: Tensors) -> Answer:
        """Carry one request out. Raises whatever the backend raises, and ConformError."""
        if do == "probe":
            return _facts(registry.load(payload["backend"])().probe()), {}
        if do == "compile":
            return self._compile(payload), {}
        if do == "run":
            return self._run(payload, tensors)
        if do == "run_each":
            return self._run_each(payload, tensors)
        if do == "optimised":
            session = self._session(payload)
            return _facts(session.optimised() if isinstance(session, Inspectable) else Optimised()), {}
        if do == "picture":
            from sysnoise_conform.pictures import elsewhere_child

            return elsewhere_child.handle(payload, tensors)
        if do in _GOLDEN:
            if payload.get("what") == "golden":
                from sysnoise_conform.golden import lean

                lean.import_torch()
            from sysnoise_conform.golden import service

            if do == "prepare":
                return {}, {}
            facts: dict[str, Any] = service.handle({"do": do, **payload}, tensors)
            return facts, facts.pop("tensors", {})
        raise ConformError(f"the worker knows no request {one_line(do)!r}")

    def close(self) -> None:
        """Close every session; what one of them says to that is nobody's concern any more, and goes to the log."""
        while self._sessions:
            _, session = self._sessions.popitem()
            try:
                session.close()
            except Exception:  # a runtime's own
                traceback.print_exc()

    def _compile(self, payload: dict[str, Any]) -> dict[str, Any]:
        backend = registry.load(payload["backend"])()
        build = build_from(payload["build"])
        started = time.perf_counter()
        session = backend.compile(build)
        seconds = time.perf_counter() - started
        self._sessions[payload["session"]] = session
        return {"effective": _facts(session.effective), "seconds": seconds}

    def _session(self, payload: dict[str, Any]) -> Session:
        session = self._sessions.get(payload["session"])
        if session is None:
            raise ConformError(f"the worker holds no session {one_line(payload['session'])!r}")
        return session

    def _run(self, payload: dict[str, Any], feeds: Tensors) -> Answer:
        session = self._session(payload)
        started = time.perf_counter()
        outputs = session.run(feeds)
        seconds = time.perf_counter() - started
        if not isinstance(outputs, Mapping) or not all(isinstance(name, str) for name in outputs):
            raise Unsupported(f"the backend answered a {type(outputs).__name__}, not tensors by name", stage="run")
        return {"seconds": seconds}, outputs

    def _run_each(self, payload: dict[str, Any], tensors: Tensors) -> Answer:
        feeds: list[dict[str, np.ndarray]] = [{} for _ in range(payload["times"])]
        for key, array in tensors.items():
            at, _, name = key.partition("/")
            feeds[int(at)][name] = array
        seconds, found = 0.0, {}
        for number, feed in enumerate(feeds):
            facts, outputs = self._run(payload, feed)
            seconds += facts["seconds"]
            found.update({f"{number}/{name}": array for name, array in outputs.items()})
        return {"seconds": seconds}, found


def serve(fd: int, ahead: str | None = None) -> None:
    """Answer requests on the socket `fd` until the other side closes it; import `ahead` before the first comes."""
    channel = Channel(socket.socket(fileno=fd))
    reader, writer, worker = Reader(), Writer(), Worker()
    flush = _native_flush()
    with contextlib.suppress(ClosedError):
        channel.send({"protocol": PROTOCOL, "python": platform.python_version(), "numpy": np.__version__, **_memory()})
        worker.prepare(ahead)
        while True:
            message, fds = channel.receive()
            reply, sent = _reply(worker, message, functools.partial(reader.read, message["tensors"], fds), writer)
            flush()
            channel.send({"id": message["id"], **reply, **_memory()}, sent)
    worker.close()
    flush()


def _reply(
    worker: Worker, message: dict[str, Any], feeds: Callable[[], Tensors], writer: Writer
) -> tuple[dict[str, Any], list[int]]:
    do, payload = message["do"], message["payload"]
    try:
        facts, outputs = worker.answer(do, payload, feeds())
        layout, fds = writer.write(outputs)
        return {"payload": _plain(facts), "tensors": layout}, fds
    except BaseException as err:  # converters call sys.exit; native errors have types of their own, below Exception too
        fault: ConformError | None = _want(do, err)
        if fault is not None:
            traceback.clear_frames(err.__traceback__)  # what they hold is what is lacking
        traceback.print_exc()
        if fault is None:
            fault = err if isinstance(err, ConformError) else _fault(do, payload, err)
    return {"error": _plain(fault.fields())}, []


def _fault(do: str, payload: dict[str, Any], err: BaseException) -> ConformError:
    if isinstance(err, SystemExit):
        said = f"it asked to exit with status {one_line(_text(err.code))}"
    else:
        said = f"{type(err).__name__}: {one_line(_text(err))}"
    if do in _GOLDEN:
        return BadModel(f"the golden failed in {do}: {said}", hint="the log holds the whole message")
    if do == "picture" and payload["do"] == "open":
        library = one_line(payload["library"])
        return BackendUnavailable(f"{library} can't be loaded: {said}", hint=f"conform env create {library}")
    backend = one_line(payload.get("backend", "the backend"))
    if do == "probe":
        return BackendUnavailable(f"{backend} is installed but does not work: {said}")
    if isinstance(err, ImportError) and do == "compile":
        return BackendUnavailable(f"{backend} lacks a package: {said}", hint=f"conform backends says more of {backend}")
    return Unsupported(said, stage="compile" if do == "compile" else "run")


def _want(do: str, err: BaseException) -> ConformError | None:
    """The fault that `err` is if it tells of too little memory or room, whoever asked for it."""
    if isinstance(err, ConformError):
        return None
    unbounded = resource.getrlimit(resource.RLIMIT_FSIZE) == _FILE_SIZE  # else the backend has done it to itself
    if isinstance(err, NoSharedMemory) and unbounded:
        return StorageError(one_line(err), hint="it is the machine's bound, not the model's")
    if isinstance(err, MemoryError) or tells_of_want(_text(err)):
        return BackendDied(f"out of memory: {one_line(_text(err)) or type(err).__name__}", stage=do, cause="memory")
    if isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and unbounded:
        return StorageError(
            f"no room for what is written during {do}: {one_line(err)}", hint="make room, or name another TMPDIR"
        )
    return None


def _text(value: object) -> str:
    """What `value` says of itself, as far as anybody would read; an exception's own words can fail, too."""
    try:
        return str(value)[:_READ]
    except BaseException as err:  # a KeyboardInterrupt of its own is no reason to die here
        return f"(its text can't be had: {type(err).__name__})"


def _facts(record: Any) -> dict[str, Any]:
    return {each.name: getattr(record, each.name) for each in fields(record)}


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Only JSON, whatever a backend put into its facts (an enum of the runtime, a numpy number)."""
    plain: dict[str, Any] = json.loads(json.dumps(facts, default=_plain_value))
    return plain


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return value.item() if isinstance(value, np.generic) else one_line(value)


def _memory() -> dict[str, int]:
    """The peak of this process's resident memory, in KiB; wait4's would count the parent's own before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return {"peak_rss_kib": int(line.split()[1])}
    return {}


def _native_flush() -> Callable[[], None]:
    """Push out what C and Python hold back: on a pipe, a runtime's printf would else die with the process."""
    libc = ctypes.CDLL(None)

    def flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        libc.fflush(None)

    return flush
