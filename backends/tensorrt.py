"""NVIDIA TensorRT (10 or newer) or TensorRT-RTX: strongly typed, so the precision is what the graph says.

Written against the documented interface; parsing and building were exercised, running on a GPU was not.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from sysnoise_conform.backend import Build, Capabilities, Effective, Optimised, Runtime, Tensors
from sysnoise_conform.backends import cuda, declared
from sysnoise_conform.errors import BackendUnavailable, Unsupported
from sysnoise_conform.printable import one_line

_HOMES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
_OLDEST = 10
_RTX_OLDEST = 1


class TensorRT:
    """TensorRT on one GPU (`@0`, `@1`...); TF32 is off unless `:auto` asks for the runtime's own choice."""

    name: ClassVar[str] = "trt"
    capabilities: ClassVar[Capabilities] = Capabilities(
        about="NVIDIA TensorRT, strongly typed, TF32 off", extra="trt", devices=("0",), auto=True
    )

    def probe(self) -> Runtime:
        """TensorRT's version. Needs a GPU and its driver, too."""
        trt = _import()
        try:
            cuda.driver()
        except BackendUnavailable as error:
            raise BackendUnavailable(
                f"TensorRT {trt.__version__} is installed, but {error.message}", hint=error.hint
            ) from error
        return Runtime(
            name="TensorRT-RTX" if "rtx" in trt.__name__ else "TensorRT",
            version=trt.__version__,
            devices=("0",),
            default_precision="fp32 with TF32 allowed",
        )

    def compile(self, build: Build) -> _Session:
        """Parse and build an engine for the shapes to come."""
        trt = _import()
        session = _Session(trt, cuda.Gpu(int(build.device or 0)), build)
        session.engine(build.shapes)
        return session


class _Session:
    """One engine for each set of input shapes, built when first needed."""

    def __init__(self, trt: Any, gpu: cuda.Gpu, build: Build) -> None:
        self._trt, self._gpu, self._build = trt, gpu, build
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engines: dict[tuple[tuple[str, tuple[int, ...]], ...], Any] = {}
        model = declared.read(build.model)
        self._ports = {each.name: each for each in (*model.inputs, *model.outputs)}
        loose = build.precision == "auto" and model.precision == "fp32"
        self.effective = Effective(
            device=f"cuda:{build.device or 0}",
            precision="fp32 with TF32 allowed" if loose else model.precision,
            options={"strongly_typed": True, "tf32": loose},
        )

    def engine(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """The engine for these input shapes."""
        key = tuple(sorted(shapes.items()))
        if key not in self._engines:
            plan = serialize(self._trt, self._build, shapes)
            engine = self._runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise Unsupported("TensorRT can't load the engine that it built", hint="the log holds its reason")
            self._engines[key] = engine
        return self._engines[key]

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """Run once; every array is new host memory."""
        engine = self.engine({name: np.shape(array) for name, array in feeds.items()})
        context = engine.create_execution_context()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        given = [name for name in names if engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        try:
            for name in given:
                if name not in feeds:
                    raise Unsupported(f"the input {one_line(name)!r} was not given", stage="run")
                context.set_input_shape(name, feeds[name].shape)
                # A shape tensor is read on the host.
                on_host = engine.is_shape_inference_io(name)
                array = np.ascontiguousarray(feeds[name])
                context.set_tensor_address(name, array.ctypes.data if on_host else self._gpu.upload(array))
            places = {name: self._place(context, name) for name in names if name not in given}
            if not context.execute_async_v3(self._gpu.stream):
                raise Unsupported("TensorRT failed while it ran the engine; its reason is in the log", stage="run")
            return {name: self._gpu.download(*place) for name, place in places.items()}
        finally:
            self._gpu.free()

    def optimised(self) -> Optimised:
        """Which tensors pass from one layer of the engine to another, as its inspector tells."""
        inspector = self.engine(self._build.shapes).create_engine_inspector()
        told = inspector.get_engine_information(self._trt.LayerInformationFormat.JSON)
        return Optimised(tensors=layer_outputs(told))

    def _place(self, context: Any, name: str) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
        shape, dtype = tuple(context.get_tensor_shape(name)), self._ports[name].dtype
        if -1 in shape:
            raise Unsupported(f"the size of output {one_line(name)!r} depends on the data", stage="run")
        address = self._gpu.allocate(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        context.set_tensor_address(name, address)
        return address, shape, dtype

    def close(self) -> None:
        """Let go of the engines and the GPU's memory."""
        self._engines.clear()
        self._gpu.close()


def serialize(trt: Any, build: Build, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """Parse the ONNX file and build the engine's bytes; needs no GPU with TensorRT-RTX.

    Raises `Unsupported` with stage `convert` when the parser refuses, `compile` when the builder does.
    """
    logger, errors = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(build.model)):
        raise _refused(parser)
    config = builder.create_builder_config()
    if build.precision != "auto" and hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default: fp32 multiplied with 10 bits of fraction
    if hasattr(config, "profiling_verbosity"):  # what the inspector tells later; it changes no kernel
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile, dynamic = builder.create_optimization_profile(), False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = shapes.get(tensor.name)
        if shape is not None and -1 in tuple(tensor.shape):
            profile.set_shape(tensor.name, shape, shape, shape)
            dynamic = True
    if dynamic:
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = one_line(errors[-1]) if errors else "its builder gave no reason"
        raise Unsupported(f"TensorRT can't build an engine for this model: {reason}", stage="compile")
    return plan


def layer_outputs(told: str) -> tuple[str, ...] | None:
    """The tensors that layers make, from an engine's description in JSON; None where it holds no more than names."""
    try:
        layers = json.loads(told)["Layers"]
        made = {tensor["Name"] for layer in layers for tensor in layer["Outputs"]}
    except (ValueError, KeyError, TypeError):  # built with less verbosity, layers are mere strings
        return None
    return tuple(sorted(made))


def _logger(trt: Any) -> tuple[Any, list[str]]:
    """A logger that prints warnings and errors, and the list of errors so far."""
    errors: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[misc]  # the base is known at run time
        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                errors.append(text)
            if severity not in (trt.ILogger.INFO, trt.ILogger.VERBOSE):
                print(text, file=sys.stderr)  # noqa: T201

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

    return Logger(), errors


def _refused(parser: Any) -> Unsupported:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    if not errors:
        return Unsupported("TensorRT's parser refuses the model without a reason", stage="convert")
    first = errors[0]
    return Unsupported(
        one_line(first.desc()), stage="convert", node=first.node_name() or None, op=first.node_operator() or None
    )


def _import() -> Any:
    reasons = []
    for name in _HOMES:
        try:
            trt = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except Exception as error:  # a missing libnvinfer is an ImportError, an OSError or a RuntimeError
            reasons.append(f"{name} can't be imported: {one_line(error, 150)}")
            continue
        oldest = _RTX_OLDEST if "rtx" in name else _OLDEST
        if int(trt.__version__.split(".")[0]) < oldest:
            reasons.append(f"{name} {trt.__version__} is older than {oldest}")
            continue
        return trt
    raise BackendUnavailable(
        "; ".join(reasons) or "TensorRT is not installed",
        hint="on a machine with an NVIDIA GPU: pip install tensorrt-cu13 (or tensorrt-rtx)",
    )
