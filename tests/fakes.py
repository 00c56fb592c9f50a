"""Backends with a character: each computes for real, by onnx's reference evaluator, and has one fault.

They reach children as a stranger's backend does, by `CONFORM_BACKENDS` (see `as_environment`), so this file needs
numpy, onnx and ml_dtypes alone. `+at=compile|run` chooses where those that die do so.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from sysnoise_conform.backend import Backend, Build, Capabilities, Effective, Option, Runtime, Session, Tensors
from sysnoise_conform.errors import BackendDied, BackendUnavailable, Unsupported

_AT = Option(name="at", about="where it happens", choices=("compile", "run"))


def _floats(value: np.ndarray) -> bool:
    return value.dtype.kind == "f" and value.size > 0


class _Session(Session):
    def __init__(self, backend: _Fake, build: Build) -> None:
        self._backend = backend
        self._at = build.options.get("at", "run")
        self._model = ReferenceEvaluator(onnx.load(build.model))
        self._effective = Effective(device="cpu", precision="fp32", options=dict(build.options))
        if self._at == "compile":
            backend.fault()

    @property
    def effective(self) -> Effective:
        return self._effective

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        if self._at == "run":
            self._backend.fault()
        outputs = dict(zip(self._model.output_names, self._model.run(None, dict(feeds)), strict=True))
        return self._backend.change({name: np.array(value) for name, value in outputs.items()})

    def close(self) -> None:
        self._model = None
        self._backend.farewell()


def _multiply(model: onnx.ModelProto, tensors: set[str], factor: float) -> None:
    """Let whatever makes these tensors make them times a factor."""
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.output[0] in tensors:
            made, node.output[0] = node.output[0], f"{node.output[0]}_right"
            nodes.append(onnx.helper.make_node("Mul", [node.output[0], "the_factor"], [made]))
    copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factor), "the_factor"))


class _Fake(Backend):
    """The reference evaluator; a character overrides `change` (its outputs) or `fault` (what it does instead)."""

    name: ClassVar[str] = "fake"
    capabilities: ClassVar[Capabilities] = Capabilities(about="a fake for tests", extra="dev", options=(_AT,))

    def probe(self) -> Runtime:
        told = {"folder": os.getcwd(), "python": sys.version, "threads": os.environ.get("OMP_NUM_THREADS", "")}
        return Runtime(name=self.name, version=onnx.__version__, devices=("cpu",), details=told)

    def compile(self, build: Build) -> Session:
        return _Session(self, build)

    def change(self, outputs: Tensors) -> Tensors:
        return outputs

    def fault(self) -> None:
        """Nothing happens to the healthy."""

    def farewell(self) -> None:
        """Most leave without a word."""


class Exact(_Fake):
    name = "exact"


class ShowsInside(_Fake):
    """Shows inner tensors by itself under `+watch=debug`, and then refuses a graph that was tapped by surgery."""

    name = "shows_inside"
    capabilities = Capabilities(
        about="a fake for tests", extra="dev", options=(Option("watch", "how", ("debug", "outputs")),),
        native_watch=("debug",),
    )  # fmt: skip

    def compile(self, build: Build) -> Session:
        model = onnx.load(build.model)
        outputs = {each.name for each in model.graph.output}
        if build.taps and outputs >= set(build.taps):
            raise Unsupported("every tensor to be shown is an output already", stage="compile")
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in build.taps if name not in outputs)
        build.model.write_bytes(model.SerializeToString())
        return _Session(self, build)


class OneUlpOff(_Fake):
    name = "one_ulp_off"

    def change(self, outputs: Tensors) -> Tensors:
        return {n: np.nextafter(v, v.dtype.type(np.inf)) if _floats(v) else v for n, v in outputs.items()}


class ShiftedOnePixel(_Fake):
    """Every image-like output moves one column to the right; the first column stays."""

    name = "shifted_one_pixel"

    def change(self, outputs: Tensors) -> Tensors:
        return {n: self._shift(v) if v.ndim == 4 and _floats(v) else v for n, v in outputs.items()}

    def _shift(self, image: np.ndarray) -> np.ndarray:
        return np.concatenate([image[..., :1], image[..., :-1]], axis=-1)


class ShiftedHalfAPixel(ShiftedOnePixel):
    """Every image-like output is sampled half a column to the left, linearly."""

    name = "shifted_half_a_pixel"

    def _shift(self, image: np.ndarray) -> np.ndarray:
        moved = np.concatenate([image[..., :1], image[..., :-1]], axis=-1)
        return ((image + moved) / 2).astype(image.dtype)


class Scaled(_Fake):
    name = "scaled"

    def change(self, outputs: Tensors) -> Tensors:
        return {n: v * v.dtype.type(1.02) if _floats(v) else v for n, v in outputs.items()}


class FusesWrongly(_Fake):
    """A Relu behind a Conv that nobody watches is one operator with it, and that one is a per cent off.

    `+opt=none` leaves them apart.
    """

    name = "fuses_wrongly"
    capabilities: ClassVar[Capabilities] = Capabilities(
        about="a fake for tests", extra="dev", options=(Option("opt", "how much is fused", ("none", "all")),)
    )

    def compile(self, build: Build) -> Session:
        if build.options.get("opt", "all") == "all":
            model = onnx.load(build.model)
            convs = {each.output[0] for each in model.graph.node if each.op_type == "Conv"}
            watched = {each.name for each in model.graph.output}
            _multiply(
                model,
                {e.output[0] for e in model.graph.node if e.op_type == "Relu" and e.input[0] in convs - watched},
                1.01,
            )
            onnx.save(model, build.model)
        return _Session(self, build)


class Drifts(_Fake):
    """Every operator's result is one rounding too large: none is wrong, and all of them together are."""

    name = "drifts"

    def compile(self, build: Build) -> Session:
        model = onnx.load(build.model)
        _multiply(model, {each.output[0] for each in model.graph.node if each.op_type != "Where"}, 1 + 2**-23)
        onnx.save(model, build.model)
        return _Session(self, build)


