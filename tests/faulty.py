"""A backend that computes right, and does one terrible thing on request: `subject+does=segfault+at=compile`.

It reaches children by `CONFORM_BACKENDS` (see `as_environment`) and needs numpy and onnx alone. Of a graph that nobody
tapped it leaves the moment of its fault, on the clock that all processes share, in the folder that FAULT_STAMPS names.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from sysnoise_conform.backend import Backend, Build, Capabilities, Effective, Option, Runtime, Session, Tensors

MODEL = """
<ir_version: 9, opset_import: ["": 18]>
tiny (float[1,3,16,16] x) => (float[1,3,16,16] y, float[1,3,16,16] z) <float[3,1,1] w = {0.5, -1.25, 3}> {
  m = Mul (x, w)
  r = Relu (m)
  y = Add (r, x)
  z = Neg (y)
}
"""
_OPERATORS: dict[str, Callable[..., Any]] = {
    "Mul": np.multiply, "Add": np.add, "Neg": np.negative, "Relu": lambda x: np.maximum(x, np.float32(0)),
}  # fmt: skip


def _segfault() -> None:
    ctypes.string_at(0)


def _divide() -> None:
    signal.signal(signal.SIGFPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGFPE)


def _hang() -> None:
    ctypes.PyDLL(None).pause()  # in native code, and Python's lock is held


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(np.ones(1 << 22))


def _flood() -> None:
    line = b"a line that a runtime repeats for ever \x1b[31m\x00\xff\n" * 1500
    for _ in range(100 * 2**20 // len(line)):
        os.write(1, line)


def _numbers() -> list[int]:
    return [int(each) for each in os.listdir("/proc/self/fd")]


def _write_everywhere() -> None:
    for each in _numbers():
        try:
            os.write(each, b"cos\nsystem\n(S'touch CANARY'\ntR." * 64)
        except OSError:
            continue


def _close_channel() -> None:
    for each in _numbers():
        if os.path.lexists(f"/proc/self/fd/{each}") and os.readlink(f"/proc/self/fd/{each}").startswith("socket:"):
            socket.socket(fileno=each).shutdown(socket.SHUT_RDWR)
    time.sleep(3600)


def _fork() -> None:
    """Two grandchildren that hold every descriptor of ours, one of them in a session of its own."""
    for leave in (False, True):
        if os.fork() == 0:
            if leave:
                os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(3600)


def _disturb() -> None:
    for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(each, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o777)
    os.nice(5)
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_STACK):
        soft, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (min(64, soft) if soft >= 0 else 64, hard))
    os.environ.clear()
    sys.path.clear()
    sys.stdout = sys.stderr = sys.stdin = None


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this works")


class Underground(BaseException):
    """No Exception, so most handlers let it through."""


def _raise(error: BaseException) -> Callable[[], None]:
    def fault() -> None:
        raise error

    return fault


def _recurse() -> None:
    _recurse()


DEADLY: dict[str, Callable[[], object]] = {
    "segfault": _segfault,
    "abort": os.abort,
    "divide": _divide,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "leave": lambda: os._exit(0),
    "close_channel": _close_channel,
    "write_everywhere": _write_everywhere,
}
OTHER: dict[str, Callable[[], object]] = {"hang": _hang, "eat": _eat}
HARMLESS: dict[str, Callable[[], object]] = {"flood": _flood, "fork": _fork}
DISTURBING: dict[str, Callable[[], object]] = {"disturb": _disturb}
RAISING: dict[str, Callable[[], object]] = {
    "exit": _raise(SystemExit("as if all were well")),
    "interrupt": _raise(KeyboardInterrupt()),
    "underground": _raise(Underground("deep")),
    "unprintable": _raise(Unprintable()),
    "verbose": _raise(RuntimeError("blah " * 2_000_000)),
    "escapes": _raise(RuntimeError("one\r\ntwo \x1b[31mred\x1b[0m \x07 \u202e \ud800 \x00 end")),
    "recurse": _recurse,
    "stop": _raise(StopIteration("no more")),
}


def _changed(does: str, outputs: Tensors) -> Any:
    first, *rest = outputs.items()
    match does:
        case "wrong_names":
            return {f"{name}_renamed": value for name, value in outputs.items()}
        case "missing":
            return dict([first])
        case "extra":
            return {**outputs, "more": np.zeros(3, np.float32), "../../escape\x1b": np.zeros(2)}
        case "wrong_shape":
            return {name: value[..., :-1] for name, value in outputs.items()}
        case "wrong_dtype":
            return {name: value.astype(np.float64) for name, value in outputs.items()}
        case "nan":
            return {name: np.where(np.arange(16) == 7, np.float32(np.nan), value) for name, value in outputs.items()}
        case "objects":
            return {name: value.astype(object) for name, value in outputs.items()}
        case "strided":
            return {name: np.repeat(value, 2, axis=-1)[..., ::2] for name, value in outputs.items()}
        case "fortran":
            return {name: np.asfortranarray(value) for name, value in outputs.items()}
        case "big_endian":
            return {name: value.astype(">f4") for name, value in outputs.items()}
        case "read_only":
            for value in outputs.values():
                value.flags.writeable = False
            return outputs
        case "huge":
            return {first[0]: np.broadcast_to(np.float32(1), (1 << 20, 1 << 20)), **dict(rest)}
        case "nothing":
            return None
        case "list":
            return list(outputs.values())
        case "numbers":
            return dict(enumerate(outputs.values()))
        case "nones":
            return dict.fromkeys(outputs)
        case "empty":
            return {}
        case _:
            return outputs


ANSWERS = (
    "wrong_names", "missing", "extra", "wrong_shape", "wrong_dtype", "nan", "objects", "strided", "fortran",
    "big_endian", "read_only", "huge", "nothing", "list", "numbers", "nones", "empty",
)  # fmt: skip
FAULTS = {**DEADLY, **OTHER, **HARMLESS, **DISTURBING, **RAISING}
_DOES = Option(name="does", about="its one fault", choices=(*FAULTS, *ANSWERS))
_AT = Option(name="at", about="when it happens", choices=("compile", "run", "close", "layers", "tapping"))
_OF = Option(name="of", about="of which tensor, where it happens when layers are shown, or built to be shown")


class Subject(Backend):
    """Right in every bit, but for what it was asked to do wrong."""

    name = "subject"
    capabilities = Capabilities(about="a backend with a fault on request", extra="dev", options=(_DOES, _AT, _OF))

    def probe(self) -> Runtime:
        return Runtime(name="subject", version="1", devices=("cpu",))

    def compile(self, build: Build) -> Session:
        return _Session(build)


class DiesAtProbe(Subject):
    name = "dies_at_probe"

    def probe(self) -> Runtime:
        stamp("dies_at_probe", "probe")
        _segfault()
        raise AssertionError("unreachable")


class HangsAtProbe(Subject):
    name = "hangs_at_probe"

    def probe(self) -> Runtime:
        stamp("hangs_at_probe", "probe")
        _hang()
        raise AssertionError("unreachable")


class _Session(Session):
    def __init__(self, build: Build) -> None:
        self._graph = onnx.load(build.model).graph
        self._does = str(build.options.get("does", ""))
        self._at = str(build.options.get("at", "run"))
        self._of = str(build.options.get("of", ""))
        self._options = dict(build.options)
        self._fault_at("compile")
        if self._shows_layers():
            self._fault_at("tapping")

    @property
    def effective(self) -> Effective:
        return Effective(device="cpu", precision="fp32", options=self._options)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        self._fault_at("run")
        if self._shows_layers():
            self._fault_at("layers")
        known = {each.name: numpy_helper.to_array(each) for each in self._graph.initializer} | dict(feeds)
        for node in self._graph.node:
            known[node.output[0]] = _OPERATORS[node.op_type](*(known[name] for name in node.input))
        answer: Tensors = _changed(self._does, {each.name: known[each.name] for each in self._graph.output})
        return answer

    def close(self) -> None:
        self._fault_at("close")

    def _shows_layers(self) -> bool:
        outputs = [each.name for each in self._graph.output]
        return len(outputs) > 2 and self._of in ("", *outputs)

    def _fault_at(self, stage: str) -> None:
        if stage == self._at and self._does in FAULTS:
            if len(self._graph.output) == 2 or stage in ("layers", "tapping"):
                stamp(self._does, stage)
            does, self._does = self._does, ""  # once is enough
            FAULTS[does]()


def stamp(does: str, at: str) -> None:
    """Leave the moment, once: a second child of the same variant has nothing to add."""
    path = Path(os.environ["FAULT_STAMPS"]) / f"{does}-{at}"
    if not path.exists():
        path.with_suffix(f".{os.getpid()}").write_text(repr(time.monotonic()))
        path.with_suffix(f".{os.getpid()}").rename(path)


def as_environment() -> dict[str, str]:
    """The environment variable that makes them known to a command line."""
    kinds = (Subject, DiesAtProbe, HangsAtProbe)
    return {"CONFORM_BACKENDS": ",".join(f"{each.name}={__file__}:{each.__name__}" for each in kinds)}
