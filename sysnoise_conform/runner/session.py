"""A compiled model in a child process, with the names and layouts of the golden."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sysnoise_conform import registry
from sysnoise_conform.backend import Build, Optimised, Tensors
from sysnoise_conform.errors import BadInput
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.target import TO_NHWC, Target
from sysnoise_conform.variant import Variant

TO_NCHW = (0, 3, 1, 2)


def shows_natively(variant: Variant, target: Target) -> bool:
    """Whether the backend shows inner tensors by itself, so that the graph is not tapped by surgery."""
    if target.format != "onnx":
        return True
    return variant.option("watch") in registry.load(variant.backend).capabilities.native_watch


def to_promote(variant: Variant, target: Target, taps: Sequence[str]) -> Sequence[str]:
    """Which of the tensors asked for must become outputs of the graph for the backend to show them."""
    return () if shows_natively(variant, target) else taps


class RemoteSession:
    """One session in a child. Feeds and outputs carry golden names and ONNX layouts.

    `name` tells it from others in that child; `graph` is a private copy in a folder of its own, which the backend may
    write to.
    """

    def __init__(
        self, child: Child, variant: Variant, target: Target, graph: Path, feed: Mapping[str, np.ndarray],
        *, name: str, taps: tuple[str, ...] = (), threads: int = 0, meanwhile: Callable[[], None] | None = None,
    ) -> None:
        self._child = child
        self._name = name
        self.graph = graph
        self._target = target
        self._golden_name = {theirs: golden for golden, theirs in target.names.items()}
        self.seconds_run = 0.0
        native = self._to_target(feed)
        options = registry.runtime_options(variant)
        wanted = options.pop("threads", None)
        build = Build(
            model=graph,
            format=target.format,
            shapes={name: array.shape for name, array in native.items()},
            dtypes={name: array.dtype.name for name, array in native.items()},
            precision=variant.precision if variant.precision in ("auto", "tf32") else None,
            device=variant.device.lower() if variant.device else None,
            options=options,
            taps=tuple(target.name(each) for each in taps) if shows_natively(variant, target) else (),
            workdir=graph.parent,
            threads=int(wanted) if wanted else threads,
        )
        self.effective, self.seconds_compile = child.compile(
            variant.backend, build, session=name, meanwhile=meanwhile
        )

    def run(self, feed: Mapping[str, np.ndarray], *, again: bool = False) -> Tensors:
        """Outputs by golden name; arrays are valid until the next run. A run `again` is not timed."""
        outputs = self._child.run(self._to_target(feed), session=self._name)
        self.seconds_run += 0.0 if again else outputs.seconds
        return self._from_target(outputs.tensors)

    def run_each(self, feeds: Sequence[Mapping[str, np.ndarray]]) -> list[Tensors]:
        """The outputs of a run with each of `feeds`, all in one exchange; arrays are valid until the next one."""
        outputs = self._child.run_each([self._to_target(each) for each in feeds], session=self._name)
        self.seconds_run += sum(each.seconds for each in outputs)
        return [self._from_target(each.tensors) for each in outputs]

    def optimised(self) -> Optimised:
        """What the runtime made of the graph, as far as it tells; tensors by their golden names."""
        found = self._child.optimised(session=self._name)
        if found.tensors is None:
            return found
        return replace(found, tensors=tuple(self._golden_name.get(each, each) for each in found.tensors))

    def _from_target(self, outputs: Tensors) -> Tensors:
        found = {}
        for theirs, array in outputs.items():
            name = self._golden_name.get(theirs, theirs)
            found[name] = self._permuted(name, array, TO_NCHW)
        return found

    def _to_target(self, feed: Mapping[str, np.ndarray]) -> Tensors:
        return {self._target.name(name): self._permuted(name, array, TO_NHWC) for name, array in feed.items()}

    def _permuted(self, name: str, array: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
        if self._target.layouts.get(name) != "NHWC":
            return array
        if array.ndim != 4:
            raise BadInput(
                f"--layout {one_line(name)}=NHWC speaks of 4 dimensions, the tensor has {array.ndim}",
                hint="give --layout only for image-like tensors",
            )
        return np.ascontiguousarray(array.transpose(order))
