"""PyTorch's answers for the samples of a run: out of the store, or made by one child and put there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx

from sysnoise_conform.backend import Tensors
from sysnoise_conform.errors import BackendDied, BackendUnavailable, GoldenDied, GoldenUnavailable
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.graph.shapes import check_declared_output
from sysnoise_conform.inputs import Samples
from sysnoise_conform.runner import foresight
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.pytorch import PyTorch
from sysnoise_conform.store import GoldenSample, Store, fingerprint

# Samples that are open at once, so that neither memory nor the disk space of what the store can't keep grows with
# their number; what is asked for again is opened again, or made again.
OPEN = 4
AHEAD = 2  # made before they are asked for

ISLANDS = "islands"  # what the key of such an entry says beside the golden's own facts


class Goldens:
    """One golden per sample, made in order on a thread of its own a little ahead of whoever asks.

    PyTorch is imported only where a sample is not in the store, in a child that several of these may share.
    A context manager.
    """

    def __init__(
        self, model: Model, samples: Samples, store: Store, crew: Crew, logs: Path, *, threads: int,
        pytorch: PyTorch | None = None,
    ) -> None:  # fmt: skip
        self._model = model
        self._samples = samples
        self._store = store
        self._crew = crew
        self._threads = threads
        self._stack = ExitStack()
        self._pytorch = pytorch or self._stack.enter_context(PyTorch(crew, logs))
        self._graph: Path | None = None
        self._graph_sha256 = ""
        self._parts: dict[int, tuple[onnx.ModelProto, Path]] = {}
        self._keys: dict[tuple[int, tuple[str, ...]], str] = {}
        self._open: OrderedDict[int, GoldenSample] = OrderedDict()
        self._seen: set[int] = set()
        self._cached: set[int] = set()
        self._failure: BaseException | None = None
        self._making = threading.Lock()  # one at a time, for as long as it takes
        self._table = threading.Lock()  # held for a moment
        self._asked = -1
        self._ahead = 0  # the first that the thread has not made yet
        self._news = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._make_ahead, name="goldens", daemon=True)

    def __enter__(self) -> Goldens:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._news:
            self._over = True
            self._news.notify_all()
        if self._thread.is_alive():
            if error is not None:  # whatever it waits for is of no use any more
                self._crew.dismiss()
            self._thread.join(timeout=5)
        self._stack.close()

    def begin(self) -> None:
        """Start making them."""
        self._thread.start()

    def sample(self, number: int) -> GoldenSample:
        """The golden of one sample, waited for. Raises what its making raised, then and at every later call."""
        with self._news:
            self._asked = max(self._asked, number)
            self._news.notify_all()
            # A lock would not do: the thread takes it for the next golden before whoever waits for this one wakes up.
            self._news.wait_for(lambda: self._over or not self._thread.is_alive() or number < self._ahead)
        return self._get(number)

    def finish(self) -> None:
        """Make what nobody asked for: what the golden refuses is bad input even where every runtime fell before."""
        for number in range(len(self._samples)):
            if number not in self._seen:
                self.sample(number)

    def islands(
        self, number: int, recorded: Mapping[str, np.ndarray], inside: Collection[str] = ()
    ) -> GoldenSample:
        """What each operator gives in float64 on the golden's own tensors, `recorded` in their declared types; kept.

        Tensors `inside` of blocks are not among these.
        """
        feed = self._samples.feed(number)
        key = self._key(number, feed, ISLANDS, *sorted(inside))
        found = self._store.find(key)
        if found is not None:
            return found
        with self._making, _in_words(self._samples.names[number]):
            return self._store.commit(self._asked_of_child("replay", {**feed, **recorded}), key)

    def replayed(
        self, number: int, recorded: Mapping[str, np.ndarray], *, operands: str | None = None,
        stored: Sequence[str] | None = None,
    ) -> GoldenSample:  # fmt: skip
        """What each operator gives in float64 on the tensors that a backend recorded; lives until it is closed.

        With `operands`, in the arithmetic of that name (`compare.arithmetic`); `stored` names the tensors whose
        values were kept in its format, by default those whose recorded values all have it.
        """
        with self._making, _in_words(self._samples.names[number]):
            tensors = {**self._samples.feed(number), **recorded}
            partial = self._asked_of_child(
                "replay", tensors, operands=operands, stored=None if stored is None else list(stored)
            )
            try:
                return GoldenSample(partial, verify=False)
            finally:
                self._store.discard(partial)

    def gains(
        self, number: int, recorded: Mapping[str, np.ndarray], names: Sequence[str], output: str, *, seconds: float
    ) -> dict[str, tuple[float, float]]:
        """How the error that each of `names` was recorded with arrives at `output`, in float64: made, arrived.

        Both are relative L2 errors; `names` in the order of their importance, as far as `seconds` suffice.
        """
        with self._making, _in_words(self._samples.names[number]):
            request = {"names": list(names), "output": output, "seconds": seconds}
            tensors = {**self._samples.feed(number), **recorded}
            found = self._pytorch.call("gains", {**self._about(), **request}, tensors).payload["gains"]
        return {name: (float(made), float(arrived)) for name, (made, arrived) in found.items()}

    def applied(self, model: onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> Tensors:
        """What a part of the model gives in float64, rounded to its declared types."""
        with self._making, _in_words("a part of the model"):
            key = id(model)
            if key not in self._parts:
                # The model is kept, too: its id is its own as long as it lives.
                self._parts[key] = (model, self._pytorch.place_part(model, self._model))
            request = {**self._about(), "model": str(self._parts[key][1])}
            return dict(self._pytorch.call("apply", request, feed).tensors)

    def facts(self) -> dict[str, Any]:
        """What the report says of the golden: torch's version, how many came out of the store, and its notes."""
        cached, total = len(self._cached), len(self._samples)
        return {
            "torch": self._store.torch_version,
            "cached": cached,
            "of": total,
            "source": "store" if cached == total else "computed",
            "notes": list(self._store.notes),
        }

    def _make_ahead(self) -> None:
        for number in range(len(self._samples)):
            with self._news:
                self._ahead = number
                self._news.notify_all()
                self._news.wait_for(lambda number=number: self._over or number <= self._asked + AHEAD)  # type: ignore[misc]
                if self._over:
                    return
            try:
                self._get(number)
            except BaseException:  # kept: whoever asks is the one that must hear of it
                break
        with self._news:
            self._ahead = len(self._samples)
            self._news.notify_all()

    def _get(self, number: int) -> GoldenSample:
        found = self._made(number)
        if found is not None:  # whoever asks for what is there does not wait until the next one is made
            return found
        with self._making:
            found = self._made(number)
            if found is not None:
                return found
            try:
                found = self._one(number)
            except BaseException as err:
                self._failure = err
                raise
            with self._table:
                self._seen.add(number)
                self._open[number] = found
                if len(self._open) > OPEN:
                    self._open.popitem(last=False)
            return found

    def _made(self, number: int) -> GoldenSample | None:
        if self._failure is not None:
            raise self._failure
        with self._table:
            found = self._open.get(number)
            if found is not None:
                self._open.move_to_end(number)
            return found

    def _one(self, number: int) -> GoldenSample:
        with _in_words(self._samples.names[number]):
            golden = self._found_or_made(number)
        for port in self._model.outputs:
            if port.name in golden:
                check_declared_output(self._model, port.name, golden[port.name].shape)
        return golden

    def _found_or_made(self, number: int) -> GoldenSample:
        feed = self._samples.feed(number)
        key = self._key(number, feed)
        found = self._store.find(key)
        if found is not None:
            if number not in self._seen:
                self._cached.add(number)
                foresight.remember(self._model.path)
            return found
        golden = self._store.commit(self._asked_of_child("golden", feed), key)
        if self._store.private is None:
            foresight.remember(self._model.path)
        return golden

    def _asked_of_child(self, do: str, tensors: Mapping[str, np.ndarray], **more: str | list[str] | None) -> Path:
        """The unfinished entry that the child has written."""
        about = self._about()
        partial = self._store.reserve()
        self._pytorch.call(do, {**about, "out": str(partial), **more}, tensors)
        return partial

    def _about(self) -> dict[str, Any]:
        """What every request says."""
        self._graph = self._graph or self._pytorch.place(self._model)
        return {"model": str(self._graph), "threads": self._threads}

    def _key(self, number: int, feed: Mapping[str, np.ndarray], *only: str) -> str:
        if (number, only) not in self._keys:
            self._graph_sha256 = self._graph_sha256 or fingerprint.graph_sha256(
                self._model.proto, self._model.bound_sha256
            )
            self._keys[number, only] = self._store.key(
                model_sha256=self._model.sha256,
                graph_sha256=self._graph_sha256,
                feeds_sha256=fingerprint.feeds_sha256(feed),
                threads=self._threads,
                only=only,
            )
        return self._keys[number, only]


@contextmanager
def _in_words(sample: str) -> Iterator[None]:
    """What befalls PyTorch's child, told as such."""
    try:
        yield
    except BackendUnavailable as err:  # a backend's words, but no backend's fault
        raise GoldenUnavailable(err.message, hint=err.hint) from err
    except BackendDied as err:
        raise GoldenDied(f"PyTorch's answer for {sample}: {err.message}", hint=_cure(err)) from err


def _cure(err: BackendDied) -> str | None:
    match err.cause:
        case "timeout":
            return "--timeout allows PyTorch more as well, if the model ever ends"
        case "memory":
            return "PyTorch computes in float64 and gets twice --memory, at most what the machine has"
        case _:
            return err.hint
