"""MNN, Alibaba's runtime for phones: ONNX converted by its own converter, full float32 asked for."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx import helper

from sysnoise_conform.backend import Build, Capabilities, Effective, Option, Runtime, Tensors
from sysnoise_conform.backends.converter import convert
from sysnoise_conform.backends.overheard import overheard
from sysnoise_conform.backends.plain import Plain, plain_copy
from sysnoise_conform.errors import BackendUnavailable, Unsupported
from sysnoise_conform.printable import one_line

# The extension behind `mnnconvert`, called by itself: the package's own script installs a logging client with
# pip, into whatever environment pip belongs to, and reports each conversion to its maker.
_CONVERTER = "import _tools, sys; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
_REFUSED = re.compile(r"Op Not Support: *(?P<ops>.*)")
_ONNX_OP = re.compile(r"ONNX::(?P<op>\w+)")
_LOST = re.compile(r"Can't find output (?P<name>\w+) from the model")
_CODE = re.compile(r"code=\d+ in onForward, \d+")
_CHECKED = re.compile(r"^\[[\d:]+\] :\d+: ")
_CHATTER = ("Start to ", "ONNX Model ", "inputTensors", "outputTensors", "The device supports", "Converted Failed")


# HintMode::WINOGRAD_MEMORY_LEVEL of MNN's headers, which its Python package does not name. At level 0 it computes
# convolutions directly; by default many by Winograd's tiles of 8x8, whose rounding was measured 24 to 350 times
# PyTorch's (3.6.1; docs/calibration.md), as much as TF32 costs, 1.0 times at level 0. So it is pinned like a precision.
_WINOGRAD_MEMORY_LEVEL = 3
_STORED = {"": [], "int8": ["--weightQuantBits", "8"], "fp16": ["--fp16"]}  # flags of its converter


class MNN:
    """MNN on the CPU, pinned to precision high, its fp32, without Winograd; `:auto` is what it does by itself."""

    name: ClassVar[str] = "mnn"
    capabilities: ClassVar[Capabilities] = Capabilities(
        about="MNN through its own converter, precision high",
        extra="mnn",
        options=(
            Option("hint", "MNN's precision mode; high by default, normal is :auto's", ("high", "normal", "low")),
            Option("weights", "how its converter stores weights: as they are by default", ("int8", "fp16")),
            Option("winograd", "Winograd's convolutions: off keeps float32's accuracy, on is :auto's", ("on", "off")),
        ),
        auto=True,
    )

    def probe(self) -> Runtime:
        """MNN's version."""
        return Runtime(name="MNN", version=_import().version(), devices=("cpu",))

    def compile(self, build: Build) -> _Session:
        """Convert once, with open sizes left open, and load."""
        _import()
        plain = plain_copy(build.model, {})
        source = build.workdir / "model.onnx"
        onnx.save(plain.model, str(source))
        target = build.workdir / "model.mnn"
        command = [sys.executable, "-c", _CONVERTER, "-f", "ONNX", "--modelFile", str(source)]
        convert(
            "mnnconvert",
            [*command, "--MNNModel", str(target), "--bizCode", "conform", *_STORED[build.options.get("weights", "")]],
            folder=build.workdir,
            expect=target,
            explain=lambda text: _explain(text, plain),
        )
        return _Session(plain, target, build)


