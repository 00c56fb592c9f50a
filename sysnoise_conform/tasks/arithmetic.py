"""exp, sigmoid and softmax as hardware of fewer bits computes them: operands and results rounded, IEEE 754 to even."""

from __future__ import annotations

import numpy as np

from sysnoise_conform.tasks.decoding import Arithmetic

_BFLOAT16_DROPPED = np.uint32(16)


def held(values: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """float64 values as a number of this arithmetic would hold them, in float64."""
    match arithmetic:
        case "fp32":
            return values.astype(np.float32).astype(np.float64)
        case "fp16":
            with np.errstate(over="ignore"):
                return values.astype(np.float16).astype(np.float64)
        case "bf16":
            return _bfloat16(values.astype(np.float32)).astype(np.float64)


def exp(values: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """e to the power of each, operand and result held."""
    with np.errstate(over="ignore"):
        return held(np.exp(held(values, arithmetic)), arithmetic)


def sigmoid(values: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """1 / (1 + exp(-x)), operand, exponential and result held."""
    with np.errstate(over="ignore"):
        return held(1 / (1 + exp(-values, arithmetic)), arithmetic)


def tanh(values: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """Operand and result held."""
    return held(np.tanh(held(values, arithmetic)), arithmetic)


def softmax(values: np.ndarray, arithmetic: Arithmetic, axis: int = -1) -> np.ndarray:
    """Along an axis, the largest taken away first; operands, exponentials, their sum and results held."""
    operand = held(values, arithmetic)
    parts = exp(operand - operand.max(axis=axis, keepdims=True), arithmetic)
    return held(parts / held(parts.sum(axis=axis, keepdims=True), arithmetic), arithmetic)


def _bfloat16(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    even = np.uint32(0x7FFF) + ((bits >> _BFLOAT16_DROPPED) & np.uint32(1))
    rounded = ((bits + even) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)
