"""Bodies, captured names, functions, sequences and optionals, and what is alive while they run."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from sysnoise_conform.errors import BadModel, UnsupportedOperator
from sysnoise_conform.golden.executor import Executor, Mode, Value, to_numpy


def parsed(text: str, opset: int = 18) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}')


def outputs(model: onnx.ModelProto, mode: Mode = Mode.FLOAT64, **feeds: Any) -> list[Any]:
    return [
        to_numpy(each, declared=False) if isinstance(each, Value) else each
        for each in Executor(model, mode).run(feeds).values()
    ]


@pytest.mark.parametrize("mode", Mode)
def test_a_branch_reads_names_of_the_graph_around_it(mode: Mode) -> None:
    model = parsed("""g (float[2] x, bool c) => (float[2] y) {
        a = Mul(x, x)
        y = If (c) <
            then_branch = then_g () => (float[2] t) { t = Add(a, x) },
            else_branch = else_g () => (float[2] e) { e = Sub(a, x) }
        >
    }""")
    x = np.float32([2, 3])

    assert outputs(model, mode, x=x, c=np.bool_(True))[0].tolist() == [6, 12]
    assert outputs(model, mode, x=x, c=np.bool_(False))[0].tolist() == [2, 6]


def test_a_branch_two_levels_down_reads_the_outermost_graph() -> None:
    model = parsed("""g (float[1] x, bool c) => (float[1] y) {
        y = If (c) <
            then_branch = outer () => (float[1] t) {
                t = If (c) <
                    then_branch = inner () => (float[1] u) { u = Neg(x) },
                    else_branch = other () => (float[1] v) { v = Identity(x) }
                >
            },
            else_branch = last () => (float[1] e) { e = Identity(x) }
        >
    }""")

    assert outputs(model, x=np.float32([4]), c=np.bool_(True))[0].tolist() == [-4]


_LOOP = """g (int64 m, bool going, float[1] start, float[1] step) => (float[1] last, float[N, 1] all) {
    last, all = Loop (m, going, start) <
        body = b (int64 i, bool c, float[1] s) => (bool c_out, float[1] s_out, float[1] seen) {
            c_out = Identity(c)
            s_out = Add(s, step)
            seen = Identity(s)
        }
    >
}"""


def test_a_loop_carries_its_state_and_stacks_what_it_yields() -> None:
    feeds = {"m": np.int64(3), "going": np.bool_(True), "start": np.float32([1]), "step": np.float32([2])}

    last, all_ = outputs(parsed(_LOOP), **feeds)

    assert last.tolist() == [7]
    assert all_.tolist() == [[1], [3], [5]]


def test_a_loop_without_iterations_yields_nothing_and_keeps_its_state() -> None:
    feeds = {"m": np.int64(3), "going": np.bool_(False), "start": np.float32([1]), "step": np.float32([2])}

    last, all_ = outputs(parsed(_LOOP), **feeds)

    assert last.tolist() == [1]
    assert all_.shape == (0, 1)


def test_a_loop_stops_when_its_condition_does() -> None:
    model = parsed("""g (float start) => (float last, int64[N] counted) <float limit = {10.0}, bool yes = {1}> {
        last, counted = Loop (, yes, start) <
            body = b (int64 i, bool c, float s) => (bool c_out, float s_out, int64 n) {
                s_out = Add(s, s)
                c_out = Less(s_out, limit)
                n = Identity(i)
            }
        >
    }""")

    last, counted = outputs(model, start=np.float32(3))

    assert last == 12
    assert counted.tolist() == [0, 1]


def test_a_scan_goes_backward_and_stacks_along_another_axis() -> None:
    model = parsed("""g (float[2] start, float[3, 2] rows) => (float[2] total, float[2, 3] sums) {
        total, sums = Scan <num_scan_inputs = 1, scan_input_directions = [1], scan_output_axes = [1],
            body = b (float[2] s, float[2] r) => (float[2] s_out, float[2] out) {
                s_out = Add(s, r)
                out = Identity(s_out)
            }
        > (start, rows)
    }""")

    total, sums = outputs(model, start=np.zeros(2, np.float32), rows=np.float32([[1, 2], [3, 4], [5, 6]]))

    assert total.tolist() == [9, 12]
    assert sums.tolist() == [[5, 8, 9], [6, 10, 12]]


def test_a_model_local_function_runs_with_its_attributes() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 18, "mine": 1]>
    g (float[2] x) => (float[2] y) { a = mine.Scaled<slope = 3.0>(x)  y = mine.Twice(a) }
    <opset_import: ["": 18], domain: "mine"> Scaled <slope> (u) => (v) { v = LeakyRelu<alpha: float = @slope>(u) }
    <opset_import: ["": 18, "mine": 1], domain: "mine"> Twice (u) => (v) { v = Add(u, u) }
    """)

    assert outputs(model, x=np.float32([1, -1]))[0].tolist() == [2, -6]


