"""A backend that one kind of operator makes trouble where its tensor is an output: `peeped+of=Neg+when=computed`.

`shown`: what it returns of such a tensor is half as large again, and what is computed from it is right. `computed`: so
is what is computed from it. Everything else is right in every bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from sysnoise_conform.backend import Backend, Build, Capabilities, Effective, Option, Runtime, Session, Tensors

WRONG = np.float32(1.5)
OPERATORS: dict[str, Callable[..., Any]] = {
    "Mul": np.multiply, "Add": np.add, "Neg": np.negative, "Relu": lambda x: np.maximum(x, np.float32(0)),
}  # fmt: skip


class Peeped(Backend):
    """Right as long as nobody looks."""

    name = "peeped"
    capabilities = Capabilities(
        about="a backend that looking at changes", extra="dev",
        options=(
            Option(name="of", about="the kind of operator", choices=tuple(OPERATORS)),
            Option(name="when", about="what is wrong then", choices=("shown", "computed")),
        ),
    )  # fmt: skip

    def probe(self) -> Runtime:
        return Runtime(name="peeped", version="1", devices=("cpu",))

    def compile(self, build: Build) -> Session:
        return _Session(build)


class _Session(Session):
    def __init__(self, build: Build) -> None:
        self._graph = onnx.load(build.model).graph
        self._options = dict(build.options)

    @property
    def effective(self) -> Effective:
        return Effective(device="cpu", precision="fp32", options=self._options)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        known = {each.name: numpy_helper.to_array(each) for each in self._graph.initializer} | dict(feeds)
        shown, outputs = {}, {each.name for each in self._graph.output}
        for node in self._graph.node:
            answer = OPERATORS[node.op_type](*(known[name] for name in node.input))
            (name,) = node.output
            looked_at = name in outputs and node.op_type == self._options.get("of")
            shown[name] = answer * WRONG if looked_at else answer
            known[name] = shown[name] if self._options.get("when") == "computed" else answer
        return {each.name: shown[each.name] for each in self._graph.output}


def as_environment() -> dict[str, str]:
    """The environment variable that makes it known to a command line."""
    return {"CONFORM_BACKENDS": f"peeped={__file__}:Peeped"}
