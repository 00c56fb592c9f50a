"""A model in an arithmetic of fewer bits: its weights rounded, and what a recording tells of how results were kept.

What a dot product multiplies is rounded to the format, and it adds in float32. The rest differs from operator to
operator of one runtime, and a recording tells it: a result is kept in the format where all its values have it; a bias
is rounded where the result with a rounded one is the nearer; and the sum before the bias was kept in the format where
the result less the bias has it. OpenVINO 2026.4 was measured, each to the bit, to keep a Conv's result in bfloat16
with a rounded bias, a Gemm's in float32 with a whole one, and to add a bias in float32 to a Conv's sum that was kept in
bfloat16; and to add a constant mask, rounded, in float32 to scores that were not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from sysnoise_conform.backend import Tensors
from sysnoise_conform.compare.arithmetic import Arithmetic
from sysnoise_conform.golden.types import T
from sysnoise_conform.golden.values import Value

Array = np.ndarray[Any, Any]

DOT_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Bias:
    """What a dot product adds, as it is broadcast to the output, whole and rounded; float64."""

    whole: Tensor
    narrow: Tensor


class Narrowed:
    """`model` with the weights of its dot products rounded; its biases are whole."""

    def __init__(self, model: onnx.ModelProto, base_dir: Path, arithmetic: Arithmetic) -> None:
        self._arithmetic = arithmetic
        self._biases: dict[str, Bias] = {}
        # What dot products multiply: rounded where it was not recorded, as a transposed weight is not.
        self._multiplied = frozenset(
            name for node in model.graph.node if node.op_type in DOT_PRODUCTS for name in node.input[:2]
        )
        self.model = self._rounded(model, base_dir) if arithmetic.dropped_bits else model

    def kept(self, recorded: Tensors, stored: Collection[str] | None) -> Kept:
        """How what was recorded was kept; `stored` names tensors whose results have the format, where that is known."""
        if stored is None:
            stored = [name for name, array in recorded.items() if self._arithmetic.holds(array)]
        return Kept(self._arithmetic, self._biases, recorded, frozenset(stored), self._multiplied)

    def _rounded(self, model: onnx.ModelProto, base_dir: Path) -> onnx.ModelProto:
        made = onnx.ModelProto()
        made.CopyFrom(model)
        floats = {each.name: each for each in made.graph.initializer if each.data_type == T.FLOAT}
        done: set[str] = set()
        for node in made.graph.node:
            if node.op_type not in DOT_PRODUCTS:
                continue
            if len(node.input) > 2 and node.input[2] in floats:
                bias = onnx.numpy_helper.to_array(floats[node.input[2]], base_dir=str(base_dir))
                self._biases[node.output[0]] = self._bias(node, bias, floats)
            for name in node.input[:2]:
                if name in floats and name not in done:
                    done.add(name)
                    whole = onnx.numpy_helper.to_array(floats[name], base_dir=str(base_dir))
                    floats[name].CopyFrom(onnx.numpy_helper.from_array(self._arithmetic.rounded(whole), name))
        return made

    def _bias(self, node: onnx.NodeProto, bias: Array, floats: dict[str, onnx.TensorProto]) -> Bias:
        whole, narrow = (
            torch.from_numpy(each.astype(np.float64)) for each in (bias, self._arithmetic.rounded(bias))
        )
        if node.op_type == "Gemm":
            beta = next((each.f for each in node.attribute if each.name == "beta"), 1.0)
            return Bias(whole * beta, narrow * beta)
        weights = floats.get(node.input[1])
        spatial = 2 if weights is None else len(weights.dims) - 2
        return Bias(whole.reshape(-1, *[1] * spatial), narrow.reshape(-1, *[1] * spatial))


class Kept:
    """One recording: its tensors as operators read them, and how each result was kept."""

    def __init__(
        self, arithmetic: Arithmetic, biases: dict[str, Bias], recorded: Tensors, stored: frozenset[str],
        multiplied: frozenset[str],
    ) -> None:  # fmt: skip
        self._arithmetic, self._biases, self._recorded, self._stored = arithmetic, biases, recorded, stored
        self._multiplied = multiplied
        self._shifts: dict[str, Tensor] = {}
        self._before_bias = {
            name for name, bias in biases.items()
            if arithmetic.stores and name in recorded and name not in stored and self._holds_without(name, bias)
        }  # fmt: skip

    def stored(self, name: str) -> bool:
        """The result, or its sum before the bias, has the arithmetic's format."""
        return name in self._stored or name in self._before_bias

    def operand(self, name: str, value: Value) -> Value:
        """What was not recorded, rounded where a dot product multiplies it."""
        if name not in self._multiplied or value.elem_type != T.FLOAT or not self._arithmetic.dropped_bits:
            return value
        single = value.data.to(torch.float32).contiguous()
        return replace(value, data=torch.from_numpy(self._arithmetic.rounded(single.numpy())).to(value.data.dtype))

    def exact(self, node: onnx.NodeProto, inputs: Sequence[Any], name: str, value: Value) -> Value:
        """Float64's answer with what is added rounded or whole: whichever is nearest to what was recorded."""
        shifts = self._choices(node, inputs, name)
        if not shifts or tuple(self._recorded[name].shape) != tuple(value.data.shape):
            return value
        error = torch.nan_to_num(torch.from_numpy(self._recorded[name].astype(np.float64)) - value.data)
        best, least = None, float(error.square().sum())
        for shift in shifts:
            left = float((error - shift).square().sum())
            if left < least:
                best, least = shift, left
        if best is None:
            return value
        self._shifts[name] = best
        return replace(value, data=value.data + best)

    def single(self, name: str, value: Value) -> Value:
        """The same of a float32 run, rounded where it was."""
        if name in self._shifts:
            value = replace(value, data=(value.data + self._shifts[name]).to(value.data.dtype))
        if not self.stored(name) or value.elem_type != T.FLOAT:
            return value
        before = self._biases[name].whole if name in self._before_bias else None
        data = value.data if before is None else (value.data - before).to(torch.float32)
        data = torch.from_numpy(self._arithmetic.rounded(data.contiguous().numpy()))
        return replace(value, data=data if before is None else (data + before).to(torch.float32))

    def _choices(self, node: onnx.NodeProto, inputs: Sequence[Any], name: str) -> list[Tensor]:
        """What else the result may be moved by: a dot product's bias rounded, an Add's operands the other way each."""
        if name in self._biases:
            return [_finite(self._biases[name].narrow - self._biases[name].whole)]
        if node.op_type != "Add" or not self._arithmetic.dropped_bits:
            return []
        first, second = (self._otherwise(*each) for each in zip(node.input, inputs, strict=True))
        return [each for each in (first, second) if each is not None] + (
            [first + second] if first is not None and second is not None else []
        )

    def _otherwise(self, name: str, value: Any) -> Tensor | None:
        """From an operand as it was read to the other way: what was recorded is read rounded, a constant whole."""
        if not isinstance(value, Value) or value.elem_type != T.FLOAT:
            return None
        recorded = self._recorded.get(name)
        whole = value.data.to(torch.float32).contiguous().numpy() if recorded is None else recorded
        if tuple(whole.shape) != tuple(value.data.shape):
            return None
        # A mask of float32's lowest number was measured to become the format's lowest, not -Inf.
        within = np.clip(whole, -self._arithmetic.largest, self._arithmetic.largest, dtype=np.float32)
        more = torch.from_numpy(np.asarray(self._arithmetic.rounded(within).astype(np.float64) - whole))
        return _finite(more if recorded is None else -more)

    def _holds_without(self, name: str, bias: Bias) -> bool:
        got = torch.from_numpy(np.ascontiguousarray(self._recorded[name]))
        if got.dtype is not torch.float32 or not got.numel() or got.dim() < bias.whole.dim():
            return False
        less = (got.double() - bias.whole).to(torch.float32)
        near = torch.from_numpy(self._arithmetic.rounded(less.contiguous().numpy()))
        # The addition of the bias was rounded to float32, and so was taking it off again.
        slack = 2.0**-22 * (got.double().abs() + bias.whole.abs())
        return bool(((near.double() - less.double()).abs() <= slack).all())


def _finite(shift: Tensor) -> Tensor:
    """Infinities stay where they are."""
    return torch.nan_to_num(shift, nan=0.0, posinf=0.0, neginf=0.0)
