"""Arrays as the cases write them: numbers in a declared type."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def f32(values: Any) -> Array:
    """As float32."""
    return np.array(values, np.float32)


def f16(values: Any) -> Array:
    """As float16; what is beyond its bounds is infinite."""
    return np.array(values, np.float16)


def i64(values: Any) -> Array:
    """As int64."""
    return np.array(values, np.int64)


def i32(values: Any) -> Array:
    """As int32."""
    return np.array(values, np.int32)


def i8(values: Any) -> Array:
    """As int8."""
    return np.array(values, np.int8)


def u8(values: Any) -> Array:
    """As uint8."""
    return np.array(values, np.uint8)
