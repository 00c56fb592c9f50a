"""ONNX Runtime, through any of its execution providers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx

from sysnoise_conform.backend import Build, Capabilities, Effective, Optimised, Option, Runtime, Tensors
from sysnoise_conform.backends import declared, ort_optimiser, ort_readback
from sysnoise_conform.backends.shares import Shares
from sysnoise_conform.errors import BackendUnavailable, Unsupported
from sysnoise_conform.printable import one_line

# Our device word -> the provider's name and the package that brings it.
PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
}
LEVELS = {"disable": "ORT_DISABLE_ALL", "basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED",
          "all": "ORT_ENABLE_ALL"}  # fmt: skip
# Types that numpy lacks travel as integers of their width.
_CARRIERS = {1: np.uint8, 2: np.uint16}

_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : (Load model from .*? failed:)?")
_OPSET = re.compile(
    r"Opset (\d+) is under development.*official support for domain (\S+) is till opset (\d+)", re.DOTALL
)
_IR = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")
_SOURCE = re.compile(r"/onnxruntime_src/\S+:\d+ .*?\) (?=[A-Z])")
_NODE = re.compile(
    r"""running\ (?P<op1>\w+)\ node\.\ Name:'(?P<node1>[^']*)'
      | In\ Node,\ \("(?P<node2>[^"]*)",\ (?P<op2>\w+)
      | operator\ \((?P<op3>\w+)\)\ in\ node\ \((?P<node3>[^)]*)\)
      | implementation\ for\ (?P<op4>[\w.:]+)\(-?\d+\)\ node\ with\ name\ '(?P<node4>[^']*)'
      | Op\ \((?P<op5>\w+)\)
      | error:\ (?P<op6>[\w.]+:\w+)\(-1\)
    """,
    re.VERBOSE,
)


class OnnxRuntime:
    """ONNX Runtime as a user would deploy it: all optimisations, the provider that `@` names."""

    name: ClassVar[str] = "ort"
    capabilities: ClassVar[Capabilities] = Capabilities(
        about="ONNX Runtime, on the CPU or through another execution provider",
        extra="ort",
        devices=tuple(PROVIDERS),
        options=(
            Option("opt", "graph optimisation level, all by default", tuple(LEVELS)),
            Option("disable", "passes of its optimiser to leave out: ConvMulFusion:GeluFusionL2"),
        ),
        auto=True,  # on CUDA the runtime's own choice is TF32
        tf32=True,
    )

    def probe(self) -> Runtime:
        """ONNX Runtime's version and the providers that its build knows."""
        ort = _import()
        here = ort.get_available_providers()
        return Runtime(
            name="ONNX Runtime",
            version=ort.__version__,
            devices=tuple(device for device, (provider, _) in PROVIDERS.items() if provider in here),
            default_precision="fp32",
            details={"providers": ", ".join(here)},
        )

    def compile(self, build: Build) -> _Session:
        """Load and optimise the model; the device asked for must really take it."""
        ort = _import()
        device, _, number = (build.device or "cpu").replace(":", ".").partition(".")
        provider, package = PROVIDERS[device]
        if provider not in ort.get_available_providers():
            raise BackendUnavailable(
                f"this build of ONNX Runtime has no {provider}", hint=f"pip install {package} in place of onnxruntime"
            )
        if build.precision == "tf32" and device != "cuda":
            raise Unsupported(
                f"ONNX Runtime computes in TF32 on CUDA alone, not on {device}",
                stage="compile",
                hint="ort:tf32@cuda runs it, torch:tf32 emulates it",
            )
        level = build.options.get("opt", "all")
        options = _options(ort, level, build.threads)
        disabled = {each for each in build.options.get("disable", "").split(":") if each}
        model = declared.read(build.model)
        optimised = build.workdir / "optimised.onnx" if _narrow(device, model) else None
        if optimised is not None:
            options.optimized_model_filepath = str(optimised)
        try:
            providers = [(provider, _provider_options(device, number, build))]
            session = ort.InferenceSession(str(build.model), options, providers, disabled_optimizers=disabled)
        except Exception as error:
            raise _unsupported(error, "compile") from error
        if provider not in session.get_providers():
            raise BackendUnavailable(
                f"{provider} could not start and ONNX Runtime fell back to the CPU",
                hint="see the log for the library or driver that it misses",
            )
        precision, shares = model.precision, None
        if optimised is not None:
            shares = ort_readback.shares(optimised, build.model, build.shapes)
            precision = _told(shares, precision)
        elif device != "cpu":  # its own kernels, or an engine: ONNX Runtime tells nothing of what they compute in
            precision = f"not read back from {provider}; the graph declares {model.precision}"
            if device in ("cuda", "tensorrt") and build.precision in ("auto", "tf32") and model.precision == "fp32":
                precision += ", TF32 allowed"
        threads = build.threads or "runtime's choice"
        effective = Effective(
            device=device,
            precision=precision,
            options={
                "opt": level,
                "threads": threads,
                "providers": session.get_providers(),
                **({"disable": ":".join(sorted(disabled))} if disabled else {}),
                **(shares.told if shares else {}),
            },
            shares=shares.fields() if shares else {},
        )

        def optimise(path: Path, level: str) -> None:
            again = _options(ort, level, build.threads)
            again.optimized_model_filepath = str(path)
            again.log_severity_level = 1  # INFO: which passes change the graph
            ort.InferenceSession(str(build.model), again, providers, disabled_optimizers=disabled)

        return _Session(session, model, effective, lambda: ort_optimiser.optimised(optimise, level, build.workdir))