class _Session:
    """One module with all outputs of the graph that MNN kept."""

    def __init__(self, plain: Plain, path: Path, build: Build) -> None:
        import MNN.expr as expr

        self._expr = expr
        self._plain = plain
        self._dtypes = {each.name: _dtype(each) for each in plain.model.graph.output}
        self._ranks = _ranks(plain.model)
        self._outputs = dict(plain.outputs)
        auto = build.precision == "auto"
        threads = build.threads or 1  # MNN's default
        precision = build.options.get("hint", "normal" if auto else "high")
        mode = getattr(expr.PrecisionMode, precision.capitalize())
        winograd = build.options.get("winograd", "on" if auto else "off")
        modes: dict[str, Any] = {"backend": expr.Backend.CPU, "precision_mode": mode, "thread_num": threads}
        if winograd == "off":
            modes["runtime_manager"] = _without_winograd(precision, threads)
        self._module = self._load(path, **modes)
        self._kinds = {
            str(expr.dtype.float): np.float32,
            str(expr.dtype.int): np.int32,
            str(expr.dtype.uint8): np.uint8,
        }
        self.effective = Effective(
            device="cpu",
            precision=_told(precision, build.options.get("weights")),
            options={
                "precision_mode": precision, "threads": threads, "winograd": winograd,
                **({"weights": build.options["weights"]} if "weights" in build.options else {}),
            },
        )  # fmt: skip

    def _load(self, path: Path, **modes: Any) -> Any:
        """The module; an inner tensor that its optimiser removed is left out of the outputs."""
        import MNN.nn as nn

        while self._outputs:
            with overheard() as said:
                try:
                    return nn.load_module_from_file(str(path), list(self._plain.inputs), list(self._outputs), **modes)
                except SystemError:  # its way to say no: an error return without an exception
                    pass
            lost = _LOST.search(said.text)
            if lost is None or self._outputs.pop(lost["name"], None) is None:
                raise Unsupported(f"MNN can't load what it converted: {self._reason(said.text)}", stage="compile")
        raise Unsupported("MNN's optimiser removed every output of the model", stage="compile")

    def _reason(self, text: str) -> str:
        return one_line(self._plain.original(_CODE.sub("", text)).strip() or "it said nothing")

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """Run once; every array is a copy. MNN has neither int64 nor bool: what it narrows is widened again."""
        ports = self._module.get_info()["inputs"]
        given = []
        for name, port in zip(self._plain.inputs.values(), ports, strict=True):
            if name not in feeds:
                raise Unsupported(f"the input {one_line(name)!r} was not given", stage="run")
            given.append(self._variable(name, feeds[name], port))
        with overheard() as said:
            results = self._module.onForward(given)
        if len(results) != len(self._outputs):
            raise Unsupported(f"MNN gave up: {self._reason(said.text)}", stage="run")
        tensors: Tensors = {}
        for (plain, name), result in zip(self._outputs.items(), results, strict=True):
            array = self._values(plain, result).reshape(self._shape(plain, list(result.shape)))
            tensors[name] = array.astype(self._type(plain, array), copy=False)
        return self._plain.all_outputs(tensors)

    def _type(self, name: str, array: np.ndarray) -> Any:
        """The type that the model declares; but what MNN keeps in a bool's place is none unless it is 0 or 1.

        Its Cast to bool only cuts fractions off, and whatever reads a 3 there computes with a 3.
        """
        declared = self._dtypes[name] or array.dtype
        no_bool = declared == np.bool_ and bool(((array != 0) & (array != 1)).any())
        return array.dtype if no_bool else declared

    def _values(self, name: str, result: Any) -> np.ndarray:
        """What an output holds. Raises Unsupported where MNN gives no values, with the node that makes it."""
        if 0 in result.shape:  # it has no memory to read from, and nothing to read
            return np.zeros(result.shape, self._kinds.get(str(result.dtype), np.float32))
        try:
            return np.array(self._expr.convert(result, self._expr.NCHW).read())
        except SystemError as error:  # its way to say no, without a word why
            ours, maker = self._outputs[name], self._plain.maker(name)
            node = None if maker is None else maker.name or ours
            who = "" if maker is None else f" of {maker.op_type} {one_line(node, 80)!r}"
            raise Unsupported(
                f"MNN computed no values for the output {one_line(ours, 80)!r}{who}, of shape {list(result.shape)}",
                stage="run", node=node, op=None if maker is None else maker.op_type,
                hint="conform diagnose tries every operator alone; leave this output out, or report it to MNN",
            ) from error  # fmt: skip

    def _shape(self, name: str, shape: list[int]) -> list[int]:
        """MNN computes a Conv over one axis with two and leaves a trailing 1: the rank is the graph's own."""
        rank = self._ranks.get(name, len(shape))
        return shape[:rank] if all(each == 1 for each in shape[rank:]) else shape

    def _variable(self, name: str, array: np.ndarray, port: Any) -> Any:
        kind = self._kinds.get(str(port.dtype))
        if kind is None:
            raise Unsupported(f"MNN takes no input of the type that {one_line(name)!r} has", stage="run")
        cast = np.ascontiguousarray(array, dtype=kind).reshape(array.shape)
        if array.dtype.kind in "iu" and not np.array_equal(cast, array):
            raise Unsupported(
                f"MNN's input {one_line(name)!r} is {kind.__name__}, too narrow for its values", stage="run"
            )
        return self._expr.const(cast, list(array.shape), self._expr.NCHW, port.dtype)

    def close(self) -> None:
        """Let go of the module."""
        self._module = None


def _told(precision: str, weights: str | None) -> str:
    """What was asked for, for MNN tells nothing of what it did."""
    stored = f", {weights} weights" if weights else ""
    if precision == "high":
        return f"fp32 requested (precision=high){stored}; MNN does not report it"
    return f"not reported by MNN{stored}"


def _import() -> Any:
    try:
        import MNN
    except ImportError as error:
        raise BackendUnavailable(
            f"MNN can't be imported: {one_line(error)}", hint="pip install 'sysnoise-conform[mnn]'"
        ) from error
    return MNN


def _without_winograd(precision: str, threads: int) -> Any:
    import MNN.nn as nn

    manager = nn.create_runtime_manager(({"precision": precision, "numThread": threads, "backend": "CPU"},))
    manager.set_hint(_WINOGRAD_MEMORY_LEVEL, 0)
    return manager


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """Ranks of the graph's outputs, as far as ONNX's own inference finds them."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # above protobuf's 2 GiB, or an operator that it does not know: then ranks stay MNN's
        graph = model.graph
    return {
        each.name: len(each.type.tensor_type.shape.dim)
        for each in graph.output
        if each.type.tensor_type.HasField("shape")
    }


def _dtype(info: onnx.ValueInfoProto) -> Any:
    kind = info.type.tensor_type.elem_type
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind)) if kind else None


def _explain(text: str, plain: Plain) -> Unsupported:
    refused = _REFUSED.search(text)
    if refused:
        ops = _ONNX_OP.findall(refused["ops"])
        return Unsupported(
            f"MNN has no operator {', '.join(ops)}" if ops else one_line(refused.group()),
            stage="convert",
            op=ops[0] if ops else None,
            node=plain.node(ops[0]) if ops else None,
        )
    lines = [_CHECKED.sub("", line.strip()) for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_CHATTER)]
    words = plain.original(" ".join(telling)) or "it said nothing"
    return Unsupported(f"mnnconvert can't convert the model: {one_line(words)}", stage="convert")
