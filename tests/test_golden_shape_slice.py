"""Which tensors steer shapes, sizes, indices and trip counts, and that these are computed as declared."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from sysnoise_conform.golden.executor import Executor, Mode, Value, to_numpy
from sysnoise_conform.graph.shape_slice import shape_slice


def parsed(text: str, opset: int = 18) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}')


# The second dimension of y is floor(N * factor), with N that of x.
_SIZE = """g (float[1, N] x) => (float[1, M] y) <float factor = {FACTOR}, int64[1] one = {1}, int64 at = {1}> {
    dims = Shape(x)
    n = Gather(dims, at)
    wide = Cast<to = 1>(n)
    scaled = Mul(wide, factor)
    whole = Floor(scaled)
    size = Cast<to = 7>(whole)
    axis = Constant<value_ints = [0]>()
    size1 = Unsqueeze(size, axis)
    shape = Concat<axis = 0>(one, size1)
    first = Slice(x, axis, one, one)
    y = Expand(first, shape)
}"""


def _differing_factor(length: int) -> tuple[float, int, int]:
    """A float32 factor for which float32 and float64 disagree on floor(length * factor)."""
    for numerator in range(1, 2000):
        factor = np.float32(numerator / length)
        narrow = int(np.floor(np.float32(length) * factor))
        wide = int(np.floor(np.float64(length) * np.float64(factor)))
        if narrow != wide:
            return float(factor), narrow, wide
    raise AssertionError("no such factor")


@pytest.mark.parametrize("mode", Mode)
def test_a_size_is_computed_in_its_declared_type_in_both_modes(mode: Mode) -> None:
    factor, declared, otherwise = _differing_factor(49)
    model = parsed(_SIZE.replace("FACTOR", repr(factor)))

    got = Executor(model, mode).run({"x": np.ones((1, 49), np.float32)})["y"]

    assert declared != otherwise
    assert isinstance(got, Value)
    assert to_numpy(got).shape == (1, declared)


def test_the_slice_holds_the_arithmetic_of_sizes_and_not_the_data() -> None:
    found = shape_slice(parsed(_SIZE.replace("FACTOR", "1.5")).graph)

    assert {"dims", "n", "wide", "scaled", "whole", "size", "shape", "factor", "axis"} <= found
    assert not {"x", "first", "y"} & found


def test_a_slice_tensor_that_data_uses_too_is_widened_there() -> None:
    model = parsed("""g (float[N] x) => (float[N] y, int64[M] z) {
        n = Size(x)
        wide = Cast<to = 1>(n)
        third = Reciprocal(wide)
        back = Reciprocal(third)
        size = Cast<to = 7>(back)
        axis = Constant<value_ints = [0]>()
        shape = Unsqueeze(size, axis)
        z = ConstantOfShape(shape)
        y = Mul(x, third)
    }""")

    got = Executor(model, Mode.FLOAT64).run({"x": np.ones(3, np.float32)})["y"]

    assert isinstance(got, Value)
    assert to_numpy(got, declared=False).tolist() == [float(np.float32(1) / np.float32(3))] * 3


def test_token_ids_are_data_and_places_are_not() -> None:
    found = shape_slice(parsed("""g (int64[N] ids, float[9, 4] table, float[9, 4] places) => (float[N, 4] y) {
        tokens = Gather(table, ids)
        n = Size(ids)
        zero = Constant<value_int = 0>()
        one = Constant<value_int = 1>()
        steps = Range(zero, n, one)
        where = Gather(places, steps)
        y = Add(tokens, where)
    }""").graph)  # fmt: skip

    assert {"n", "steps", "zero", "one"} <= found
    assert not {"ids", "tokens", "where", "y", "table"} & found


def test_what_a_network_decides_stops_the_walk() -> None:
    found = shape_slice(parsed("""g (float[1, 3, 8, 8] x, float[4, 3, 3, 3] w) => (float[N] y) {
        a = Conv(x, w)
        b = Relu(a)
        best = ArgMax<axis = 1, keepdims = 0>(b)
        flat = Constant<value_ints = [-1]>()
        ends = Reshape(best, flat)
        most = ReduceMax<keepdims = 0>(ends)
        zero = Constant<value_int = 0>()
        one = Constant<value_int = 1>()
        r = Range(zero, most, one)
        y = Cast<to = 1>(r)
    }""").graph)  # fmt: skip

    assert {"best", "ends", "most"} <= found
    assert not {"x", "w", "a", "b"} & found


def test_a_trip_count_and_a_loops_condition_belong_to_the_slice() -> None:
    found = shape_slice(parsed("""g (float n, float[2] x) => (float[2] y) <bool yes = {1}> {
        m = Floor(n)
        trips = Cast<to = 7>(m)
        y = Loop (trips, yes, x) <
            body = b (int64 i, bool c, float[2] s) => (bool c_out, float[2] s_out) {
                c_out = Identity(c)
                s_out = Add(s, s)
            }
        >
    }""").graph)  # fmt: skip

    assert {"n", "m", "trips", "c_out", "yes"} <= found
    assert not {"x", "s", "s_out", "y"} & found


def test_a_functions_shape_like_input_is_found_through_its_body() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 18, "mine": 1]>
    g (float[4] x, float size) => (float[N] y) { half = Floor(size)  y = mine.Fit(x, half) }
    <opset_import: ["": 18], domain: "mine"> Fit (u, s) => (v) {
        i = Cast<to = 7>(s)
        axis = Constant<value_ints = [0]>()
        shape = Unsqueeze(i, axis)
        v = Reshape(u, shape)
    }
    """)

    found = shape_slice(model.graph, model.functions)

    assert {"half", "size"} <= found
    assert "x" not in found


def _sizes(mode: Mode, model: onnx.ModelProto, **feeds: Any) -> tuple[int, ...]:
    value = Executor(model, mode).run(feeds)[model.graph.output[0].name]
    assert isinstance(value, Value)
    return to_numpy(value).shape


def test_both_modes_give_the_same_shape_for_every_length() -> None:
    model = parsed(_SIZE.replace("FACTOR", "0.3"))
    for length in range(1, 60):
        x = np.ones((1, length), np.float32)
        assert _sizes(Mode.FLOAT64, model, x=x) == _sizes(Mode.FLOAT32, model, x=x)
