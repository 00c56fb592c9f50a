"""Small graphs as text, and the builds that compile them, for the tests of backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import parser

from sysnoise_conform.backend import Build, Tensors

HEADER = '<ir_version: 9, opset_import: ["": 17]>'


def graph(text: str, *, ir_version: int = 9, opset: int = 17) -> onnx.ModelProto:
    """A model from ONNX's own text syntax, without its header."""
    return parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["": {opset}]> {text}')


def build_of(model: onnx.ModelProto | str, folder: Path, feeds: Tensors | None = None, **more: Any) -> Build:
    """A build of the model in `folder`, for these feeds."""
    proto = graph(model) if isinstance(model, str) else model
    (folder / "work").mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    feeds = feeds or {}
    return Build(
        model=folder / "model.onnx",
        workdir=folder / "work",
        shapes={name: array.shape for name, array in feeds.items()},
        dtypes={name: array.dtype.name for name, array in feeds.items()},
        **more,
    )


def ramp(*shape: int) -> np.ndarray:
    """Values from -1 to 1."""
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
