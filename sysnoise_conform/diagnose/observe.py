"""What a diagnosis has seen: the untouched graph, the tapped one (`watching`), and each operator alone (`islands`).

All in one child, which imports its runtime once; the islands come last, and an operator which takes the process down
costs itself. PyTorch's child answers to recorded tensors meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from sysnoise_conform.backend import Tensors
from sysnoise_conform.diagnose.blocks import Blocks, Granularity, blocks_of
from sysnoise_conform.diagnose.margin import Margins
from sysnoise_conform.outcome import RuntimeFacts
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.tally import Tally
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenTensor
from sysnoise_conform.variant import Variant


@dataclass(slots=True)
class Seen:
    """Everything that was measured of one variant; diffs by tensor, merged over samples."""

    blocks: Blocks
    margins: Margins
    outputs: Tally
    cumulative: Tally
    effect: Tally
    replayed: Tally
    islands: Tally
    runtime: RuntimeFacts | None = None
    hidden: dict[str, str] = field(default_factory=dict)  # tensor -> why it could not be watched
    not_runnable: dict[str, str] = field(default_factory=dict)  # tensor -> why its operator does not run alone
    recorded: set[str] = field(default_factory=set)
    first: list[Tensors] = field(default_factory=list)  # what each tapped graph recorded of the first sample
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def nothing(cls, shop: Workshop, granularity: Granularity | None = None) -> Seen:
        """Nothing seen yet; what will be judged as one."""
        return cls(
            blocks=blocks_of(shop, granularity), margins=Margins(shop.model), outputs=shop.tally(),
            cumulative=shop.tally(), effect=shop.tally(), replayed=shop.tally(), islands=shop.tally(),
        )  # fmt: skip


def declared(golden: GoldenTensor) -> np.ndarray:
    """A golden tensor in the type that the model declares."""
    if golden.data.dtype.kind != "f":
        return golden.data
    with np.errstate(over="ignore"):
        return golden.data.astype(tensor_dtype_to_np_dtype(golden.elem_type))


def open_session(
    shop: Workshop, variant: Variant, child: Child, name: str, taps: Sequence[str]
) -> RemoteSession:
    """A session of the graph under test with `taps` for outputs, too, in a folder of that name."""
    folder = child.workdir / name
    folder.mkdir()
    graph: Path = shop.graph(folder, taps)
    return RemoteSession(
        child, variant, shop.plan.target, graph, shop.samples.feed(0), name=name, taps=tuple(taps),
        threads=shop.threads,
    )  # fmt: skip
