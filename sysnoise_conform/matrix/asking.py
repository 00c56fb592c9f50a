"""Whoever tells what a graph meets: a child of PyTorch's that runs it, and names the node at which it can't."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import onnx

from sysnoise_conform.errors import BackendDied, Interrupted
from sysnoise_conform.graph.intake import Model, write_proto
from sysnoise_conform.matrix.facts import Feed
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.variant import parse_variant

_BACKEND = "torch"  # every operator that the golden has, and no shape inference before it
_LABEL = "graphs"


class Asker:
    """Runs graphs with a model's weights, one at a time. A context manager: its child, started late, ends with it."""

    def __init__(self, model: Model, crew: Crew, logs: Path, threads: int) -> None:
        self._model, self._crew, self._logs, self._threads = model, crew, logs, threads
        self._stack = ExitStack()
        self._child: Child | None = None

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def __call__(self, proto: onnx.ModelProto, feed: Feed) -> Mapping[str, np.ndarray]:
        """The graph's outputs for a feed, valid until the next call.

        Raises BackendError, Interrupted where the run ended the child.
        """
        try:
            return self._run(proto, feed)
        except BackendDied as err:
            if self._crew.dismissed:
                raise Interrupted("the run was interrupted") from err
            raise

    def _run(self, proto: onnx.ModelProto, feed: Feed) -> Mapping[str, np.ndarray]:
        variant = parse_variant(_BACKEND)
        if self._child is None:
            log = self._logs / f"{_LABEL}.txt"
            self._child = self._stack.enter_context(self._crew.member(_LABEL, log, variant=variant))
        folder = self._child.workdir / _LABEL
        folder.mkdir(exist_ok=True)
        graph = write_proto(proto, folder, "model.onnx", self._model.data_files)
        session = RemoteSession(
            self._child, variant, Target(path=graph, format="onnx", model=None), graph, feed,
            name=_LABEL, threads=self._threads,
        )  # fmt: skip
        return session.run(feed)
