"""The contract of a backend: it compiles a model and runs it, and nothing else.

`compile(build) -> Session`, `session.run(feeds) -> outputs by name`. Every diagnostic is graph
surgery done outside. Runs in children: Python 3.10, numpy and onnx alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:  # the parent starts its children before it has imported anything
    import numpy as np

Tensors = dict[str, "np.ndarray"]  # name -> array; the ONNX (golden's) name, ONNX layout (NCHW)


@dataclass(frozen=True)
class Option:
    """A `+name=value` that a backend understands."""

    name: str
    about: str
    choices: tuple[str, ...] = ()  # empty: any text


@dataclass(frozen=True)
class Capabilities:
    """What a backend can be asked for; read by the parent, so no runtime is needed to know it."""

    about: str  # one line for `conform backends`
    extra: str  # the pip extra that brings it: pip install 'sysnoise-conform[extra]'
    formats: tuple[str, ...] = ("onnx",)  # of: onnx, tflite, ir
    devices: tuple[str, ...] = ("cpu",)  # accepted after @, lower case, first is the default
    options: tuple[Option, ...] = ()
    auto: bool = False  # `:auto` is something else than the model's own types here
    tf32: bool = False  # `:tf32`, float32 operands with 10 bits of fraction, can be asked for
    native_taps: tuple[str, ...] = ()  # formats whose inner tensors `Build.taps` can reach
    native_watch: tuple[str, ...] = ()  # values of `+watch=` under which it reaches those of an ONNX graph, too


@dataclass(frozen=True)
class Runtime:
    """What `probe` found: the runtime as installed here."""

    name: str
    version: str
    devices: tuple[str, ...] = ()
    default_precision: str = "fp32"  # what the runtime would choose by itself on this host
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Effective:
    """What a session really does, read back from the runtime after compiling."""

    device: str
    precision: str  # fp32, bf16, ..., or a share: "bf16 93 %, fp32 7 %"
    options: Mapping[str, Any] = field(default_factory=dict)
    # What `precision` says in numbers from 0 to 1, as far as the runtime tells: "layers", and "flops" (of the matrix
    # products), each precision -> share. Empty where the runtime reports none.
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Optimised:
    """What a runtime has made of a graph.

    `tensors` are the inner tensors that it still computes as such, by ONNX name: making them outputs disturbs no
    fusion. None where it does not tell. `passes` are the passes of its optimiser that changed the graph, in the order
    in which they ran, by the names that the backend's option `disable` takes; empty where it has no such option.
    """

    tensors: tuple[str, ...] | None = None
    passes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Build:
    """One request to compile.

    `model` is a private copy: a converter may rewrite it. `shapes` and `dtypes` (numpy names) are
    those of the feeds to come. `precision` is None (the model's own types, to be pinned and read
    back), "auto" (the runtime's own choice) or, where `Capabilities.tf32`, "tf32". `taps` names inner
    tensors to return beside the outputs, only for a format in `Capabilities.native_taps` or under a
    `native_watch`: else an ONNX graph is tapped by surgery.
    `workdir` is an empty private folder; `threads` 0 means the runtime's own choice.
    """

    model: Path
    format: str = "onnx"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    precision: str | None = None
    device: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    taps: tuple[str, ...] = ()
    workdir: Path = Path(".")
    threads: int = 0


class Session(Protocol):
    """A compiled model."""

    @property
    def effective(self) -> Effective:
        """Device, precision and options as the runtime reports them."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """Run once; arrays returned are the caller's (no reused buffer), keyed by ONNX name.

        Raises `Unsupported(stage="run")` when the runtime refuses by a clean error.
        """

    def close(self) -> None:
        """Give everything back; calling it twice is harmless."""


@runtime_checkable
class Inspectable(Protocol):
    """A session that can tell what its runtime made of the graph; most can't, and need nothing for it."""

    def optimised(self) -> Optimised:
        """Found out when asked, not before: it may compile once more. Raises what `compile` raises."""


class Backend(Protocol):
    """A runtime seen from outside. The class has no state; importing its module imports no runtime."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    def probe(self) -> Runtime:
        """What is installed. Raises `BackendUnavailable` with the cure when it does not really work."""

    def compile(self, build: Build) -> Session:
        """Raises `Unsupported` (stage `convert` or `compile`) or `BackendUnavailable`."""
