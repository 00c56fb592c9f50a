"""The graph under test in a child, whole; and PyTorch's tensors in the types that the model declares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.session import RemoteSession, to_promote
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenTensor
from sysnoise_conform.variant import Variant


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
    graph: Path = shop.graph(folder, to_promote(variant, shop.plan.target, taps))
    return RemoteSession(
        child, variant, shop.plan.target, graph, shop.samples.feed(0), name=name, taps=tuple(taps),
        threads=shop.threads,
    )  # fmt: skip
