"""What a child does when it is asked for goldens, for the original module's outputs, or for an export."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from sysnoise_conform.backend import Tensors
from sysnoise_conform.errors import BadInput, BadModel, ConformError
from sysnoise_conform.golden.executor import Executor, Mode
from sysnoise_conform.golden.floor import Sigma, floor_of
from sysnoise_conform.golden.gains import Injector
from sysnoise_conform.golden.observing import Observer, observer_of
from sysnoise_conform.golden.replay import Replayer
from sysnoise_conform.golden.sigma import Sigmas
from sysnoise_conform.golden.simulation import BLURRED, Disturbed, quantised_only, runs_for
from sysnoise_conform.golden.types import FLOATS, type_name
from sysnoise_conform.golden.values import Value, to_numpy
from sysnoise_conform.graph import walk
from sysnoise_conform.outcome import Floor
from sysnoise_conform.printable import one_line
from sysnoise_conform.store.entry import STORED, EntryWriter

Facts = dict[str, Any]


def handle(request: Mapping[str, Any], feeds: Tensors) -> Facts:
    """Answer one request; `do` is `golden`, `exact`, `replay`, `gains`, `apply`, `observe`, `module` or `export`.

    golden  {model, out, threads, base_dir?, only?}: one sample's entry is written to the file `out`.
    exact   {model, threads, base_dir?}: one sample's outputs in float64, under `tensors`; nothing is kept.
    replay  {model, out, threads, base_dir?, operands?, stored?}: the tensors are feeds and recorded ones;
            `golden.replay`.
    gains   {model, names, output, seconds, threads, base_dir?}: of feeds and recorded tensors; `golden.gains`, under
            `gains`.
    apply   {model, threads, base_dir?}: what a model gives in float64, rounded to its declared types, under `tensors`.
    observe {model, threads, base_dir?, histograms}: what one sample does to every float32 tensor; `golden.observing`.
    module  {factory, weights?, path?, outputs, dtype?, threads}: the nn.Module's outputs, under `tensors`, by the
            names of the graph's outputs.
    export  {factory, weights?, path?, shapes, dtypes?, opset?, seed?, out, dynamic_batch?}: `golden.export`.

    Raises ConformError: what the golden can't run, what ONNX forbids, what the disk refuses.
    """
    threads = int(request.get("threads", 0))
    if threads:
        torch.set_num_threads(threads)
    requests: dict[str, Callable[[Mapping[str, Any], Tensors], Facts]] = {
        "golden": _golden,
        "exact": _exact,
        "replay": _replay,
        "gains": _gains,
        "apply": _apply,
        "observe": _observe,
        "module": _module,
        "export": _export,
    }
    answer = requests.get(str(request["do"]))
    if answer is None:
        raise ConformError(f"the golden knows no request {one_line(request['do'], 60)!r}")
    return answer(request, feeds)


class Recorder:
    """Makes the goldens of one model, sample after sample, and writes each into an entry."""

    def __init__(self, model: onnx.ModelProto, base_dir: Path) -> None:
        self._exact = Executor(model, Mode.FLOAT64, base_dir=base_dir)
        self._float32 = Executor(model, Mode.FLOAT32, base_dir=base_dir)
        self._sigmas = Sigmas(model)
        self._quantised = quantised_only(model.graph)
        self._outputs = tuple(each.name for each in model.graph.output)
        self._wanted = fed_tensors(model.graph) | set(self._outputs)

    def record(self, feeds: Tensors, out: Path, *, only: Collection[str] | None = None) -> dict[str, Any]:
        """Write every tensor of the main graph that depends on an input, and every graph output.

        Each goes to the file as soon as the float64 run has it, so memory holds what is alive in the
        graph and no more; the float32 run compares itself with the file as it goes.
        """
        wanted = self._wanted if only is None else self._wanted & set(only)
        left_out: dict[str, str] = {}
        relative: dict[str, float] = {}
        elements = 0
        floors: dict[str, Floor] = {}
        clock = time.perf_counter()
        with EntryWriter(out) as writer:

            def keep(node: onnx.NodeProto, inputs: Any, name: str, value: Value) -> None:
                nonlocal elements
                elements += value.data.size if isinstance(value.data, np.ndarray) else value.data.numel()
                relative[name] = self._sigmas.relative(node, inputs, name, value)
                if name in self._quantised:
                    relative[name] = max(relative[name], BLURRED)
                if name in wanted:
                    _put(writer, name, value, left_out)

            results = self._exact.run(feeds, listen=keep)
            for name in self._outputs:  # an output may be an input or an initializer
                if name in wanted and name not in writer and name not in left_out:
                    _put(writer, name, results[name], left_out)
            del results
            sigmas = self._simulated(feeds, relative, writer, runs_for(elements))
            between = time.perf_counter()

            def measure(name: str, value: Any) -> None:
                if name in writer and name not in floors and isinstance(value, Value):
                    floors[name] = floor_of(writer, name, value, sigmas.get(name))

            results = self._float32.run(feeds, listen=lambda _, __, name, value: measure(name, value))
            for name in self._outputs:
                measure(name, results[name])
            about = {
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "seconds_float64": round(between - clock, 3),
                "seconds_float32": round(time.perf_counter() - between, 3),
            }
            writer.finish(floors, left_out=left_out, about=about)
        return {**about, "count": len(floors), "left_out": left_out, "bytes": out.stat().st_size}

    def _simulated(
        self, feeds: Tensors, relative: Mapping[str, float], exact: EntryWriter, runs: int
    ) -> dict[str, Sigma]:
        """How far correct float32 arithmetic may be off at each tensor."""
        sigmas: dict[str, Sigma] = {}

        def measure(name: str, value: Any) -> None:
            if name in exact and isinstance(value, Value):
                sigmas.setdefault(name, Sigma(in_float32=runs == 1)).add(exact, name, value)

        # In float32 where there is but one, in half the time: its own rounding is taken off again.
        executor = self._exact if runs > 1 else self._float32
        for number in range(runs):
            executor.run(
                feeds,
                listen=lambda _, __, name, value: measure(name, value),
                disturb=Disturbed(relative, feeds, number),
            )
        return sigmas


def fed_tensors(graph: onnx.GraphProto) -> set[str]:
    """Names of the main graph's tensors that depend on an input."""
    constants = {each.name for each in graph.initializer}
    fed = {each.name for each in graph.input} - constants
    found: set[str] = set()
    for node in graph.node:
        if walk.reads(node) & fed:
            fed.update(name for name in node.output if name)
            found.update(name for name in node.output if name)
    return found


