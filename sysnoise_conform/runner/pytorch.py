"""PyTorch's child of a run: one for all goldens, started when it is first asked, one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx

from sysnoise_conform.graph.intake import Model, write_proto
from sysnoise_conform.process.child import Child, Reply
from sysnoise_conform.runner.crew import GOLDEN, Crew


class PyTorch:
    """The child, its log in `logs`. A context manager: it ends with the block."""

    def __init__(self, crew: Crew, logs: Path) -> None:
        self._crew = crew
        self._logs = logs
        self._stack = ExitStack()
        self._child: Child | None = None
        self._lock = threading.Lock()
        self._parts = 0

    def __enter__(self) -> PyTorch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def place(self, model: Model) -> Path:
        """The graph of a model, where the child can read it."""
        with self._lock:
            return write_proto(model.proto, self._there().workdir, f"golden-{model.sha256[:16]}.onnx", model.data_files)

    def place_part(self, part: onnx.ModelProto, of: Model) -> Path:
        """A part of a model's graph, likewise."""
        with self._lock:
            self._parts += 1
            folder = self._there().workdir / f"part-{self._parts}"
            folder.mkdir()
            return write_proto(part, folder, "part.onnx", of.data_files)

    def call(self, do: str, request: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Reply:
        """The child's answer to one request of `golden.service`; its tensors are the caller's.

        Raises what the golden raises, and BackendDied.
        """
        with self._lock:
            reply = self._there().call(do, dict(request), dict(tensors), stage="golden")
            # The next request, whoever makes it, takes their place.
            return replace(reply, tensors={name: array.copy() for name, array in reply.tensors.items()})

    def _there(self) -> Child:
        if self._child is None:
            self._child = self._stack.enter_context(self._crew.member(GOLDEN, self._logs / "golden.txt"))
        return self._child
