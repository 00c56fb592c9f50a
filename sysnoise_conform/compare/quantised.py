"""What 8 bits cost one tensor: the part that lies beyond the range, and the part that lies between two codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantisationError:
    """Squared errors of quantising a tensor's exact values, summed over elements and samples.

    x is clipped to the range of the codes first, and rounded to one of them then: x - dequantised =
    (x - clipped) + (clipped - dequantised), of which one is 0 wherever the other is large.
    """

    tensor: str
    n: int = 0
    clipped: int = 0  # elements beyond the range
    clip_sq: float = 0.0
    rounding_sq: float = 0.0
    signal_sq: float = 0.0

    @property
    def clip_share(self) -> float | None:
        """The part of the squared error that clipping makes, 0..1; None where there is no error."""
        total = self.clip_sq + self.rounding_sq
        return self.clip_sq / total if total > 0 else None

    @property
    def rel_l2(self) -> float | None:
        """The whole error relative to the values; None where these are all zero."""
        return float(np.sqrt((self.clip_sq + self.rounding_sq) / self.signal_sq)) if self.signal_sq > 0 else None

    def merged(self, other: QuantisationError) -> QuantisationError:
        """Both, as if measured together."""
        return QuantisationError(
            tensor=self.tensor,
            n=self.n + other.n,
            clipped=self.clipped + other.clipped,
            clip_sq=self.clip_sq + other.clip_sq,
            rounding_sq=self.rounding_sq + other.rounding_sq,
            signal_sq=self.signal_sq + other.signal_sq,
        )


def quantisation_error(values: np.ndarray[Any, Any], by: Mapping[str, Any]) -> QuantisationError:
    """The error of one sample's tensor under `by`: `tensor`, `kind` (int8, uint8), `scale` and `zero_point`.

    Half to even, as QuantizeLinear rounds. Elements that are not finite are left out.
    """
    low, high = RANGES[str(by["kind"])]
    scale, zero = float(by["scale"]), int(by["zero_point"])
    x = np.asarray(values, np.float64).reshape(-1)
    x = x[np.isfinite(x)]
    clipped = np.clip(x, (low - zero) * scale, (high - zero) * scale)
    rounded = np.rint(clipped / scale) * scale
    beyond, between = x - clipped, clipped - rounded
    return QuantisationError(
        tensor=str(by["tensor"]),
        n=x.size,
        clipped=int(np.count_nonzero(beyond)),
        clip_sq=float(beyond @ beyond),
        rounding_sq=float(between @ between),
        signal_sq=float(x @ x),
    )