def _put(writer: EntryWriter, name: str, value: Any, left_out: dict[str, str]) -> bool:
    """Write a tensor, or say why it has no place in an entry."""
    if not isinstance(value, Value):
        left_out[name] = "a sequence or an optional"
    elif value.elem_type not in STORED:
        left_out[name] = f"of type {type_name(value.elem_type)}"
    else:
        writer.add(name, value.elem_type, _as_stored(value))
        return True
    return False


def _as_stored(value: Value) -> np.ndarray[Any, Any]:
    if value.elem_type in FLOATS:
        array: np.ndarray[Any, Any] = value.data.detach().to(torch.float64).contiguous().numpy()
        return array
    return to_numpy(value)


@lru_cache(maxsize=1)
def _recorder(model: Path, base_dir: Path) -> Recorder:
    """The child's model, compiled once for all samples of a run."""
    return Recorder(_loaded(model), base_dir)


def _loaded(model: Path) -> onnx.ModelProto:
    try:
        return onnx.load(model, load_external_data=False)
    except Exception as error:  # protobuf's own errors share no base that onnx names
        raise BadModel(f"{one_line(model.name)} is no ONNX model: {one_line(error, 120)}") from error


def _golden(request: Mapping[str, Any], feeds: Tensors) -> Facts:
    model = Path(request["model"])
    base_dir = Path(request.get("base_dir") or model.parent)
    return _recorder(model, base_dir).record(feeds, Path(request["out"]), only=request.get("only"))


@lru_cache(maxsize=1)
def _executor(model: Path, base_dir: Path) -> Executor:
    return Executor(_loaded(model), Mode.FLOAT64, base_dir=base_dir)


def _exact(request: Mapping[str, Any], feeds: Tensors) -> Facts:
    model = Path(request["model"])
    outputs = _executor(model, Path(request.get("base_dir") or model.parent)).run(feeds)
    return {"tensors": {name: _as_stored(value) for name, value in outputs.items() if isinstance(value, Value)}}


