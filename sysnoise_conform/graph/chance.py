"""Operators whose result is drawn: no two runtimes, and often no two runs, give the same."""

from __future__ import annotations

from onnx import NodeProto

RANDOM_OPERATORS = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
})  # fmt: skip


def is_random(node: NodeProto) -> bool:
    """Whether a node draws. A `seed` attribute does not help: ONNX does not say which generator it seeds."""
    return node.domain in ("", "ai.onnx") and node.op_type in RANDOM_OPERATORS
