"""What is asked of a decision: the operands that a backend was given, PyTorch's answer to these, and its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from sysnoise_conform.outcome import Reading

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operand:
    """An input of the operator, in its declared type; `exact` says that no rounding lies behind it (a constant).

    `roundoff` is the unit roundoff of an arithmetic of fewer bits that it was computed in, where it was. `fed` says
    that the runtime was given these very numbers: what is equal here was equal there.
    """

    data: Array
    exact: bool = False
    roundoff: float | None = None
    fed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One output of one node. `others` are the backend's other outputs of that node, by position."""

    node: onnx.NodeProto
    opset: int
    operands: tuple[Operand | None, ...]
    place: int
    golden: Array  # float64 for every float type, else the declared type
    got: Array
    others: dict[int, Array]

    def operand(self, position: int) -> Operand | None:
        """An operand, or None where it is omitted."""
        return self.operands[position] if position < len(self.operands) else None

    def attribute(self, name: str, default: Any) -> Any:
        """The attribute's value, text as text, or `default` where the node does not carry it."""
        for each in self.node.attribute:
            if each.name == name:
                value = onnx.helper.get_attribute_value(each)
                return value.decode() if isinstance(value, bytes) else value
        return default


@dataclass(frozen=True, slots=True)
class Answer:
    """What the backend's answer is held against: PyTorch's, or its own wherever the decision lies within rounding.

    `ties` counts the elements (of lists of boxes and places: the rows) at which it is its own. `readings` say what the
    decisions look like that went otherwise, ties and clear ones.
    """

    data: Array
    ties: int
    readings: tuple[Reading, ...] = ()
