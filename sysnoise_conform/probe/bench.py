"""One child after another that compiles and runs small models: what kills it costs its own case alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import onnx

from sysnoise_conform import registry
from sysnoise_conform.backend import Build, Runtime, Tensors
from sysnoise_conform.errors import BackendDied
from sysnoise_conform.graph.intake import write_proto
from sysnoise_conform.probe.arrays import Array
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.variant import Variant

if TYPE_CHECKING:
    from sysnoise_conform.process.child import Child


class Bench:
    """Sessions of one variant, in a child that is replaced when it dies. Not for two threads at once."""

    def __init__(self, crew: Crew, variant: Variant, logs: Path) -> None:
        """`logs` is a folder of this bench's own."""
        self._crew = crew
        self._variant = variant
        self._logs = logs
        self._stack = ExitStack()
        self._child: Child | None = None
        self._children = 0
        self._models = 0

    def runtime(self) -> Runtime:
        """What the runtime says of itself. Raises BackendUnavailable, BackendDied."""
        return self._mine().probe(self._variant.backend)

    def compile(
        self, model: onnx.ModelProto, feeds: Mapping[str, Array], *, session: str = "main", threads: int = 0,
        options: Mapping[str, str] | None = None,
    ) -> float:  # fmt: skip
        """Make a session of this variant, `options` over its own; the seconds it took.

        `threads` goes before the variant's. Raises Unsupported, BackendDied, BackendUnavailable.
        """
        child = self._mine()
        self._models += 1
        folder = child.workdir / f"probe_{self._models}"
        folder.mkdir()
        own = registry.runtime_options(self._variant)
        wanted = own.pop("threads", None)
        build = Build(
            model=write_proto(model, folder, "model.onnx"),
            shapes={name: array.shape for name, array in feeds.items()},
            dtypes={name: array.dtype.name for name, array in feeds.items()},
            precision="auto" if self._variant.precision == "auto" else None,
            device=self._variant.device.lower() if self._variant.device else None,
            options={**own, **(options or {})},
            workdir=folder,
            threads=threads or int(wanted or 0),
        )
        try:
            return child.compile(self._variant.backend, build, session=session)[1]
        except BackendDied:
            self._bury()
            raise

    def run(self, feeds: Mapping[str, Array], *, session: str = "main") -> Tensors:
        """The session's outputs, copies. Raises Unsupported, BackendDied."""
        try:
            outputs = self._mine().run(feeds, session=session)
        except BackendDied:
            self._bury()
            raise
        return {name: np.array(array) for name, array in outputs.tensors.items()}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bury()

    def _mine(self) -> Child:
        if self._child is None:
            self._children += 1
            log = self._logs / f"{self._children}.txt"
            member = self._crew.member(str(self._variant), log, variant=self._variant)
            self._child = self._stack.enter_context(member)
        return self._child

    def _bury(self) -> None:
        self._child = None
        self._stack.close()
