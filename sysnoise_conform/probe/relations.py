"""Relations that must hold between two answers of a target: no truth is needed to see that one doesn't.

The same answer twice, in two sessions, for a batch and for its samples one by one, on one thread and on two, whatever
an option is set to. Measured as the largest difference over the largest value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sysnoise_conform.backend import Option, Tensors
from sysnoise_conform.errors import BackendError
from sysnoise_conform.probe.arrays import Array, f32
from sysnoise_conform.probe.bench import Bench
from sysnoise_conform.probe.contrast import SMALL
from sysnoise_conform.probe.result import Agrees, Crashed, Deviates, Result, Shows, Unsupported
from sysnoise_conform.probe.rounding import U32
from sysnoise_conform.variant import Variant

_BATCH = 4
# Two sums of the same few hundred terms in different orders, through three layers.
_ORDER = 256 * U32


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Net:
    """A small network; `model(batch)` has that many samples."""

    name: str
    model: Callable[[int], onnx.ModelProto]
    x: Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """What was held against what, and what came of it.

    `exact` where not one bit may differ; a `choice` is an option's value, which may well change the answer.
    """

    net: str
    name: str
    exact: bool
    result: Result
    choice: bool = False


def nets() -> tuple[Net, ...]:
    """A convolutional network and a block of attention."""
    rng = np.random.default_rng(28)
    return (_convolutional(rng), _attention(rng))


def count(options: Sequence[Option], variant: Variant) -> int:
    """How many relations there are for each net."""
    return 4 + len(_choices(options, variant))


def relate(
    bench: Bench, net: Net, options: Sequence[Option], variant: Variant,
    failed: Callable[[BackendError], Unsupported | Crashed],
) -> tuple[Relation, ...]:  # fmt: skip
    """Every relation on one net; `failed` makes a backend's error a result."""
    feed = {"x": net.x}

    def answer(session: str, **asked: Any) -> Tensors:
        bench.compile(net.model(_BATCH), feed, session=session, **asked)
        return bench.run(feed, session=session)

    def again() -> Tensors:
        return bench.run(feed, session="base")

    def singles() -> Tensors:
        first = {"x": net.x[:1]}
        bench.compile(net.model(1), first, session="single")
        parts = [bench.run({"x": net.x[n : n + 1]}, session="single") for n in range(_BATCH)]
        return {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}

    found: list[Relation] = []

    def held(
        name: str, make: Callable[[], Tensors], against: Tensors | None, *, exact: bool = False, choice: bool = False
    ) -> Tensors | None:
        got: Tensors | None = None
        result: Result | None = None
        try:
            got = make()
        except BackendError as err:
            result = failed(err)
        else:
            if against is not None:
                result = _compared(against, got, exact=exact)
        if result is not None:
            found.append(Relation(net=net.name, name=name, exact=exact, result=result, choice=choice))
        return got

    base = held("an answer at all", lambda: answer("base"), None)
    if base is None:
        return tuple(found)
    held("run twice", again, base, exact=True)
    held("two sessions", lambda: answer("other"), base, exact=True)
    held(f"a batch of {_BATCH} and its samples", singles, base)
    one = held("one thread and two", lambda: answer("one", threads=1), None)
    if one is not None:
        held("one thread and two", lambda: answer("two", threads=2), one)
    for name, value in _choices(options, variant):
        chosen = partial(answer, "other", options={name: value})
        held(f"as asked and +{name}={value}", chosen, base, choice=True)
    return tuple(found)


def _choices(options: Sequence[Option], variant: Variant) -> list[tuple[str, str]]:
    """Every value of every option that the variant leaves open."""
    return [(o.name, value) for o in options if variant.option(o.name) is None for value in o.choices]


def _compared(want: Tensors, got: Tensors, *, exact: bool) -> Result:
    share = 0.0
    for name, a in want.items():
        b = got.get(name)
        if b is None or a.shape != b.shape or a.dtype != b.dtype:
            shown = "no output" if b is None else f"{b.dtype} {list(b.shape)} in place of {a.dtype} {list(a.shape)}"
            return Deviates(shows=Shows.SHAPE, detail=f"{name}: {shown}")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return Deviates(shows=Shows.NONFINITE, detail=f"{name}: not finite")
        difference = float(np.abs(a.astype(np.float64) - b).max(initial=0.0))
        share = max(share, difference / max(float(np.abs(a).max(initial=0.0)), 1e-30))
    if share <= (0.0 if exact else _ORDER):
        return Agrees(max_abs=share)
    return Deviates(shows=Shows.SMALL if share < SMALL else Shows.VALUES, max_rel=share)


def _model(
    name: str, nodes: Sequence[onnx.NodeProto], shape: Sequence[int], weights: dict[str, Array]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes), name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, each) for each, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _convolutional(rng: np.random.Generator) -> Net:
    def weight(*shape: int) -> Array:
        return f32(rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])))

    weights = {"a": weight(16, 3, 3, 3), "b": weight(32, 16, 3, 3), "c": weight(10, 32), "d": weight(10, 1)[:, 0]}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h1"], name="n1", pads=[1] * 4),
        helper.make_node("Relu", ["h1"], ["h2"], name="n2"),
        helper.make_node("Conv", ["h2", "b"], ["h3"], name="n3", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["h3"], ["h4"], name="n4"),
        helper.make_node("GlobalAveragePool", ["h4"], ["h5"], name="n5"),
        helper.make_node("Flatten", ["h5"], ["h6"], name="n6"),
        helper.make_node("Gemm", ["h6", "c", "d"], ["y"], name="n7", transB=1),
    ]
    x = rng.standard_normal((_BATCH, 3, 20, 20)).astype(np.float32)
    return Net(
        name="convolutional", model=lambda batch: _model("convolutional", nodes, (batch, 3, 20, 20), weights), x=x
    )


def _attention(rng: np.random.Generator) -> Net:
    width, length = 32, 12
    weights: dict[str, Array] = {
        name: (rng.standard_normal((width, width)) / np.sqrt(width)).astype(np.float32) for name in ("q", "k", "v", "o")
    }
    weights |= {
        "share": f32(width**-0.5), "scale": np.ones(width, np.float32),
        "bias": np.zeros(width, np.float32),
    }  # fmt: skip
    nodes = [
        *(helper.make_node("MatMul", ["x", name], [f"x_{name}"], name=f"to_{name}") for name in ("q", "k", "v")),
        helper.make_node("Transpose", ["x_k"], ["turned"], name="turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x_q", "turned"], ["scores"], name="score"),
        helper.make_node("Mul", ["scores", "share"], ["scaled"], name="scale_down"),
        helper.make_node("Softmax", ["scaled"], ["attention"], name="attend", axis=-1),
        helper.make_node("MatMul", ["attention", "x_v"], ["mixed"], name="mix"),
        helper.make_node("MatMul", ["mixed", "o"], ["out"], name="project"),
        helper.make_node("Add", ["x", "out"], ["sum"], name="residual"),
        helper.make_node("LayerNormalization", ["sum", "scale", "bias"], ["y"], name="normalise", axis=-1),
    ]
    x = rng.standard_normal((_BATCH, length, width)).astype(np.float32)
    return Net(name="attention", model=lambda batch: _model("attention", nodes, (batch, length, width), weights), x=x)
