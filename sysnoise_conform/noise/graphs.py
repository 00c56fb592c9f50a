"""Noises of the graph put together: which module rewrites for which axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx

from sysnoise_conform.graph.measured import Measured
from sysnoise_conform.graph.rewrite import Rewrite
from sysnoise_conform.noise import ceil_mode, pooling, precision, roialign, upsample

AXES = (ceil_mode.AXIS, *pooling.AXES, upsample.AXIS, roialign.AXIS, precision.AXIS)  # a conversion comes last
_REWRITES: Mapping[str, Callable[[onnx.ModelProto, str, str, Measured], Rewrite]] = {
    ceil_mode.AXIS.name: ceil_mode.rewrite,
    **{each.name: pooling.rewrite for each in pooling.AXES},
    upsample.AXIS.name: upsample.rewrite,
    roialign.AXIS.name: roialign.rewrite,
}


def rewrite(proto: onnx.ModelProto, axis: str, level: str, measured: Measured) -> Rewrite:
    """What a level of an axis makes of a graph that was measured; `proto` stays as it is."""
    return _REWRITES[axis](proto, axis, level, measured)
