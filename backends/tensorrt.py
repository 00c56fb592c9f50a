"""NVIDIA TensorRT (10 or newer) or TensorRT-RTX: strongly typed, so the precision is what the graph says.

Written against the documented interface. Parsing and building run in the tests; running on a GPU was never seen by its
authors, see docs/gpu.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from sysnoise_conform.backend import Build, Capabilities, Effective, Optimised, Option, Runtime, Tensors
from sysnoise_conform.backends import cuda, declared, tensorrt_watch
from sysnoise_conform.backends.tensorrt_build import WATCHES, Plan, is_rtx, load, serialize, uncollected
from sysnoise_conform.errors import BackendUnavailable, Unsupported
from sysnoise_conform.printable import one_line

_TF32 = "fp32 with TF32 allowed"
_UNREAD = "not read back: the engine's inspector tells no types"  # what the graph declares is no evidence of what ran
_MOST_REBUILDS = 20


class TensorRT:
    """TensorRT on one GPU (`@0`, `@1`...); TF32 is off unless `:tf32` or `:auto` asks for it."""

    name: ClassVar[str] = "trt"
    capabilities: ClassVar[Capabilities] = Capabilities(
        about="NVIDIA TensorRT, strongly typed, TF32 off",
        extra="rtx",
        devices=("0",),
        options=(
            Option("hint", "a builder flag that lets TensorRT 10 choose types; 11 and RTX have none", ("fp16", "bf16")),
            Option(
                "watch",
                "how inner tensors are seen: outputs of the graph by default; debug tensors; unfused leaves fusions",
                WATCHES,
            ),
            Option("rebuilds", f"build so many engines (at most {_MOST_REBUILDS}) and tell how far they differ"),
        ),
        auto=True,
        tf32=True,
        native_watch=("debug", "unfused"),
    )

    def probe(self) -> Runtime:
        """TensorRT's version. Needs a GPU and its driver, too."""
        trt = load()
        try:
            cuda.driver()
        except BackendUnavailable as error:
            raise BackendUnavailable(
                f"TensorRT {trt.__version__} is installed, but {error.message}", hint=error.hint
            ) from error
        return Runtime(
            name="TensorRT-RTX" if is_rtx(trt) else "TensorRT",
            version=trt.__version__,
            devices=("0",),
            default_precision=_TF32,
        )

    def compile(self, build: Build) -> _Session:
        """Parse and build an engine for the shapes to come."""
        trt = load()
        count = _rebuilds(build.options.get("rebuilds", "1"))
        session = _Session(trt, cuda.Gpu(int(build.device or 0)), build)
        session.prepare(count)
        return session


