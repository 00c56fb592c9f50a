"""What a sample does to every float32 tensor of a graph: extremes and a histogram, for calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch

from sysnoise_conform.golden.executor import Executor, Mode
from sysnoise_conform.golden.types import T
from sysnoise_conform.golden.values import Value
from sysnoise_conform.precision.observed import BINS, LOWEST_EXPONENT

_PIECE = 1 << 23  # histc counts in float32, which is exact up to here


class Observer:
    """A model, compiled once in float32, whose tensors are looked at sample after sample."""

    def __init__(self, executor: Executor, wanted: frozenset[str]) -> None:
        """`wanted`: the tensors that depend on an input, graph inputs among them."""
        self._executor = executor
        self._wanted = wanted

    @classmethod
    def of(cls, model: onnx.ModelProto, executor: Executor, fed: set[str]) -> Observer:
        """`fed`: what depends on an input."""
        stored = {each.name for each in model.graph.initializer}
        return cls(executor, frozenset(fed | {each.name for each in model.graph.input if each.name not in stored}))

    def observe(self, feeds: Mapping[str, np.ndarray[Any, Any]], *, histograms: bool) -> dict[str, Any]:
        """`names`, and `tensors`: low, high (float64), nonfinite, exponent (int64), one each; counts (n, BINS)."""
        names: list[str] = []
        rows: list[tuple[float, float, int, int]] = []
        counts: list[np.ndarray[Any, Any]] = []

        def look(name: str, tensor: torch.Tensor) -> None:
            low, high, nonfinite, finite = _extremes(tensor)
            exponent = _exponent(max(-low, high))
            names.append(name)
            rows.append((low, high, nonfinite, exponent))
            if histograms:
                counts.append(_histogram(finite, exponent))

        for name, array in feeds.items():
            if array.dtype == np.float32 and name in self._wanted:
                look(name, torch.from_numpy(np.array(array)))

        def listen(node: onnx.NodeProto, inputs: Any, name: str, value: Value) -> None:
            if value.elem_type == T.FLOAT and name in self._wanted:
                look(name, value.data)

        self._executor.run(feeds, listen=listen)
        table = np.array(rows, np.float64).reshape(-1, 4)
        tensors = {
            "low": table[:, 0].copy(), "high": table[:, 1].copy(),
            "nonfinite": table[:, 2].astype(np.int64), "exponent": table[:, 3].astype(np.int64),
        }  # fmt: skip
        if histograms:
            tensors["counts"] = np.array(counts, np.int64).reshape(-1, BINS)
        return {"names": names, "tensors": tensors}


def observer_of(model: onnx.ModelProto, fed: set[str], base_dir: Any) -> Observer:
    """An observer of `model`, whose data files lie in `base_dir`."""
    return Observer.of(model, Executor(model, Mode.FLOAT32, base_dir=base_dir), fed)


def _extremes(tensor: torch.Tensor) -> tuple[float, float, int, torch.Tensor]:
    """Lowest and highest finite value (0 without any), how many are not finite, and the finite ones in float32."""
    flat = tensor.reshape(-1).to(torch.float32)
    if not flat.numel():
        return 0.0, 0.0, 0, flat
    low, high = (float(each) for each in torch.aminmax(flat))
    if math.isfinite(low) and math.isfinite(high):
        return low, high, 0, flat
    finite = flat[flat.isfinite()]
    bad = flat.numel() - finite.numel()
    if not finite.numel():
        return 0.0, 0.0, bad, finite
    low, high = (float(each) for each in torch.aminmax(finite))
    return low, high, bad, finite


def _exponent(largest: float) -> int:
    """The smallest e with largest <= 2**e, at least that of the smallest normal float32."""
    if largest <= 0:
        return LOWEST_EXPONENT
    fraction, exponent = math.frexp(largest)  # largest = fraction * 2**exponent, 0.5 <= fraction < 1
    return max(exponent - 1 if fraction == 0.5 else exponent, LOWEST_EXPONENT)


def _histogram(finite: torch.Tensor, exponent: int) -> np.ndarray[Any, Any]:
    """Counts in BINS bins over -2**exponent .. 2**exponent, zero among the positive ones.

    Exact: scaling by a power of two is, and each side is counted from 0, where histc subtracts nothing.
    """
    counts = np.zeros(BINS, np.int64)
    for start in range(0, finite.numel(), _PIECE):
        piece = finite[start : start + _PIECE]
        scaled = (piece.double() * 2.0**-exponent).float() if abs(exponent) > 100 else piece * 2.0**-exponent
        counts[BINS // 2 :] += _counted(scaled)
        if bool((piece < 0).any()):
            below = _counted(-scaled)
            below[0] -= int((scaled == 0).sum())
            counts[: BINS // 2] += below[::-1]
    return counts


def _counted(scaled: torch.Tensor) -> np.ndarray[Any, Any]:
    """Counts over 0..1; what is below is left out."""
    counts: np.ndarray[Any, Any] = torch.histc(scaled, BINS // 2, 0.0, 1.0).to(torch.int64).numpy()
    return counts