@lru_cache(maxsize=2)
def _replayer(model: Path, base_dir: Path, operands: str | None) -> Replayer:
    return Replayer(_loaded(model), base_dir, operands)


def _replay(request: Mapping[str, Any], tensors: Tensors) -> Facts:
    model = Path(request["model"])
    replayer = _replayer(model, Path(request.get("base_dir") or model.parent), request.get("operands"))
    return replayer.write(*_parted(replayer, tensors), Path(request["out"]), request.get("stored"))


def _parted(replayer: Replayer, tensors: Tensors) -> tuple[Tensors, Tensors]:
    """The feeds, and what was recorded."""
    inputs = replayer.inputs
    feeds = {name: array for name, array in tensors.items() if name in inputs}
    return feeds, {name: array for name, array in tensors.items() if name not in inputs}


@lru_cache(maxsize=1)
def _injector(model: Path, base_dir: Path) -> Injector:
    return Injector(_loaded(model), base_dir, _replayer(model, base_dir, None))


def _gains(request: Mapping[str, Any], tensors: Tensors) -> Facts:
    model = Path(request["model"])
    base_dir = Path(request.get("base_dir") or model.parent)
    feeds, recorded = _parted(_replayer(model, base_dir, None), tensors)
    gains = _injector(model, base_dir).gains(
        feeds, recorded, request["names"], request["output"], seconds=float(request["seconds"])
    )
    return {"gains": gains}


@lru_cache(maxsize=16)
def _applier(model: Path, base_dir: Path) -> Executor:
    return Executor(_loaded(model), Mode.FLOAT64, base_dir=base_dir)


def _apply(request: Mapping[str, Any], feeds: Tensors) -> Facts:
    model = Path(request["model"])
    results = _applier(model, Path(request.get("base_dir") or model.parent)).run(feeds)
    return {"tensors": {name: to_numpy(value) for name, value in results.items() if isinstance(value, Value)}}


@lru_cache(maxsize=1)
def _observer(model: Path, base_dir: Path) -> Observer:
    proto = _loaded(model)
    return observer_of(proto, fed_tensors(proto.graph), base_dir)


def _observe(request: Mapping[str, Any], feeds: Tensors) -> Facts:
    model = Path(request["model"])
    base_dir = Path(request.get("base_dir") or model.parent)
    return _observer(model, base_dir).observe(feeds, histograms=bool(request.get("histograms")))


def _module(request: Mapping[str, Any], feeds: Tensors) -> Facts:
    from sysnoise_conform.golden.module import load_module, named_outputs, run_module

    module = _loaded_module(load_module, request)
    dtype = {"float32": torch.float32, "float64": torch.float64}.get(str(request.get("dtype", "float32")))
    if dtype is None:
        raise BadInput(f"a module runs in float32 or float64, not in {one_line(request['dtype'], 40)!r}")
    outputs, matched = named_outputs(run_module(module, feeds, dtype), request["outputs"])
    return {"matched": matched, "tensors": outputs}


_MODULES: dict[tuple[str, ...], torch.nn.Module] = {}


def _loaded_module(load: Callable[..., torch.nn.Module], request: Mapping[str, Any]) -> torch.nn.Module:
    """The module of an earlier sample, or a new one: building it and reading its weights may take seconds."""
    path = request.get("path")
    key = (str(request["factory"]), str(request.get("weights")), str(path))
    if key not in _MODULES:
        weights = Path(request["weights"]) if request.get("weights") else None
        _MODULES[key] = load(request["factory"], weights=weights, search=Path(path) if path else None)
    return _MODULES[key]


def _export(request: Mapping[str, Any], _: Tensors) -> Facts:
    from sysnoise_conform.golden.export import export

    return export(
        request["factory"],
        out=Path(request["out"]),
        shapes={name: tuple(shape) for name, shape in request["shapes"].items()},
        weights=Path(request["weights"]) if request.get("weights") else None,
        search=Path(request["path"]) if request.get("path") else None,
        opset=request.get("opset"),
        seed=int(request.get("seed", 0)),
        dynamic_batch=bool(request.get("dynamic_batch", False)),
        dtypes=request.get("dtypes"),
        arguments=request.get("arguments"),
    )