class _Session:
    """One engine for each set of input shapes, built when first needed."""

    def __init__(self, trt: Any, gpu: cuda.Gpu, build: Build) -> None:
        self._trt, self._gpu, self._build = trt, gpu, build
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engines: dict[tuple[tuple[str, tuple[int, ...]], ...], tuple[Any, Plan]] = {}
        model = declared.read(build.model)
        self._ports = {each.name: each for each in (*model.inputs, *model.outputs)}
        self._written = model.precision

    def prepare(self, rebuilds: int) -> None:
        """Build the engine for the shapes to come, `rebuilds` times, and read back what it is."""
        engine, plan = self._engine(self._build.shapes)
        shares, table = tensorrt_watch.layers(self._trt, engine)
        hint = self._build.options.get("hint")
        loose = self._build.precision in ("auto", "tf32") and self._written == "fp32"
        options: dict[str, Any] = {
            "strongly_typed": hint is None,
            "tf32": loose,
            "timing_cache": "off",
            "plan_sha256": plan.sha256,
            "layers": table,
        }
        if hint is not None:
            options["hint"] = hint
        if plan.unwatched:
            options["not_in_the_network"] = [one_line(name, 80) for name in plan.unwatched]
        if rebuilds > 1:
            options |= self._spread(rebuilds, engine, plan)
        precision = shares.text or _UNREAD + ("; TF32 allowed" if loose else "")
        self.effective = Effective(
            device=f"cuda:{self._build.device or 0}",
            precision=precision.replace("fp32", _TF32) if loose and shares.text else precision,
            options=options,
            shares=shares.fields(),
        )

    def _engine(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Any, Plan]:
        key = tuple(sorted(shapes.items()))
        if key not in self._engines:
            self._engines[key] = self._built(shapes)
        return self._engines[key]

    def _built(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Any, Plan]:
        plan = serialize(self._trt, self._build, shapes)
        with uncollected():
            engine = self._runtime.deserialize_cuda_engine(plan.data)
        if engine is None:
            raise Unsupported("TensorRT can't load the engine that it built", hint="the log holds its reason")
        return engine, plan

    def _spread(self, count: int, engine: Any, plan: Plan) -> dict[str, Any]:
        """How far engines of separate builds differ on the same feeds: kernels are chosen by a stopwatch.

        Feeds are drawn from a normal distribution, integers are 0. For each output the largest, over the builds, of
        rms(other - first) / rms(first).
        """
        draw = np.random.default_rng(0)
        feeds = {name: _drawn(draw, shape, self._ports[name].dtype) for name, shape in self._build.shapes.items()}
        first = self._execute(engine, plan, feeds)
        plans, spread = {plan.sha256}, dict.fromkeys(first, 0.0)
        for _ in range(count - 1):
            other, its_plan = self._built(self._build.shapes)
            plans.add(its_plan.sha256)
            for name, array in self._execute(other, its_plan, feeds).items():
                spread[name] = max(spread[name], _relative(array, first[name]))
        return {"rebuilds": count, "distinct_plans": len(plans), "rebuild_spread": spread}

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """Run once; every array is new host memory."""
        engine, plan = self._engine({name: np.shape(array) for name, array in feeds.items()})
        return self._execute(engine, plan, feeds)

    def _execute(self, engine: Any, plan: Plan, feeds: Mapping[str, np.ndarray]) -> Tensors:
        context = engine.create_execution_context()
        seen: Tensors = {}
        if plan.watched and self._build.options.get("watch") != "outputs":
            context.set_debug_listener(tensorrt_watch.listener(self._trt, self._gpu, seen))
            context.set_all_tensors_debug_state(True)
            if self._build.options.get("watch") == "unfused":  # they have a switch of their own
                context.unfused_tensors_debug_state = True
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        given = [name for name in names if engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        held = []  # what the engine reads on the host must live until it has run
        try:
            for name in given:
                if name not in feeds:
                    raise Unsupported(f"the input {one_line(name)!r} was not given", stage="run")
                array = np.ascontiguousarray(feeds[name])
                held.append(array)
                context.set_input_shape(name, np.shape(feeds[name]))
                on_host = engine.is_shape_inference_io(name)
                context.set_tensor_address(name, array.ctypes.data if on_host else self._gpu.upload(array))
            places = {name: self._place(engine, context, name) for name in names if name not in given}
            with uncollected():
                ran = context.execute_async_v3(self._gpu.stream)
            if not ran:
                raise Unsupported("TensorRT failed while it ran the engine; its reason is in the log", stage="run")
            outputs = {name: self._gpu.download(*place) for name, place in places.items()}
            return {**{name: seen[name] for name in plan.watched if name in seen}, **outputs}
        finally:
            self._gpu.free()

    def optimised(self) -> Optimised:
        """Which tensors pass from one layer of the engine to another, as its inspector tells."""
        engine, _ = self._engine(self._build.shapes)
        told = engine.create_engine_inspector().get_engine_information(self._trt.LayerInformationFormat.JSON)
        return Optimised(tensors=tensorrt_watch.layer_outputs(told))

    def _place(self, engine: Any, context: Any, name: str) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
        shape = tuple(context.get_tensor_shape(name))
        kind = engine.get_tensor_dtype(name)
        dtype = tensorrt_watch.numpy_type(self._trt, kind)
        if dtype is None:
            raise Unsupported(f"numpy has no type for output {one_line(name)!r}, which is {kind}", stage="run")
        if -1 in shape:
            raise Unsupported(f"the size of output {one_line(name)!r} depends on the data", stage="run")
        address = self._gpu.allocate(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        context.set_tensor_address(name, address)
        return address, shape, dtype

    def close(self) -> None:
        """Let go of the engines and the GPU's memory."""
        self._engines.clear()
        self._gpu.close()


def _rebuilds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST_REBUILDS):
        raise Unsupported(
            f"{one_line(text)!r} is no number of builds from 1 to {_MOST_REBUILDS}",
            stage="compile",
            hint="write +rebuilds=3",
        )
    return int(text)


def _drawn(draw: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    numbers = draw.standard_normal(shape)
    return numbers.astype(dtype) if dtype.kind in "fV" else np.zeros(shape, dtype)


def _relative(array: np.ndarray, first: np.ndarray) -> float:
    """rms(array - first) / rms(first), in float64; 0 for equal arrays, NaN where one side alone has NaN."""
    wide, base = array.astype(np.float64), first.astype(np.float64)
    if np.array_equal(wide, base, equal_nan=True):
        return 0.0
    size = max(float(np.sqrt(np.mean(base**2))), float(np.finfo(np.float64).tiny))
    return float(np.sqrt(np.mean((wide - base) ** 2))) / size
