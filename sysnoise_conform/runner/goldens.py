"""PyTorch's answers for the samples of a run: out of the store, or made by one child and put there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from sysnoise_conform.errors import BackendDied, BackendUnavailable, GoldenDied, GoldenUnavailable
from sysnoise_conform.graph.intake import Model, write_proto
from sysnoise_conform.graph.shapes import check_declared_output
from sysnoise_conform.inputs import Samples
from sysnoise_conform.process.child import Child
from sysnoise_conform.store import GoldenSample, Store, fingerprint


class Goldens:
    """One golden per sample, made in order on a thread of its own and waited for by whoever needs it.

    PyTorch is imported only where a sample is not in the store: `start` is called for the child at
    the first such sample.
    """

    def __init__(
        self,
        model: Model,
        samples: Samples,
        store: Store,
        start: Callable[[], Child],
        *,
        threads: int,
    ) -> None:
        self._model = model
        self._samples = samples
        self._store = store
        self._start = start
        self._threads = threads
        self._graph: Path | None = None
        self._graph_sha256 = fingerprint.graph_sha256(model.proto)
        self._child: Child | None = None
        self._futures: list[Future[GoldenSample]] = [Future() for _ in range(len(samples))]
        self._cached = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._make_all, name="goldens", daemon=True)

    def begin(self) -> None:
        """Start making them."""
        self._thread.start()

    def sample(self, number: int) -> GoldenSample:
        """The golden of one sample, waited for. Raises what its making raised."""
        return self._futures[number].result()

    def stop(self) -> None:
        """Make no further one."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def facts(self) -> dict[str, Any]:
        """What the report says of the golden: torch's version, how many came out of the store, and its notes."""
        return {
            "torch": self._store.torch_version,
            "cached": self._cached,
            "of": len(self._futures),
            "source": "store" if self._cached == len(self._futures) else "computed",
            "notes": list(self._store.notes),
        }

    def _make_all(self) -> None:
        for number, future in enumerate(self._futures):
            if self._stop.is_set():
                future.cancel()
                continue
            try:
                future.set_result(self._one(number))
            except BaseException as err:  # the waiting thread is the one that must hear of it
                future.set_exception(err)
                self._fail_rest(number + 1, err)
                return

    def _fail_rest(self, first: int, err: BaseException) -> None:
        for future in self._futures[first:]:
            future.set_exception(err)

    def _one(self, number: int) -> GoldenSample:
        try:
            golden = self._found_or_made(number)
        except BackendUnavailable as err:  # a backend's words, but no backend's fault
            raise GoldenUnavailable(err.message, hint=err.hint) from err
        except BackendDied as err:
            of = self._samples.names[number]
            raise GoldenDied(f"PyTorch's answer for {of}: {err.message}", hint=_cure(err)) from err
        for port in self._model.outputs:
            if port.name in golden:
                check_declared_output(self._model, port.name, golden[port.name].shape)
        return golden

    def _found_or_made(self, number: int) -> GoldenSample:
        feed = self._samples.feed(number)
        key = self._store.key(
            model_sha256=self._model.sha256,
            graph_sha256=self._graph_sha256,
            feeds_sha256=fingerprint.feeds_sha256(feed),
            threads=self._threads,
        )
        found = self._store.find(key)
        if found is not None:
            self._cached += 1
            return found
        if self._child is None:
            self._child = self._start()
        if self._graph is None:
            self._graph = write_proto(self._model.proto, self._child.workdir, "golden.onnx", self._model.data_files)
        partial = self._store.reserve()
        self._child.call(
            "golden",
            {"model": str(self._graph), "out": str(partial), "threads": self._threads},
            feed,
            stage="golden",
        )
        return self._store.commit(partial, key)


def _cure(err: BackendDied) -> str | None:
    match err.cause:
        case "timeout":
            return "--timeout allows PyTorch more as well, if the model ever ends"
        case "memory":
            return "PyTorch computes in float64 and gets twice --memory, at most what the machine has"
        case _:
            return err.hint
