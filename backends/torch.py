"""PyTorch itself as a backend: the golden's executor in float32, or in the arithmetic of another processor."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import onnx

from sysnoise_conform.backend import Build, Capabilities, Effective, Option, Runtime, Tensors
from sysnoise_conform.backends import declared
from sysnoise_conform.errors import BackendUnavailable, BadModel, Unsupported, UnsupportedOperator
from sysnoise_conform.printable import one_line

DIALECTS = (
    Option("u8s8", "saturate: sums of two int8 products in 16 bits, as on x86 before VNNI", ("saturate",)),
    Option("requantise", "half_away: ties go away from zero, not to even", ("half_away",)),
    Option("operands", "what matrix units read float32 as", ("tf32", "bf16", "fp16")),
    Option("accumulate", "fp16: every partial sum of a matrix product is float16", ("fp16",)),
    Option("subnormals", "flush: read and written as zero", ("flush",)),
)


class Torch:
    """What PyTorch computes for the graph in float32; its distance from float64 is the noise floor.

    With one of `DIALECTS` it computes as another processor would, on the CPU alone. On `@cuda` it is PyTorch on a GPU,
    TF32 off unless `:tf32` or `:auto` asks for it.
    """

    name: ClassVar[str] = "torch"
    capabilities: ClassVar[Capabilities] = Capabilities(
        about="PyTorch in float32, operator by operator: the golden as a backend",
        extra="torch",
        devices=("cpu", "cuda"),
        options=DIALECTS,
        tf32=True,
    )

    def probe(self) -> Runtime:
        """PyTorch's version and the instructions that its CPU kernels use."""
        torch = _import()
        return Runtime(
            name="PyTorch",
            version=torch.__version__,
            devices=("cpu", "cuda") if torch.cuda.is_available() else ("cpu",),
            details={"isa": torch.backends.cpu.get_cpu_capability()},
        )

    def compile(self, build: Build) -> _Session:
        """Prepare every node of the graph, in the dialect that the options name."""
        torch = _import()
        from sysnoise_conform.golden.dialects import Dialect, translated
        from sysnoise_conform.golden.executor import Executor, Mode

        device = _device(torch, build.device or "cpu")
        if build.threads:
            torch.set_num_threads(build.threads)
        spoken = {each.name: build.options[each.name] for each in DIALECTS if each.name in build.options}
        tf32 = build.precision == "tf32"
        if tf32 and device == "cpu":
            spoken.setdefault("operands", "tf32")
        if spoken and device != "cpu":
            raise Unsupported(
                f"dialects ({', '.join(sorted(spoken))}) are emulated on the CPU alone",
                stage="compile",
                hint="leave @cuda away",
            )
        if device != "cpu":  # set either way: cuDNN allows TF32 by default, cuBLAS does not
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        model = onnx.load(str(build.model), load_external_data=not spoken)
        options: dict[str, Any] = {"threads": torch.get_num_threads(), **spoken}
        try:
            if spoken:
                model, options["nodes_concerned"] = translated(model, Dialect(**spoken))
            with _on(torch, device):
                executor = Executor(model, Mode.FLOAT32, base_dir=build.model.parent)
        except UnsupportedOperator as error:
            raise Unsupported(error.message, stage="compile", node=error.node, op=error.op, hint=error.hint) from error
        except BadModel as error:
            raise Unsupported(error.message, stage="compile", node=error.node or None, hint=error.hint) from error
        written = declared.read(build.model).precision
        precision = _precision(written, spoken, tf32_kernels=tf32 and device != "cpu")
        return _Session(executor, device, Effective(device=device, precision=precision, options=options))


class _Session:
    """One executor."""

    def __init__(self, executor: Any, device: str, effective: Effective) -> None:
        self.effective = effective
        self._executor = executor
        self._device = device

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """Run once; every array is new memory."""
        import torch

        from sysnoise_conform.golden.executor import to_numpy

        try:
            with _on(torch, self._device):
                outputs = self._executor.run(feeds)
        except UnsupportedOperator as error:
            raise Unsupported(error.message, stage="run", node=error.node, op=error.op, hint=error.hint) from error
        except BadModel as error:
            raise Unsupported(error.message, stage="run", node=error.node or None, hint=error.hint) from error
        return {name: to_numpy(value) for name, value in outputs.items()}

    def close(self) -> None:
        """Let go of the weights."""
        self._executor = None


def _device(torch: Any, asked: str) -> str:
    """PyTorch's word for a device: `cpu`, `cuda:0`. Raises `BackendUnavailable` for a GPU that is not there."""
    if asked == "cpu":
        return asked
    number = int(asked.replace(":", ".").partition(".")[2] or 0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= count:
        if torch.version.cuda is None:
            raise BackendUnavailable(
                f"PyTorch {torch.__version__} is built without CUDA", hint="install a CUDA build of PyTorch"
            )
        raise BackendUnavailable(
            f"PyTorch has no GPU number {number}, it sees {count}", hint="nvidia-smi -L lists what the driver sees"
        )
    return f"cuda:{number}"


def _on(torch: Any, device: str) -> Any:
    """New tensors go to `device` inside; on the CPU nothing is asked, for PyTorch would ask at every call."""
    return contextlib.nullcontext() if device == "cpu" else torch.device(device)


def _precision(written: str, spoken: Mapping[str, str], *, tf32_kernels: bool) -> str:
    """What is computed in, in words; what the graph declares narrower than float32 is rounded to by each operator."""
    if tf32_kernels:
        return "fp32 with TF32 allowed"
    narrow = written in ("fp16", "bf16", "int8")
    words = []
    if "operands" in spoken:
        words.append(f"{spoken['operands']} operands")
    if "accumulate" in spoken:
        words.append(f"{spoken['accumulate']} sums")
    how = f"fp32 with {' and '.join(words)}" if words else "fp32"
    return f"{written}, emulated in {how}" if narrow else f"{how}, emulated" if words else how


def _import() -> Any:
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailable(
            f"PyTorch can't be imported: {one_line(error)}", hint="pip install 'sysnoise-conform[torch]'"
        ) from error
    return torch
