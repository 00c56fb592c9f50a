"""Constants for inputs, as the command line or a model card writes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.printable import one_line


def parse_bindings(given: Mapping[str, str], card: Card | None) -> dict[str, np.ndarray]:
    """The inputs to bind: the card's, and over them those of the command line. Raises BadInput, UsageError."""
    values: dict[str, np.ndarray] = {}
    for name, value in (card.bind if card is not None else {}).items():
        array = np.array(value)
        if array.dtype.kind not in "biuf":
            raise UsageError(f"the card binds {one_line(name)!r} to {one_line(value, 60)}, which is no number")
        values[name] = array
    values.update({name: parse_constant(name, text) for name, text in given.items()})
    return values


def parse_constant(name: str, text: str) -> np.ndarray:
    """`16000`, `0.5`, `true`, `[1, 2, 3]` as an array of int64, float64 or bool. Raises BadInput."""
    bare = text.strip()
    words = [each.strip().lower() for each in bare.removeprefix("[").removesuffix("]").split(",")]
    values = _array(words)
    if values is None:
        raise BadInput(
            f"--input {one_line(name)}={one_line(text, 60)}: not a number",
            hint="write --input sr=16000, or [1,2,3] for several",
        )
    return values if bare.startswith("[") or len(words) > 1 else values.reshape(())


def _array(words: list[str]) -> np.ndarray | None:
    if all(each in ("true", "false") for each in words):
        return np.array([each == "true" for each in words])
    for kind, dtype in ((int, np.int64), (float, np.float64)):
        try:
            return np.array([kind(each) for each in words], dtype)
        except (ValueError, OverflowError):
            continue
    return None
