"""Stands in for `nvidia.dali` in an environment of its own; its character is in the file beside it, read at each run.

Only what `sysnoise_conform.pictures.elsewhere_child` calls is here: a decode is Pillow's, a resize repeats rows and
columns.
"""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

CHARACTER = Path(__file__).with_name("character")
__version__ = Path(__file__).with_name("version").read_text()

types = SimpleNamespace(
    UINT8=1, FLOAT=2, RGB=3,
    **{f"INTERP_{each}": each for each in ("NN", "LINEAR", "CUBIC", "LANCZOS3", "TRIANGULAR")},
)  # fmt: skip
fn = SimpleNamespace(
    external_source=lambda name, **_: name,
    decoders=SimpleNamespace(image=lambda content, **_: "decode"),
    resize=lambda pixels, **_: "resize",
)

if CHARACTER.read_text() == "does not start":
    raise OSError("libcuda is missing")


class Pipeline:
    """Of one operator."""

    def __init__(self, **_: object) -> None:
        self.fed: dict[str, np.ndarray] = {}
        self.broken = False

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def set_outputs(self, asked: str) -> None:
        self.asked = asked

    def build(self) -> None: ...

    def feed_input(self, name: str, batch: list[np.ndarray]) -> None:
        self.fed[name] = batch[0]

    def run(self) -> tuple[SimpleNamespace]:
        character = CHARACTER.read_text()
        if self.broken:
            raise RuntimeError("Current pipeline object is no longer valid.")
        if character == "dies":
            print("assertion failed: 1 is 2", file=sys.stderr, flush=True)
            os.abort()
        if character == "hangs":
            time.sleep(600)
        if character == "eats memory":
            return (_batch(np.zeros(1 << 40, np.uint8)),)
        if character == "lies":
            return (_batch(np.zeros((2, 2, 3), np.uint8)),)
        if self.asked == "decode":
            try:
                return (_batch(np.asarray(Image.open(io.BytesIO(self.fed["x"].tobytes())).convert("RGB"))),)
            except OSError as err:
                self.broken = True
                raise RuntimeError(
                    "Critical error in pipeline:\nError in CPU operator `fn.decoders.image`,\nencountered:\n\n"
                    "Failed to decode sample #0 : \nCurrent pipeline object is no longer valid."
                ) from err
        pixels, height, width = self.fed["x"], int(self.fed["rows"]), int(self.fed["columns"])
        rows, columns = np.arange(height) * pixels.shape[0] // height, np.arange(width) * pixels.shape[1] // width
        return (_batch(pixels[rows][:, columns]),)


def _batch(pixels: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(at=lambda _: pixels)