class _Session:
    """One `onnxruntime.InferenceSession`."""

    def __init__(
        self, session: Any, model: declared.Declared, effective: Effective, optimised: Callable[[], Optimised]
    ) -> None:
        self.effective = effective
        self._optimised = optimised
        self._session = session
        self._types = {each.name: each.elem_type for each in (*model.inputs, *model.outputs)}
        self._outputs = [each.name for each in session.get_outputs()]
        self._foreign = any(_is_foreign(each.dtype) for each in (*model.inputs, *model.outputs) if each.elem_type)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """Run once. Every array is new memory of its own."""
        arrays = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in feeds.items()}
        try:
            if self._foreign:
                return self._run_values(arrays)
            results = self._session.run(self._outputs, arrays)
        except Exception as error:
            raise _unsupported(error, "run") from error
        tensors: Tensors = {}
        for name, result in zip(self._outputs, results, strict=True):
            if not isinstance(result, np.ndarray):
                raise Unsupported(f"output {one_line(name)!r} is a {type(result).__name__}, not a tensor", stage="run")
            tensors[name] = result
        return tensors

    def _run_values(self, arrays: Mapping[str, np.ndarray]) -> Tensors:
        """The way for types that numpy lacks (bfloat16, float8): as raw memory with the ONNX type beside."""
        import onnxruntime as ort

        values = {
            name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
                array.view(_CARRIERS[array.itemsize]) if _is_foreign(array.dtype) else array, self._types[name]
            )
            for name, array in arrays.items()
        }
        results = self._session.run_with_ort_values(self._outputs, values)
        return {name: self._read(name, value) for name, value in zip(self._outputs, results, strict=True)}

    def _read(self, name: str, value: Any) -> np.ndarray:
        import ctypes

        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(self._types[name] or value.element_type()))
        if not _is_foreign(dtype):
            return np.array(value.numpy())
        count = int(np.prod(value.shape()))
        raw = ctypes.string_at(value.data_ptr(), count * dtype.itemsize)
        return np.frombuffer(raw, dtype=dtype).reshape(value.shape()).copy()

    def optimised(self) -> Optimised:
        """What is left of the graph, and the passes that changed it; compiles once or twice more."""
        return self._optimised()

    def close(self) -> None:
        """Let go of the session."""
        self._session = None


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(
            f"ONNX Runtime can't be imported: {one_line(error)}", hint="pip install 'sysnoise-conform[ort]'"
        ) from error
    return onnxruntime


def _options(ort: Any, level: str, threads: int) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[level])
    options.intra_op_num_threads = threads
    # No effect on any number; threads that spin between two runs keep a core from whoever compares meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _provider_options(device: str, number: str, build: Build) -> dict[str, str]:
    options = {"device_id": number} if number else {}
    # Since NVIDIA's Ampere, ONNX Runtime multiplies float32 in TF32 unless told not to.
    if device == "cuda" and build.precision != "auto":
        options["use_tf32"] = "1" if build.precision == "tf32" else "0"
    return options


def _narrow(device: str, model: declared.Declared) -> bool:
    """Whether the CPU provider may compute the model in another type than it is written in."""
    return device == "cpu" and model.precision in ("fp16", "bf16", "int8")


def _told(shares: Shares | None, written: str) -> str:
    """The types that operators compute in, in words. In float32 a narrow model's weights are still narrow."""
    if shares is None:
        return f"{written} weights, computed in a type that was not read back"
    text = shares.text or written
    return f"fp32 ({written} weights)" if text == "fp32" else text


def _is_foreign(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "V" or dtype.name.startswith(("bfloat16", "float8"))


def _unsupported(error: Exception, stage: str) -> Unsupported:
    """ONNX Runtime's message without its source locations, and the node and operator that it names."""
    text = _SOURCE.sub("", _PREFIX.sub("", str(error)))
    if newer := _OPSET.search(text):
        return Unsupported(
            f"the model is opset {newer[1]} of {newer[2]}, this ONNX Runtime knows opsets up to {newer[3]}",
            stage=stage,
            hint="export the model with a lower opset",
        )
    if newer := _IR.search(text):
        return Unsupported(
            f"the model is ONNX IR version {newer[1]}, this ONNX Runtime knows versions up to {newer[2]}",
            stage=stage,
            hint="save the model with a lower ir_version",
        )
    found = _NODE.search(text)
    parts = {key: value for key, value in (found.groupdict() if found else {}).items() if value}
    node = next((value for key, value in parts.items() if key.startswith("node")), None)
    op = next((value for key, value in parts.items() if key.startswith("op")), None)
    return Unsupported(one_line(text), stage=stage, node=node, op=op)
