"""OpenVINO, with its inference precision pinned to the model's own type and read back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from sysnoise_conform.backend import Build, Capabilities, Effective, Optimised, Option, Runtime, Tensors
from sysnoise_conform.backends import openvino_blocks, openvino_quantise, openvino_readback
from sysnoise_conform.backends.calibrating import read_samples
from sysnoise_conform.errors import BackendUnavailable, ConformError, Unsupported
from sysnoise_conform.printable import one_line

_WORDS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "f64": "fp64"}
_CURES = {
    "gpu": "install Intel's compute runtime (OpenCL), then see `conform backends`",
    "npu": "install Intel's NPU driver, then see `conform backends`",
}
# The CPU plugin quantises activations of layers with compressed weights, and the attention cache, by itself.
_PINS = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
_NOISE = re.compile(r"^(Exception from|Check '|FrontEnd API failed|Model wasn't fully converted|Summary:|\s*$)")
_CPU_NODE = re.compile(r"\[CPU\] (?P<op>\w+) node with name '(?P<node>[^']*)'")
_ONNX_NODE = re.compile(r"<Node\((?P<op>\w+)\): (?P<node>[^>]*)>")
_VERSIONED_OP = re.compile(r"(?:operations: |failed for |operator )(?P<op>[A-Za-z][\w.]*?)(?:-\d+)?\b(?![\w.])")


class OpenVINO:
    """OpenVINO on an ONNX file, or on a deployed IR (`.xml` with its `.bin`)."""

    name: ClassVar[str] = "openvino"
    capabilities: ClassVar[Capabilities] = Capabilities(
        about="OpenVINO, its precision pinned to the model's own type",
        extra="openvino",
        formats=("onnx", "ir"),
        devices=("cpu", "gpu", "npu"),
        options=(
            Option(
                "hint", "INFERENCE_PRECISION_HINT, the model's own type by default; int8: NNCF's integers",
                ("f32", "bf16", "f16", openvino_quantise.HINT),
            ),
            Option("calibration", "for hint int8: a folder of .npz samples, an absolute path"),
        ),
        auto=True,
        native_taps=("ir",),
    )

    def probe(self) -> Runtime:
        """OpenVINO's version, its devices, and the precision that its CPU chooses when nobody asks."""
        ov = _import()
        core = ov.Core()
        return Runtime(
            name="OpenVINO",
            version=ov.get_version(),
            devices=tuple(each.lower() for each in core.available_devices),
            default_precision=_word(core.get_property("CPU", "INFERENCE_PRECISION_HINT")),
            details={
                "device": core.get_property("CPU", "FULL_DEVICE_NAME"),
                "capabilities": " ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
            },
        )

    def compile(self, build: Build) -> _Session:
        """Read and compile the model; a precision hint that the device does not keep is `Unsupported`."""
        ov = _import()
        core = ov.Core()
        device = (build.device or "cpu").lower().replace(":", ".")
        here = [each.lower() for each in core.available_devices]
        if device not in here and device not in (each.partition(".")[0] for each in here):
            raise BackendUnavailable(
                f"OpenVINO has no device {device.upper()} here, only {', '.join(core.available_devices)}",
                hint=_CURES.get(device.partition(".")[0]),
            )
        try:
            model = core.read_model(str(build.model))
            calibrated: dict[str, str] = {}
            if build.options.get("hint") == openvino_quantise.HINT:
                model, calibrated["calibration"] = _quantised(model, build)
            _tap(model, build.taps)
        except ConformError:
            raise
        except Exception as error:
            raise _unsupported(error, "convert") from error
        compiled, hint = _compile_pinned(core, model, device.upper(), build)
        options = {
            "hint": build.options.get("hint") or hint or "none",
            "threads": str(compiled.get_property("INFERENCE_NUM_THREADS")) if device == "cpu" else "device's own",
            "execution_mode": _name(compiled.get_property("EXECUTION_MODE_HINT")),
        }
        shares = openvino_readback.shares(compiled, _WORDS)
        effective = Effective(
            device=device,
            precision=shares.text or _word(compiled.get_property("INFERENCE_PRECISION_HINT")),
            options=options | shares.told | calibrated,
            shares=shares.fields(),
        )

        def optimised() -> Optimised:
            return openvino_blocks.optimised(compiled, openvino_blocks.operators(model))

        return _Session(compiled, effective, optimised, onnx=build.format == "onnx")


class _Session:
    """One compiled model and its one inference request."""

    def __init__(
        self, compiled: Any, effective: Effective, optimised: Callable[[], Optimised], *, onnx: bool
    ) -> None:
        self.effective = effective
        self._optimised = optimised
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._inputs = {name: port for port in compiled.inputs for name in _names(port)}
        self._outputs = [(_result_names(port) if onnx else sorted(_names(port)), port) for port in compiled.outputs]

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """Run once; every array is a copy of the request's buffer."""
        fed = {}
        for name, array in feeds.items():
            if name not in self._inputs:
                raise Unsupported(f"OpenVINO's model has no input {one_line(name)!r}", stage="run")
            fed[self._inputs[name]] = _tensor(array)
        missing = [name for name, port in self._inputs.items() if port not in fed]
        if missing:  # it would run on whatever the buffer holds
            raise Unsupported(f"the input {one_line(missing[0])!r} was not given", stage="run")
        try:
            self._request.infer(fed)
        except Exception as error:
            raise _unsupported(error, "run") from error
        tensors: Tensors = {}
        for names, port in self._outputs:
            for name in names:
                tensors[name] = _array(self._request.get_tensor(port))
        return tensors

    def optimised(self) -> Optimised:
        """Which tensors pass from one executed layer to another."""
        return self._optimised()

    def close(self) -> None:
        """Let go of the request and the compiled model."""
        self._request = self._compiled = None
        self._optimised = Optimised
        self._inputs, self._outputs = {}, []


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise BackendUnavailable(
            f"OpenVINO can't be imported: {one_line(error)}", hint="pip install 'sysnoise-conform[openvino]'"
        ) from error
    return openvino


