"""Several pictures' tensors in one run of a graph whose batch is open, and the outputs told apart again.

A batch is always full: what is missing of the last one is its last tensor again, so that a graph is compiled for one
size alone and every answer comes out of the same kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sysnoise_conform.errors import Unsupported, UsageError
from sysnoise_conform.graph.intake import Port
from sysnoise_conform.matrix.facts import Feed
from sysnoise_conform.printable import one_line


def check(batch: int, port: Port) -> None:
    """Raises UsageError where the model's batch is not open for that many."""
    size = port.shape[0] if port.shape else None
    if batch > 1 and isinstance(size, int):
        raise UsageError(
            f"--batch {batch}: the input {one_line(port.name)!r} has a batch of {size}",
            hint="leave out --batch, or export the model with an open batch",
        )


def stacked(feeds: Sequence[Feed], batch: int) -> Iterator[Feed]:
    """Feeds of one shape, `batch` of them in one."""
    for start in range(0, len(feeds), batch):
        some = list(feeds[start : start + batch])
        some += [some[-1]] * (batch - len(some))
        yield {name: np.concatenate([each[name] for each in some]) for name in some[0]}


def apart(answers: Sequence[Mapping[str, np.ndarray]], batch: int, count: int) -> list[dict[str, np.ndarray]]:
    """The outputs of each of `count` feeds that were stacked. Raises Unsupported for an output that has no batch."""
    for answer in answers:
        for name, array in answer.items():
            if array.ndim == 0 or array.shape[0] != batch:
                raise Unsupported(
                    f"of a batch of {batch} the output {one_line(name)!r} has the shape {list(array.shape)}: what is"
                    " whose can't be told (leave out --batch)",
                    stage="run",
                )
    return [
        {name: array[at % batch : at % batch + 1] for name, array in answers[at // batch].items()}
        for at in range(count)
    ]
