"""The .bin of an OpenVINO IR: what a constant takes in it, and whether strings are where they should be."""

from __future__ import annotations

from dataclasses import dataclass
from io import BufferedReader

import numpy as np

# Bits of one element; None where elements have no fixed size.
BITS: dict[str, int | None] = {
    "f64": 64, "f32": 32, "f16": 16, "bf16": 16, "f8e4m3": 8, "f8e5m2": 8, "f8e8m0": 8, "f4e2m1": 4, "nf4": 4,
    "i64": 64, "i32": 32, "i16": 16, "i8": 8, "i4": 4, "u64": 64, "u32": 32, "u16": 16, "u8": 8, "u6": 6, "u4": 4,
    "u3": 3, "u2": 2, "u1": 1, "boolean": 8, "string": None,
}  # fmt: skip
TYPES = frozenset(BITS) | {"dynamic", "undefined"}  # of what is not stored
# What a port calls its type: as above, or in capitals, three of them by older names.
_CAPITALS = (each.upper() for each in BITS if each not in ("f64", "f32", "f16", "boolean"))
PRECISIONS = TYPES | frozenset(_CAPITALS) | {"FP64", "FP32", "FP16", "BOOL", "BIN", "UNSPECIFIED"}

MAX_STRINGS = 1 << 24  # of one constant: where they end is held in memory while it is checked
_PACKED_IN_THREE = ("u3", "u6")  # 24 bits hold a whole number of elements, and begin on a byte


@dataclass(slots=True)
class Weights:
    """The open .bin of `size` bytes; `end` is where the furthest constant ends that was asked for."""

    stream: BufferedReader
    size: int
    end: int = 0

    def strings_are_sound(self, start: int, length: int, count: int) -> bool:
        """Whether `count` packed strings lie there: their number, where they begin, where each ends; then the bytes."""
        header = 4 * (count + 2)
        if length < header or count > MAX_STRINGS:
            return False
        self.stream.seek(start)
        numbers = np.frombuffer(self.stream.read(header), "<i4").astype(np.int64)
        ends = numbers[1:]
        return bool(
            len(numbers) == count + 2 and numbers[0] == count and ends[0] == 0 and ends[-1] <= length - header
            and (np.diff(ends) >= 0).all()
        )  # fmt: skip


def needed_bytes(kind: str, count: int) -> int | None:
    """What so many elements take; None for strings."""
    bits = BITS[kind]
    if bits is None:
        return None
    return -(-count * bits // 24) * 3 if kind in _PACKED_IN_THREE else -(-count * bits // 8)