def _compile_pinned(core: Any, model: Any, device: str, build: Build) -> tuple[Any, str | None]:
    """The model compiled with the hint that was asked for, and that hint (None for `:auto`).

    Where the model is fp16 and the device computes none, fp32 keeps more than the model declares; that is
    accepted and reported. A hint from `+hint=` is kept or refused.
    """
    explicit = build.options.get("hint")
    explicit = None if explicit == openvino_quantise.HINT else explicit  # what is no integer stays the model's own
    if explicit is not None:
        wanted = [explicit]
    elif build.precision == "auto":
        wanted = []
    else:
        own = _own_type(model)
        wanted = [own] if own == "f32" else [own, "f32"]
    config: dict[str, Any] = {}
    threads = build.threads
    if threads and device == "CPU":
        config["INFERENCE_NUM_THREADS"] = threads
    if wanted and explicit is None:
        supported = core.get_property(device, "SUPPORTED_PROPERTIES")
        config |= {name: value for name, value in _PINS.items() if name in supported}
    read = ""
    hints: list[str | None] = [*wanted] or [None]
    for hint in hints:
        try:
            compiled = core.compile_model(model, device, config | ({"INFERENCE_PRECISION_HINT": hint} if hint else {}))
        except Exception as error:
            raise _unsupported(error, "compile") from error
        read = _word(compiled.get_property("INFERENCE_PRECISION_HINT"))
        if hint is None or read == _WORDS[hint]:
            return compiled, hint
    raise Unsupported(
        f"OpenVINO's {device} does not honour INFERENCE_PRECISION_HINT={wanted[-1]}: it read back as {read}",
        stage="compile",
        hint="choose another +hint= or a device that computes it",
    )


def _quantised(model: Any, build: Build) -> tuple[Any, str]:
    """The model in NNCF's integers, and what a report says of the samples."""
    if build.format != "onnx":
        raise Unsupported("a deployed .xml has its precision already", stage="compile", hint="leave +hint=int8 away")
    samples = read_samples("openvino", openvino_quantise.HINT, build.options.get("calibration"), build.shapes)
    return openvino_quantise.quantised(model, samples), samples.told


def _own_type(model: Any) -> str:
    """The floating type that most operators of the model produce, as a hint; float32 where it is none of them."""
    counts: Counter[str] = Counter()
    for op in model.get_ops():
        if op.get_type_name() not in ("Constant", "Convert"):
            counts.update(port.get_element_type().get_type_name() for port in op.outputs())
    found = [name for name, _ in counts.most_common() if name in _WORDS]
    return found[0] if found and found[0] in ("f16", "bf16") else "f32"


def _tap(model: Any, taps: Iterable[str]) -> None:
    """Make outputs of the inner tensors that the model has; the rest is not observable."""
    known = {name for op in model.get_ops() for port in op.outputs() for name in port.get_names()}
    already = {name for port in model.outputs for name in port.get_names()}
    wanted = [name for name in taps if name in known and name not in already]
    if wanted:
        model.add_outputs(wanted)


def _names(port: Any) -> set[str]:
    return set(port.get_names()) or {port.get_node().get_friendly_name()}


def _result_names(port: Any) -> list[str]:
    # The ONNX frontend names each Result after its graph output. The tensor's own names are no guide: of
    # outputs joined by Identity, OpenVINO leaves one name for all.
    friendly, mark, _ = port.get_node().get_friendly_name().rpartition("/sink_port_")
    return [friendly] if mark else sorted(_names(port))


def _tensor(array: np.ndarray) -> Any:
    """The array as OpenVINO wants it; bfloat16 and float8, which numpy lacks, as a typed tensor."""
    import openvino as ov

    dense = np.ascontiguousarray(array).reshape(array.shape)
    foreign = {"bfloat16": ov.Type.bf16, "float8_e4m3fn": ov.Type.f8e4m3, "float8_e5m2": ov.Type.f8e5m2}
    if dense.dtype.name not in foreign:
        return dense
    tensor = ov.Tensor(foreign[dense.dtype.name], ov.Shape(dense.shape))
    tensor.data[...] = dense.view(tensor.data.dtype)
    return tensor


def _array(tensor: Any) -> np.ndarray:
    dense = np.array(tensor.data)
    kind = tensor.get_element_type().get_type_name()
    if kind in ("bf16", "f8e4m3", "f8e5m2"):
        import ml_dtypes

        names = {"bf16": "bfloat16", "f8e4m3": "float8_e4m3fn", "f8e5m2": "float8_e5m2"}
        return dense.view(getattr(ml_dtypes, names[kind]))
    return dense


def _word(kind: Any) -> str:
    name = kind.get_type_name() if hasattr(kind, "get_type_name") else str(kind)
    return _WORDS.get(name, name)


def _name(value: Any) -> str:
    return str(getattr(value, "name", value)).lower()


def _unsupported(error: Exception, stage: str) -> Unsupported:
    """OpenVINO's message without its source lines, and the operator and node that it names."""
    text = str(error)
    kept = [line.removeprefix("-- ") for line in text.splitlines() if not _NOISE.match(line)]
    kept = [re.sub(r" Check '.*' failed at \S+:$", ":", line) for line in kept]
    where = _CPU_NODE.search(text) or _ONNX_NODE.search(text)
    op = where or _VERSIONED_OP.search(text)
    return Unsupported(
        one_line(" ".join(kept) or text),
        stage=stage,
        node=where.group("node") if where else None,
        op=op.group("op") if op else None,
    )