class BFloat16(_Fake):
    """Every tensor that it returns, each tapped one too, was rounded to bfloat16 and widened again."""

    name = "bfloat16"

    def change(self, outputs: Tensors) -> Tensors:
        import ml_dtypes

        return {n: v.astype(ml_dtypes.bfloat16).astype(v.dtype) if _floats(v) else v for n, v in outputs.items()}


class MakesNaN(_Fake):
    """The middle element of every float output is NaN."""

    name = "makes_nan"

    def change(self, outputs: Tensors) -> Tensors:
        for value in outputs.values():
            if _floats(value):
                value.reshape(-1)[value.size // 2] = np.nan
        return outputs


class HidesNaN(_Fake):
    """Whatever is not finite comes out as 0, as some runtimes' Relu does."""

    name = "hides_nan"

    def change(self, outputs: Tensors) -> Tensors:
        return {n: np.where(np.isfinite(v), v, v.dtype.type(0)) if _floats(v) else v for n, v in outputs.items()}


class WrongNames(_Fake):
    name = "wrong_names"

    def change(self, outputs: Tensors) -> Tensors:
        return {f"{name}_renamed": value for name, value in outputs.items()}


class WrongShape(_Fake):
    """Every output has one axis of length 1 too many."""

    name = "wrong_shape"

    def change(self, outputs: Tensors) -> Tensors:
        return {name: value[np.newaxis] for name, value in outputs.items()}


class WrongDtype(_Fake):
    """Every float32 output comes as float64 (and the other way round)."""

    name = "wrong_dtype"

    def change(self, outputs: Tensors) -> Tensors:
        other = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.float32}
        return {n: v.astype(other.get(v.dtype, v.dtype)) for n, v in outputs.items()}


class MissingOutput(_Fake):
    """The last output is not there."""

    name = "missing_output"

    def change(self, outputs: Tensors) -> Tensors:
        return dict(list(outputs.items())[:-1])


class Crashes(_Fake):
    """Reads address 0: SIGSEGV."""

    name = "crashes"

    def fault(self) -> None:
        ctypes.string_at(0)


class Aborts(_Fake):
    """Calls abort(), as a failed assertion in C++ does: SIGABRT."""

    name = "aborts"

    def fault(self) -> None:
        os.abort()


class Hangs(_Fake):
    """Sleeps for ever in native code and keeps Python's lock."""

    name = "hangs"

    def fault(self) -> None:
        ctypes.PyDLL(None).pause()


class EatsMemory(_Fake):
    """Takes memory, and touches it, until there is none: give it a limit."""

    name = "eats_memory"

    def fault(self) -> None:
        eaten = []
        while True:
            eaten.append(np.ones(1 << 23))


class FloodsStdout(_Fake):
    """Prints 8 MiB around a beginning, an end and terminal escapes, and answers right."""

    name = "floods_stdout"

    def fault(self) -> None:
        os.write(1, b"the beginning \x1b[31mred\x1b[0m \x07\n")
        for _ in range(128):
            os.write(1, b"a line that a runtime repeats for ever\n" * 1680)
        sys.stderr.write("the end\n")


