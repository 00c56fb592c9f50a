"""What is asked: a model, its inputs, the variants to try, and the limits they run under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sysnoise_conform.variant import Variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one session's child process may use.

    `timeout_s` is wall-clock time for one step (compile, or one run) of a runtime, and for PyTorch's answer to one
    sample; starting a child and importing PyTorch are bounded apart. `memory_bytes` is address space of a
    runtime (None: no limit); `threads` 0 leaves the choice to the runtime.
    """

    timeout_s: float = 300.0
    memory_bytes: int | None = None
    threads: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """The file that really ships, run as it is; `names` maps golden tensor names to its own."""

    path: Path
    names: Mapping[str, str] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)  # golden name -> NHWC where the file has channels last


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One `conform run`."""

    model: Path
    variants: tuple[Variant, ...]
    inputs: Path | None = None
    card: Path | None = None
    samples: int | None = None  # None: all there are, or 4 synthetic ones
    seed: int = 0
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    bind: Mapping[str, str] = field(default_factory=dict)  # input name -> its constant value, as text
    deployed: Deployed | None = None
    torch_module: str | None = None  # package.module:factory
    weights: Path | None = None
    calibration: Path | None = None  # None: a part of the inputs that is not judged
    keep_fp32: tuple[str, ...] = ()  # nodes that conversions leave as they are
    limits: Limits = field(default_factory=Limits)
    layers: bool = True  # False: outputs only
    cache: bool = True
    allow_linked_data: bool = False
