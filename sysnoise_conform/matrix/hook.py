"""A decoder of the user's own, `module:function` in the card: run in a child, its answers read as a graph's outputs.

function(outputs, size, decoding): outputs by name, batch dimension 1; size (height, width) of the tensor; the choices
of `tasks.decoding.Decoding`. It gives, by the card's task,
detect        boxes (n, 4) as x1, y1, x2, y2 in pixels of the tensor, scores (n,), classes (n,);
classify      scores (classes,);
segment       scores (classes, rows, columns); text-detect probabilities (1, rows, columns).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.errors import UsageError
from sysnoise_conform.frames import NoAnswer, asked
from sysnoise_conform.pictures.place import Placement
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.surroundings import child_environment
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.tasks.evaluation import Comparison, Evaluation, Result, Shown

_CODE = "from sysnoise_conform.matrix.hook_child import main; main()"
_BOXES = ("boxes", "scores", "classes")
_DIMENSIONS = {"classify": 1, "segment": 3, "text-detect": 3}  # of scores, by task


class Hook:
    """The hook's child. A context manager; `log` gets what the hook prints. Thread-safe."""

    def __init__(self, card: Card, folder: Path, log: Path, *, timeout_s: float) -> None:
        assert card.decoder is not None
        self._card = card
        self._name = one_line(card.decoder, 120)
        self._folder = folder
        self._log = log
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self.sha256 = ""  # of the file that it is in

    def __enter__(self) -> Hook:
        """Start it. Raises UsageError naming the hook where it can't be loaded."""
        assert self._card.decoder is not None
        module, _, function = self._card.decoder.partition(":")
        answer = _BOXES if self._card.task == "detect" else ("scores",)
        config = {"module": module, "function": function, "folder": str(self._folder), "parent": os.getpid(),
                  "answer": answer}  # fmt: skip
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE, json.dumps(config)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env=child_environment(self._log.parent, 0),
            )  # fmt: skip
        try:
            head, _ = self._told(None)
        except BaseException:
            self._end()
            raise
        self.sha256 = str(head["sha256"])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def __call__(
        self, outputs: Mapping[str, np.ndarray], size: tuple[int, int], how: Decoding
    ) -> dict[str, np.ndarray]:
        """Its answer as outputs of a graph, see `read_by`. Raises UsageError naming the hook."""
        with self._lock:
            _, found = self._told(({"size": size, "decoding": asdict(how)}, outputs))
        return self._checked(found)

    def read_by(self) -> Card:
        """The card that reads its answers."""
        heads = replace(
            self._card.heads, boxes="boxes", scores="scores", classes="classes", normalised=False, first_class=0
        )
        if self._card.task == "detect":
            return replace(self._card, decoder="boxes", heads=heads)
        return replace(self._card, decoder=None, output="scores")

    def _told(
        self, request: tuple[Mapping[str, object], Mapping[str, np.ndarray]] | None
    ) -> tuple[dict[str, object], dict[str, np.ndarray]]:
        try:
            head, arrays = asked(self._child, request, self._timeout_s)
        except NoAnswer as err:
            raise UsageError(f"the hook {self._name!r} {err}", hint=f"see logs/{self._log.name}") from err
        if "error" in head:
            raise UsageError(f"the hook {self._name!r} failed: {one_line(head['error'], 300)}", hint="correct its code")
        return head, arrays

    def _checked(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self._card.task == "detect":
            boxes, scores, classes = (found[each] for each in _BOXES)
            count = len(boxes) if boxes.ndim else 0
            if not boxes.size and not scores.size and not classes.size:
                return {"boxes": np.empty((0, 4)), "scores": np.empty(0), "classes": np.empty(0)}
            if (boxes.shape, scores.shape, classes.shape) == ((count, 4), (count,), (count,)):
                if not np.isfinite(classes).all() or (classes != np.floor(classes)).any():
                    self._wrong("classes that are no whole numbers")
                return found
            shapes = f"boxes {boxes.shape}, scores {scores.shape} and classes {classes.shape}"
            self._wrong(f"{shapes}, not (n, 4), (n,) and (n,)")
        wanted = _DIMENSIONS.get(self._card.task or "", 1)
        scores = found["scores"]
        if scores.ndim != wanted:
            self._wrong(f"scores of shape {scores.shape}; those of {self._card.task} have {wanted} dimensions")
        return {"scores": scores[None]}

    def _wrong(self, what: str) -> None:
        raise UsageError(f"the hook {self._name!r} gave {what}", hint="docs/tasks.md says what it has to give")

    def _end(self) -> None:
        self._child.kill()
        self._child.communicate()


class Hooked:
    """An evaluation whose outputs pass through a hook first."""

    def __init__(self, inner: Evaluation, hook: Hook) -> None:
        self._inner = inner
        self._hook = hook
        self.metric = inner.metric

    def result(
        self, at: int, outputs: Mapping[str, np.ndarray], placement: Placement, size: tuple[int, int], how: Decoding
    ) -> Result:
        """See `Evaluation`."""
        return self._inner.result(at, self._hook(outputs, size, how), placement, size, how)

    def figures(
        self, results: Sequence[Result], pictures: Sequence[int], base: Sequence[Result]
    ) -> Mapping[str, float]:
        """See `Evaluation`."""
        return self._inner.figures(results, pictures, base)

    def compare(
        self, base: Sequence[Result], other: Sequence[Result], pictures: Sequence[int], *, margin: float, seed: int
    ) -> Comparison:
        """See `Evaluation`."""
        return self._inner.compare(base, other, pictures, margin=margin, seed=seed)

    def differs(self, at: int, base: Result, other: Result) -> bool:
        """See `Evaluation`."""
        return self._inner.differs(at, base, other)

    def shown(self, at: int, result: Result) -> Shown:
        """See `Evaluation`."""
        return self._inner.shown(at, result)
