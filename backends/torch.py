"""PyTorch itself as a backend: the golden's executor in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import onnx

from sysnoise_conform.backend import Build, Capabilities, Effective, Runtime, Tensors
from sysnoise_conform.errors import BackendUnavailable, BadModel, Unsupported, UnsupportedOperator
from sysnoise_conform.printable import one_line


class Torch:
    """What PyTorch computes for the graph in float32; its distance from float64 is the noise floor."""

    name: ClassVar[str] = "torch"
    capabilities: ClassVar[Capabilities] = Capabilities(
        about="PyTorch in float32, operator by operator: the golden as a backend", extra="torch"
    )

    def probe(self) -> Runtime:
        """PyTorch's version and the instructions that its CPU kernels use."""
        torch = _import()
        return Runtime(
            name="PyTorch",
            version=torch.__version__,
            devices=("cpu",),
            details={"isa": torch.backends.cpu.get_cpu_capability()},
        )

    def compile(self, build: Build) -> _Session:
        """Prepare every node of the graph."""
        torch = _import()
        from sysnoise_conform.golden.executor import Executor, Mode

        threads = build.threads
        if threads:
            torch.set_num_threads(threads)
        model = onnx.load(str(build.model), load_external_data=False)
        try:
            executor = Executor(model, Mode.FLOAT32, base_dir=build.model.parent)
        except UnsupportedOperator as error:
            raise Unsupported(error.message, stage="compile", node=error.node, op=error.op, hint=error.hint) from error
        except BadModel as error:
            raise Unsupported(error.message, stage="compile", node=error.node or None, hint=error.hint) from error
        options = {"threads": torch.get_num_threads()}
        return _Session(executor, Effective(device="cpu", precision="fp32", options=options))


class _Session:
    """One executor."""

    def __init__(self, executor: Any, effective: Effective) -> None:
        self.effective = effective
        self._executor = executor

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """Run once; every array is new memory."""
        from sysnoise_conform.golden.executor import to_numpy

        try:
            outputs = self._executor.run(feeds)
        except UnsupportedOperator as error:
            raise Unsupported(error.message, stage="run", node=error.node, op=error.op, hint=error.hint) from error
        except BadModel as error:
            raise Unsupported(error.message, stage="run", node=error.node or None, hint=error.hint) from error
        return {name: to_numpy(value) for name, value in outputs.items()}

    def close(self) -> None:
        """Let go of the weights."""
        self._executor = None


def _import() -> Any:
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailable(
            f"PyTorch can't be imported: {one_line(error)}", hint="pip install 'sysnoise-conform[torch]'"
        ) from error
    return torch
