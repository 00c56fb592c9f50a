"""Arithmetics that a target may compute FLOAT tensors in: what each of them rounds, and numpy's rounding to it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arithmetic:
    """What operands, sums and results of an operator are rounded to; its products are exact.

    All three are unit roundoffs, half the distance from 1 to the next number. `result` is that of a result which is
    stored in the format; a runtime may store it in float32 as well. Operands of int8 have steps of their own, which
    the runtime chooses: there `operands` is 0.
    """

    name: str
    operands: float
    accumulator: float = 2.0**-24
    result: float = 2.0**-24
    dropped_bits: int = 0  # of a float32's mantissa, in its operands
    ties: Literal["even", "away"] = "even"  # where an operand goes that lies half way between two numbers

    @property
    def stores(self) -> bool:
        """Results may be kept in fewer bits than float32 has."""
        return self.result > FLOAT32.result

    @property
    def largest(self) -> float:
        """The largest finite operand."""
        exponent = 15 if self.name.startswith("float16") else 127
        return (2 - 2 * self.operands) * 2.0**exponent

    def rounded(self, array: Array) -> Array:
        """A float32 array, rounded to the nearest number of the operands' format; another type as it is.

        NaN stays; float16 overflows to Inf and keeps its subnormal numbers, the others have float32's exponents.
        """
        if array.dtype != np.float32 or not self.dropped_bits:
            return array
        if self.name.startswith("float16"):
            with np.errstate(over="ignore"):
                return array.astype(np.float16).astype(np.float32)
        whole = np.ascontiguousarray(array).view(np.uint32)
        added: Any = np.uint32(1 << (self.dropped_bits - 1))
        if self.ties == "even":  # from half way on upwards where the last bit that stays is 1, else from just above
            added = added - np.uint32(1) + ((whole >> np.uint32(self.dropped_bits)) & np.uint32(1))
        kept = (whole + added) & np.uint32(0xFFFFFFFF ^ ((1 << self.dropped_bits) - 1))
        return np.where(np.isfinite(array), kept.view(np.float32), array).reshape(array.shape)

    def holds(self, array: Array) -> bool:
        """Whether every value of a float32 array has the format: it was stored in it, as far as anybody can tell."""
        return self.stores and array.dtype == np.float32 and np.array_equal(self.rounded(array), array, equal_nan=True)


# IEEE 754-2019 (binary32, binary16), bfloat16, and NVIDIA's TF32: 10 bits of mantissa in a float32's place, to which
# cvt.rna.tf32.f32 rounds to nearest, ties away from zero (PTX ISA, cvt); the others send ties to even.
FLOAT32 = Arithmetic(name="float32", operands=2.0**-24)
TF32 = Arithmetic(name="tf32", operands=2.0**-11, dropped_bits=13, ties="away")
FLOAT16 = Arithmetic(name="float16", operands=2.0**-11, result=2.0**-11, dropped_bits=13)
FLOAT16_SUMS = Arithmetic(  # sums in float16, too, as some units of older or smaller processors do
    name="float16_sums", operands=2.0**-11, accumulator=2.0**-11, result=2.0**-11, dropped_bits=13
)
BFLOAT16 = Arithmetic(name="bfloat16", operands=2.0**-8, result=2.0**-8, dropped_bits=16)
INT8 = Arithmetic(name="int8", operands=0.0)

ARITHMETICS = {each.name: each for each in (FLOAT32, TF32, FLOAT16, FLOAT16_SUMS, BFLOAT16, INT8)}

_WORDS = {
    "bf16": BFLOAT16, "fp16": FLOAT16, "f16": FLOAT16, "tf32": TF32, "int8": INT8, "i8": INT8, "u8": INT8,
}  # fmt: skip
_OWN = {"FLOAT16": "float16", "BFLOAT16": "bfloat16", "INT8": "int8", "UINT8": "int8"}


def reported(precision: str, declared: Collection[str]) -> Arithmetic | None:
    """The low precision that a runtime says it used and the model does not declare; the one named first.

    `precision` is free text (`bf16 93 %, fp32 7 %`), `declared` are ONNX type names. None for float32, and for what
    only weights are kept in (`fp32 (int8 weights)`).
    """
    own = {_OWN[each] for each in declared if each in _OWN}
    for word in re.findall(r"[a-z]+[0-9]+(?! weights)\b", precision.lower()):
        found = _WORDS.get(word)
        if found is not None and found.name not in own:
            return found
    return None
