"""Batch normalisation put into the convolution before it, as every converter does before it quantises."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from sysnoise_conform.graph.naming import Namer
from sysnoise_conform.graph.walk import attribute_of, reads
from sysnoise_conform.precision.weights import array_of

_EPSILON = 1e-5  # BatchNormalization's default


def fold_norms(graph: onnx.GraphProto, folder: Path, keep: frozenset[str]) -> list[str]:
    """Fold in place; the names of the tensors between convolution and normalisation, which are gone.

    Only inference's normalisation with constant parameters, behind a Conv with constant weights whose output nobody
    else reads; neither of the two may make a tensor of `keep`. New weights are computed in float64 and rounded once.
    `folder` has the data files.
    """
    stored = {each.name: each for each in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output if name}
    counts = Counter(name for node in graph.node for name in reads(node))
    outputs = {each.name for each in graph.output}
    namer = Namer(graph)
    gone: list[str] = []
    for index in reversed(range(len(graph.node))):
        norm = graph.node[index]
        conv = makers.get(norm.input[0]) if norm.op_type == "BatchNormalization" and not norm.domain else None
        if conv is None or conv.op_type != "Conv" or conv.domain or not _plain(norm):
            continue
        between, behind = conv.output[0], norm.output[0]
        if counts[between] != 1 or between in outputs or keep & {between, behind}:
            continue
        operands = [*norm.input[1:5], *conv.input[1:3]]
        if not all(name in stored and stored[name].data_type == onnx.TensorProto.FLOAT for name in operands if name):
            continue
        scale, shift, mean, variance, weight, *bias = (
            array_of(stored[name], folder).astype(np.float64) for name in operands if name
        )
        epsilon = attribute_of(norm, "epsilon")
        with np.errstate(all="ignore"):
            factor = scale / np.sqrt(variance + (_EPSILON if epsilon is None else epsilon.f))
            new_bias = (((bias[0] if bias else 0.0) - mean) * factor + shift).astype(np.float32)
            new_weight = (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32)
        if not np.isfinite(new_weight).all() or not np.isfinite(new_bias).all():
            continue
        for position, (values, after) in enumerate(((new_weight, "weight"), (new_bias, "bias")), start=1):
            name = namer.fresh(f"{behind}_{after}")
            graph.initializer.append(numpy_helper.from_array(values, name))
            if len(conv.input) > position:
                conv.input[position] = name
            else:
                conv.input.append(name)
        conv.output[0] = behind
        gone.append(between)
        del graph.node[index]
    return gone[::-1]


def _plain(norm: NodeProto) -> bool:
    """Inference's normalisation, with one output."""
    training = attribute_of(norm, "training_mode")
    return (training is None or training.i == 0) and len(norm.output) == 1 and len(norm.input) == 5