class Exits(_Fake):
    """Ends the process with status 0, as if all were well."""

    name = "exits"

    def fault(self) -> None:
        os._exit(0)


class Refuses(_Fake):
    """Refuses every model by a clean error."""

    name = "refuses"

    def compile(self, build: Build) -> Session:
        node = onnx.load(build.model).graph.node[0]
        raise Unsupported(f"no kernel for {node.op_type}", stage="compile", node=node.name, op=node.op_type)


class DreadsPools(_Fake):
    """Runs every model but those in which an AveragePool reads a graph input: `+how=refuses` or `+how=dies` of it."""

    name = "dreads_pools"
    capabilities: ClassVar[Capabilities] = Capabilities(
        about="a fake for tests", extra="dev", options=(Option("how", "what it does then", ("refuses", "dies")),)
    )

    def compile(self, build: Build) -> Session:
        graph = onnx.load(build.model).graph
        fed = {each.name for each in graph.input}
        if any(each.op_type == "AveragePool" and each.input[0] in fed for each in graph.node):
            if build.options.get("how") == "dies":
                ctypes.string_at(0)
            raise Unsupported("no kernel for AveragePool", stage="compile", op="AveragePool")
        return _Session(self, build)


class Raises(_Fake):
    """Raises what is no error of ours, in several lines with an escape."""

    name = "raises"

    def fault(self) -> None:
        raise RuntimeError("Check 'false' failed at src/core/node.cpp:42:\n\x1b[31mwhile validating\x1b[0m node")


class Absent(_Fake):
    """A runtime that is not installed."""

    name = "absent"

    def probe(self) -> Runtime:
        raise BackendUnavailable("the runtime 'absent' is not installed", hint="pip install absent")

    def compile(self, build: Build) -> Session:
        self.probe()
        raise AssertionError("probe has raised")


class ConverterDies(_Fake):
    """Its converter, a program of its own, dies of a signal."""

    name = "converter_dies"

    def compile(self, build: Build) -> Session:
        raise BackendDied("the converter died of SIGSEGV", stage="convert", cause="crash", signal="SIGSEGV")


class TalksNonsense(_Fake):
    """Has been taken over: it writes to the private channel what no worker writes."""

    name = "talks_nonsense"

    def fault(self) -> None:
        for each in os.listdir("/proc/self/fd"):
            if os.path.lexists(f"/proc/self/fd/{each}") and os.readlink(f"/proc/self/fd/{each}").startswith("socket:"):
                os.write(int(each), b"cos\nsystem\n(S'touch CANARY'\ntR." * 8)


class Lingers(_Fake):
    """Leaves a process behind that would live for an hour; its number is printed."""

    name = "lingers"

    def fault(self) -> None:
        import subprocess

        print("left behind", subprocess.Popen(["sleep", "3600"]).pid)


class Emigrates(_Fake):
    """Leaves a process behind in a session of its own, where no signal to a group reaches it."""

    name = "emigrates"

    def fault(self) -> None:
        import subprocess

        left = subprocess.Popen(["sleep", "3600"], start_new_session=True, stdin=-3, stdout=-3, stderr=-3, cwd="/")
        with open(os.path.join(os.path.dirname(os.environ["TMPDIR"]), "work", "left"), "w") as file:
            file.write(str(left.pid))


class SaysGoodbye(_Fake):
    """Prints a word when its session is closed."""

    name = "says_goodbye"

    def farewell(self) -> None:
        print("goodbye")


BACKENDS: dict[str, type[_Fake]] = {
    each.name: each
    for each in (
        Exact,
        OneUlpOff,
        ShiftedOnePixel,
        ShiftedHalfAPixel,
        ShowsInside,
        Scaled,
        BFloat16,
        MakesNaN,
        HidesNaN,
        WrongNames,
        WrongShape,
        WrongDtype,
        MissingOutput,
        Crashes,
        Aborts,
        Hangs,
        EatsMemory,
        FloodsStdout,
        Exits,
        Refuses,
        Raises,
        Absent,
        ConverterDies,
        TalksNonsense,
        Lingers,
        Emigrates,
        SaysGoodbye,
    )
}


def as_environment() -> dict[str, str]:
    """The environment variable that makes all of them known: `monkeypatch.setenv(*item)` or a child's `env`."""
    return {"CONFORM_BACKENDS": ",".join(f"{n}={__file__}:{kind.__name__}" for n, kind in BACKENDS.items())}