def test_a_function_that_calls_itself_is_refused() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 18, "mine": 1]>
    g (float[2] x) => (float[2] y) { y = mine.Endless(x) }
    <opset_import: ["": 18, "mine": 1], domain: "mine"> Endless (u) => (v) { v = mine.Endless(u) }
    """)

    with pytest.raises(BadModel, match="calls itself"):
        Executor(model, Mode.FLOAT32)


def test_a_sequence_keeps_the_types_of_its_tensors() -> None:
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["s"], axis=0, keepdims=0),
        helper.make_node("SequenceAt", ["s", "one"], ["y"]),
        helper.make_node("SequenceLength", ["s"], ["n"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT16, [3, 2])],
        [onnx.ValueInfoProto(name="y"), onnx.ValueInfoProto(name="n")],
        [onnx.numpy_helper.from_array(np.int64(-1), "one")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])

    got = Executor(model, Mode.FLOAT64).run({"x": np.arange(6, dtype=np.float16).reshape(3, 2)})

    assert isinstance(got["y"], Value)
    assert isinstance(got["n"], Value)
    assert to_numpy(got["y"]).dtype == np.float16
    assert to_numpy(got["y"]).tolist() == [4, 5]
    assert to_numpy(got["n"]) == 3


def test_an_empty_optional_is_told_from_a_full_one() -> None:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [1]))
    graph = helper.make_graph(
        [helper.make_node("OptionalHasElement", ["o"], ["y"])], "g", [helper.make_value_info("o", kind)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.BOOL, [])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])

    assert outputs(model, o=None)[0] == np.False_
    assert outputs(model, o=np.float32([1]))[0] == np.True_


def test_a_tensor_is_freed_after_its_last_reader() -> None:
    chain = "  ".join(f"t{each + 1} = Sqrt(t{each})" for each in range(20))
    model = parsed(f"g (float[64] t0) => (float[64] t20) {{ {chain} }}")
    seen: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def listen(node: onnx.NodeProto, inputs: Any, name: str, value: Value) -> None:
        seen.append(weakref.ref(value.data))
        alive.append(sum(each() is not None for each in seen))

    Executor(model, Mode.FLOAT64).run({"t0": np.ones(64, np.float32)}, listen=listen)

    assert len(alive) == 20
    assert max(alive) <= 2  # what the node reads and what it made


def test_a_kept_tensor_comes_back_beside_the_outputs() -> None:
    model = parsed("g (float[2] x) => (float[2] y) { a = Neg(x)  b = Abs(a)  y = Sqrt(b) }")

    got = Executor(model, Mode.FLOAT64).run({"x": np.float32([4, 9])}, keep=["a", "x"])

    assert list(got) == ["y", "a", "x"]
    assert isinstance(got["a"], Value)
    assert to_numpy(got["a"]).tolist() == [-4, -9]


def test_listeners_hear_every_tensor_of_the_main_graph_with_its_inputs() -> None:
    model = parsed("""g (float[3] x) => (float[2] v) <int64[1] k = {2}> {
        c = Constant<value_float = 2.0>()
        a = Mul(x, c)
        v, i = TopK(a, k)
    }""")
    heard: list[tuple[str, str, int]] = []

    Executor(model, Mode.FLOAT32).run(
        {"x": np.float32([1, 3, 2])},
        listen=lambda node, inputs, name, value: heard.append((node.op_type, name, len(inputs))),
    )

    assert heard == [("Constant", "c", 0), ("Mul", "a", 2), ("TopK", "v", 2), ("TopK", "i", 2)]


def test_a_graph_may_run_again_with_other_shapes() -> None:
    executor = Executor(parsed("g (float[N] x) => (float[N] y) { y = Relu(x) }"), Mode.FLOAT32)

    for length in (1, 5, 3):
        got = executor.run({"x": -np.ones(length, np.float32)})["y"]
        assert isinstance(got, Value)
        assert to_numpy(got).tolist() == [0] * length


def test_an_operator_of_a_body_that_the_golden_lacks_is_named_before_anything_runs() -> None:
    model = parsed("""g (float[1] x, bool c) => (float[1] y) {
        y = If (c) <
            then_branch = t () => (float[1] t1) { t1 = Frobnicate(x) },
            else_branch = e () => (float[1] e1) { e1 = Identity(x) }
        >
    }""")

    with pytest.raises(UnsupportedOperator, match="Frobnicate"):
        Executor(model, Mode.FLOAT32)
