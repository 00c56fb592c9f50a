"""From an ONNX file to a TensorRT engine's bytes, for TensorRT 10, 11 and TensorRT-RTX alike; RTX needs no GPU for it.

The network is strongly typed: precision is what the graph says. What differs between the versions is tested by name,
never by version number, except for one thing: from 11 on, and in RTX, types can't be loosened any more.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx

from sysnoise_conform.backend import Build
from sysnoise_conform.backends import tensorrt_codes
from sysnoise_conform.errors import BackendUnavailable, Unsupported
from sysnoise_conform.printable import one_line

_HOMES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
_OLDEST = 10
_RTX_OLDEST = 1
_STRONG_FROM = 11  # TensorRT 11 took the flags FP16, BF16 and INT8 away
# Places in its source, and the driver that a host without a GPU does not have.
_SOURCE = re.compile(r"( In \w+ at /\S+?(?=\)))|(\[checkMacros\.cpp.*$)", re.DOTALL)
WATCHES = ("debug", "unfused", "outputs")


@dataclass(frozen=True)
class Plan:
    """An engine as bytes, never read from a file: a plan is native code, so only what was built here is loaded."""

    data: Any  # trt.IHostMemory
    watched: tuple[str, ...]  # tensors that the engine tells a debug listener
    unwatched: tuple[str, ...]  # of those asked for, the ones that the network does not have any more

    @property
    def sha256(self) -> str:
        """The digest of the bytes: two builds with the same one chose the same kernels."""
        return hashlib.sha256(memoryview(self.data)).hexdigest()


def load() -> Any:
    """The Python module of the first TensorRT that can be imported and is new enough. Raises `BackendUnavailable`."""
    reasons = []
    for name in _HOMES:
        try:
            trt = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except Exception as error:  # a missing libnvinfer is an ImportError, an OSError or a RuntimeError
            reasons.append(f"{name} can't be imported: {one_line(error, 150)}")
            continue
        if not hasattr(trt, "__version__"):  # what a half-removed package leaves is a folder without a module
            continue
        oldest = _RTX_OLDEST if is_rtx(trt) else _OLDEST
        if int(trt.__version__.split(".")[0]) < oldest:
            reasons.append(f"{name} {trt.__version__} is older than {oldest}")
            continue
        return trt
    raise BackendUnavailable(
        "; ".join(reasons) or "TensorRT is not installed",
        hint="on a machine with an NVIDIA GPU: pip install tensorrt-cu13, or RTX: pip install 'sysnoise-conform[rtx]'",
    )


def is_rtx(trt: Any) -> bool:
    """Whether it is TensorRT-RTX, whose version numbers are its own."""
    return "rtx" in trt.__name__


def product(trt: Any) -> str:
    """Its name and version in words."""
    return f"{'TensorRT-RTX' if is_rtx(trt) else 'TensorRT'} {trt.__version__}"


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection inside.

    TensorRT calls our logger while it holds a lock of its own, which freeing any of its objects takes, too: a
    collection that begins in the logger and finds an old builder waits for ever (seen with TensorRT-RTX 1.7.1).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def serialize(trt: Any, build: Build, shapes: Mapping[str, tuple[int, ...]]) -> Plan:
    """Parse the ONNX file and build the engine; `shapes` are those of the feeds to come.

    Raises `Unsupported` with stage `convert` when the parser refuses, `compile` when the builder does.
    """
    tensorrt_codes.check(onnx.load(str(build.model), load_external_data=False))
    with uncollected():
        logger, errors = _logger(trt)
        builder = trt.Builder(logger)
        hint = build.options.get("hint")
        network = builder.create_network(_creation_flags(trt, hint))
        parser = trt.OnnxParser(network, logger)
        config = builder.create_builder_config()
        try:
            if not parser.parse_from_file(str(build.model)):
                raise _refused(parser)
            watched = _watch(network, build.taps, build.options.get("watch", "debug"))
            _configure(trt, config, build, hint)
            _add_profile(builder, network, config, shapes)
            data = builder.build_serialized_network(network, config)
            if data is None:
                reason = one_line(errors[-1]) if errors else "its builder gave no reason"
                raise Unsupported(f"{product(trt)} can't build an engine for this model: {reason}", stage="compile")
            shown = {*watched, *_outputs(network)}
            return Plan(data, watched, tuple(name for name in build.taps if name not in shown))
        finally:  # now, not when somebody lets go of an exception that holds this frame
            del config, parser, network, builder


def _outputs(network: Any) -> list[str]:
    return [network.get_output(index).name for index in range(network.num_outputs)]


def _creation_flags(trt: Any, hint: str | None) -> int:
    """Strongly typed, unless a builder flag is to choose types; that TensorRT 10 alone still can."""
    flags = trt.NetworkDefinitionCreationFlag
    if hint is None:
        # From 11 on the flag is ignored, and one day gone: everything is typed strongly then.
        return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0
    major = int(trt.__version__.split(".")[0])
    if is_rtx(trt) or major >= _STRONG_FROM or not hasattr(trt.BuilderFlag, hint.upper()):
        raise Unsupported(
            f"{product(trt)} has no builder flag {hint.upper()}: its networks are strongly typed",
            stage="compile",
            hint=f"say trt:{hint}, which converts the graph",
        )
    return 0


def _configure(trt: Any, config: Any, build: Build, hint: str | None) -> None:
    flags = trt.BuilderFlag
    if hint is not None:
        config.set_flag(getattr(flags, hint.upper()))
    if hasattr(flags, "TF32") and build.precision != "auto":
        # Set by default: float32 is multiplied with 10 bits of fraction then.
        (config.set_flag if build.precision == "tf32" else config.clear_flag)(flags.TF32)
    if hasattr(flags, "DISABLE_TIMING_CACHE"):
        config.set_flag(flags.DISABLE_TIMING_CACHE)  # no build hangs on what another one measured
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # for the inspector's table of layers


def _add_profile(builder: Any, network: Any, config: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """One optimisation profile for exactly these shapes, where the network leaves sizes open."""
    profile, dynamic = builder.create_optimization_profile(), False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = shapes.get(tensor.name)
        if shape is not None and -1 in tuple(tensor.shape):
            profile.set_shape(tensor.name, shape, shape, shape)
            dynamic = True
    if dynamic:
        config.add_optimization_profile(profile)


def _watch(network: Any, taps: tuple[str, ...], how: str) -> tuple[str, ...]:
    """Make inner tensors observable, and say which.

    `debug` keeps each tensor that is asked for, and so forbids fusions through it; `unfused` leaves the fusions and
    shows what is left between them; `outputs` makes outputs of them, as surgery on the graph would.
    """
    if not taps:
        return ()
    there = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for position in range(layer.num_outputs):
            tensor = layer.get_output(position)
            if tensor is not None and not tensor.is_network_output and not tensor.is_shape_tensor:
                there[tensor.name] = tensor
    names = tuple(name for name in taps if name in there)
    if how == "unfused":
        network.mark_unfused_tensors_as_debug_tensors()
    for name in names:
        if how == "outputs":
            network.mark_output(there[name])
        elif how == "debug":
            network.mark_debug(there[name])
    return names


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
        one_line(_SOURCE.sub("", first.desc())),
        stage="convert",
        node=first.node_name() or None,
        op=first.node_operator() or None,
    )
