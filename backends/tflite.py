"""TensorFlow Lite: ONNX converted by onnx2tf, or a deployed `.tflite` as it is, run by LiteRT's interpreter."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sysnoise_conform.backend import Build, Capabilities, Effective, Option, Runtime, Tensors
from sysnoise_conform.backends import litert
from sysnoise_conform.backends.calibrating import Samples, read_samples
from sysnoise_conform.backends.plain import Plain
from sysnoise_conform.backends.tflite_convert import INSTALL, Converted, Output, lacking, operator, to_tflite
from sysnoise_conform.backends.tflite_quantise import CALIBRATED, HINTS, from_codes, reduced, to_codes
from sysnoise_conform.errors import Unsupported
from sysnoise_conform.printable import one_line

_EMPTY = re.compile(r"Input tensor (?P<index>\d+) lacks data")
_CUSTOM_OP = re.compile(r"unresolved custom op: (?P<op>\w+)")
_NODE = re.compile(r"Node number \d+ \((?P<op>\w+)\)")
_GLUED = re.compile(r"\.?\n?(?<=\S)Node(?= number)")
_HINT = re.compile(r"\s*See instructions: \S+")


class TFLite:
    """LiteRT (or tflite-runtime) with XNNPACK, as an Android or embedded deployment runs it."""

    name: ClassVar[str] = "tflite"
    capabilities: ClassVar[Capabilities] = Capabilities(
        about="TensorFlow Lite through onnx2tf and LiteRT, with XNNPACK",
        extra="tflite",
        formats=("onnx", "tflite"),
        native_taps=("tflite",),
        options=(
            Option("delegate", "xnnpack by default; none runs the builtin kernels", ("xnnpack", "none")),
            Option("hint", "TFLite's own precision instead of float32: by onnx2tf and ai-edge-quantizer", HINTS),
            Option("calibration", "for hint int8 and int16x8: a folder of .npz samples, an absolute path"),
        ),
    )

    def probe(self) -> Runtime:
        """Which interpreter really runs a model here, and whether the converter is there."""
        home = litert.find()
        missing = ", ".join(lacking())
        converter = f"{missing} not installed, so only .tflite files run: {INSTALL}" if missing else "onnx2tf"
        return Runtime(name=home.name, version=home.version, devices=("cpu",), details={"converter": converter})

    def compile(self, build: Build) -> _FromOnnx | _Deployed:
        """Convert an ONNX file and load it, or load a `.tflite` file."""
        home = litert.find()
        if build.format != "tflite":
            return _FromOnnx(home, build)
        if "hint" in build.options:
            raise Unsupported("a deployed .tflite has its precision already", stage="compile", hint="leave +hint= away")
        return _Deployed(home, build)


@dataclass
class _Loaded:
    """A converted file and the interpreter that runs it."""

    converted: Converted
    interpreter: Any


class _FromOnnx:
    """A converted model: one file and interpreter for each set of input shapes, made when first needed."""

    def __init__(self, home: litert.Home, build: Build) -> None:
        self._home = home
        self._build = build
        self._hint = build.options.get("hint")
        ranged = self._hint is not None and self._hint in CALIBRATED
        self._samples = (
            read_samples("tflite", str(self._hint), build.options.get("calibration"), build.shapes)
            if ranged else Samples(())
        )  # fmt: skip
        self._folders = (build.workdir / f"shapes_{number}" for number in itertools.count())
        self._loaded: dict[tuple[tuple[str, tuple[int, ...]], ...], _Loaded] = {}
        first = self._for(build.shapes)
        self._inputs = tuple(first.converted.inputs.values())
        self.effective = _effective(build, first.interpreter, self._facts(first))

    def _for(self, shapes: Mapping[str, tuple[int, ...]]) -> _Loaded:
        key = tuple(sorted(shapes.items()))
        if key not in self._loaded:
            converted = to_tflite(self._build.model, shapes, next(self._folders))
            if self._hint is not None:
                converted = reduced(converted, self._hint, self._samples, self._home)
            interpreter = _load(self._home, self._build, converted.path, converted.plain)
            self._loaded[key] = _Loaded(converted, interpreter)
        return self._loaded[key]

    def _facts(self, loaded: _Loaded) -> dict[str, Any]:
        """What the record says beside delegate and threads."""
        if self._hint is None:
            return dict(_recast(loaded.converted, loaded.interpreter))
        kinds = sorted({np.dtype(each["dtype"]).name for each in loaded.interpreter.get_input_details()})
        facts: dict[str, Any] = {"hint": self._hint, "inputs": ", ".join(kinds)}
        return {**facts, "calibration": self._samples.told} if self._samples.feeds else facts

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """Run once, after converting for these shapes where they are new. Every array is a copy."""
        for name in self._inputs:
            if name not in feeds:
                raise Unsupported(f"the input {one_line(name)!r} was not given", stage="run")
        loaded = self._for({name: np.shape(array) for name, array in feeds.items()})
        converted, interpreter = loaded.converted, loaded.interpreter
        try:
            for name, detail in litert.ports(interpreter, "inputs"):
                _feed(interpreter, detail, converted.inputs[name], feeds, rounds=self._hint is not None)
            interpreter.reset_all_variables()  # an LSTM's state would else come from the run before
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            # An invoke that failed leaves its interpreter half done: the next run gets a new one.
            loaded.interpreter = _load(self._home, self._build, converted.path, converted.plain)
            raise _unsupported(error, "run", converted.plain, interpreter) from error
        raw = {}
        for name, detail in litert.ports(interpreter, "outputs"):
            with contextlib.suppress(ValueError):  # "Tensor data is null": the converter left the tensor unwritten
                array = interpreter.get_tensor(detail["index"])
                raw[name] = array if self._hint is None else from_codes(array, detail)
        return converted.plain.all_outputs(
            {each.name: _declared(raw, key, each) for key, each in converted.outputs.items() if key in raw}
        )

    def close(self) -> None:
        """Let go of the interpreters."""
        self._loaded.clear()


class _Deployed:
    """A `.tflite` file that ships: its own tensor names (and its signature's), its own layout."""

    def __init__(self, home: litert.Home, build: Build) -> None:
        self._interpreter = _load(home, build, build.model, None)
        self._taps = litert.inner(self._interpreter, build.taps)
        self._aliases = _signature_names(self._interpreter)
        self.effective = _effective(build, self._interpreter, {})

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """Run once. Every array is a copy; outputs come under tensor and signature names."""
        tensors: Tensors = {}
        try:
            self._fit(feeds)
            for name, detail in litert.ports(self._interpreter, "inputs"):
                _feed(self._interpreter, detail, self._fed_as(name, feeds), feeds)
            self._interpreter.reset_all_variables()
            self._interpreter.invoke()
            for name, detail in litert.ports(self._interpreter, "outputs"):
                array = self._interpreter.get_tensor(detail["index"])
                tensors[name] = array
                if name in self._aliases:
                    tensors[self._aliases[name]] = array.copy()
            for name, index in self._taps.items():
                with contextlib.suppress(ValueError):  # "Tensor data is null": inside of what a delegate computes
                    tensors.setdefault(name, self._interpreter.get_tensor(index))
        except (RuntimeError, ValueError) as error:
            raise _unsupported(error, "run", None) from error
        return tensors

    def _fed_as(self, name: str, feeds: Mapping[str, np.ndarray]) -> str:
        return name if name in feeds else self._aliases.get(name, name)

    def _fit(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Resize inputs whose file leaves sizes open."""
        resized = False
        for name, detail in litert.ports(self._interpreter, "inputs"):
            array = feeds.get(self._fed_as(name, feeds))
            if array is not None and array.shape != tuple(detail["shape"]) and -1 in detail["shape_signature"]:
                self._interpreter.resize_tensor_input(detail["index"], array.shape, strict=True)
                resized = True
        if resized:
            self._interpreter.allocate_tensors()

    def close(self) -> None:
        """Let go of the interpreter."""
        self._interpreter = None


def _load(home: litert.Home, build: Build, path: Any, plain: Plain | None) -> Any:
    try:
        delegate = build.options.get("delegate", "xnnpack")
        return litert.load(home, path, delegate=delegate, threads=build.threads, keep_all=bool(build.taps))
    except (RuntimeError, ValueError) as error:
        raise _unsupported(error, "compile", plain) from error


def _signature_names(interpreter: Any) -> dict[str, str]:
    """Tensor name -> name in the file's signature, where it has exactly one."""
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return {}
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    details = {**runner.get_input_details(), **runner.get_output_details()}
    return {detail["name"]: key for key, detail in details.items() if detail["name"] != key}


def _feed(
    interpreter: Any, detail: Mapping[str, Any], name: str, feeds: Mapping[str, np.ndarray], *, rounds: bool = False
) -> None:
    """Hand one input over, cast to the file's type; only where the file `rounds` on purpose may values change."""
    if name not in feeds:
        raise Unsupported(f"the input {one_line(name)!r} was not given", stage="run")
    array = feeds[name]
    shape, kind = tuple(int(each) for each in detail["shape"]), np.dtype(detail["dtype"])
    if array.ndim == 0 and shape == (1,):  # TFLite files have no rank-0 inputs
        array = array.reshape(1)
    if array.shape != shape:
        hint = (
            f"if the file takes NHWC, say --layout {one_line(name, 80)}=NHWC"
            if sorted(array.shape) == sorted(shape)
            else None
        )
        raise Unsupported(f"the file's input {one_line(name)!r} is {shape}, not {array.shape}", stage="run", hint=hint)
    codes = to_codes(array, detail) if rounds else None
    cast = array.astype(kind) if codes is None else codes
    if not (rounds and array.dtype.kind == "f") and not _lossless(array, cast):
        raise Unsupported(
            f"the file's input {one_line(name)!r} is {kind}, which can't hold {array.dtype} values", stage="run"
        )
    interpreter.set_tensor(detail["index"], np.ascontiguousarray(cast))


def _lossless(array: np.ndarray, cast: np.ndarray) -> bool:
    return cast.dtype == array.dtype or bool(
        np.array_equal(cast.astype(array.dtype), array, equal_nan=array.dtype.kind in "fV")
    )


def _declared(raw: Mapping[str, np.ndarray], key: str, output: Output) -> np.ndarray:
    """An output in the shape and dtype that ONNX declares for it."""
    shape = output.shape if output.shape_from is None else tuple(int(each) for each in raw[output.shape_from])
    array = raw[key]
    if shape is not None and array.size == np.prod(shape):
        array = array.reshape(shape)
    if array.dtype == np.int8 and output.dtype == np.uint8:
        # LiteRT computes in int8 alone: onnx2tf moves uint8 codes and their zero point down by 128.
        return array.view(np.uint8) ^ np.uint8(0x80)
    return array if output.dtype is None else array.astype(output.dtype, copy=False)


def _recast(converted: Converted, interpreter: Any) -> dict[str, str]:
    """Which outputs the file holds in another type than ONNX declares; they are converted back."""
    found = {}
    for name, detail in litert.ports(interpreter, "outputs"):
        declared = converted.outputs.get(name)
        kind = np.dtype(detail["dtype"])
        if declared is not None and declared.dtype not in (None, kind):
            found[declared.name] = f"{kind} in the file, {declared.dtype} in the model"
    return {"recast": "; ".join(f"{one_line(name, 80)}: {how}" for name, how in found.items())} if found else {}


def _effective(build: Build, interpreter: Any, more: Mapping[str, str]) -> Effective:
    shares = litert.shares(interpreter)
    options = {
        "delegate": litert.delegated(interpreter), "threads": build.threads or "runtime's choice", **more,
        **shares.told,
    }  # fmt: skip
    text = shares.text or "integers"
    if build.options.get("hint") == "weights_int8":
        text += " (int8 weights)"
    return Effective(device="cpu", precision=text, options=options, shares=shares.fields())


def _unsupported(error: Exception, stage: str, plain: Plain | None, interpreter: Any = None) -> Unsupported:
    text = _GLUED.sub(". Node", _HINT.sub("", str(error)))
    empty = _EMPTY.search(text)
    if empty and interpreter is not None:
        names = {each["index"]: each["name"] for each in interpreter.get_tensor_details()}
        text = f"no operator before it writes the tensor {one_line(names.get(int(empty['index'])), 100)!r} ({text})"
    found = _CUSTOM_OP.search(text) or _NODE.search(text)
    named = operator(found.group("op"), plain) if found and plain else {"op": found.group("op") if found else None}
    return Unsupported(one_line(plain.original(text) if plain else text), stage=stage, **named)
