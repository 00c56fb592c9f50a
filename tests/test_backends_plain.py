"""The plain copy that converters get: names, sizes and signatures made simple, values left alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import build_of, graph, ramp
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from sysnoise_conform.backends.converter import convert, last_error
from sysnoise_conform.backends.plain import plain_copy
from sysnoise_conform.errors import BackendDied, Unsupported


def plain_of(model: onnx.ModelProto, folder: Path, shapes: dict[str, tuple[int, ...]] | None = None):  # type: ignore[no-untyped-def]
    plain = plain_copy(build_of(model, folder).model, shapes or {})
    onnx.checker.check_model(plain.model, full_check=True)
    return plain


def test_names_inside_the_bodies_of_an_if_are_renamed_too(tmp_path: Path) -> None:
    then = helper.make_graph(
        [helper.make_node("Neg", ["x:0"], ["n"])], "then", [], [helper.make_tensor_value_info("n", 1, [2])]
    )
    other = helper.make_graph(
        [helper.make_node("Exp", ["x:0"], ["e"])], "else", [], [helper.make_tensor_value_info("e", 1, [2])]
    )
    node = helper.make_node("If", ["cond"], ["y:0"], then_branch=then, else_branch=other)
    ports = [helper.make_tensor_value_info("x:0", 1, [2]), helper.make_tensor_value_info("cond", TensorProto.BOOL, [])]
    g = helper.make_graph([node], "g", ports, [helper.make_tensor_value_info("y:0", 1, [2])])
    plain = plain_of(helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path)
    x, cond = plain.inputs
    assert (plain.inputs[x], plain.inputs[cond]) == ("x:0", "cond")
    (got,) = ReferenceEvaluator(plain.model).run(None, {x: ramp(2), cond: np.array(True)})
    np.testing.assert_array_equal(got, -ramp(2))


def test_plain_names_keep_clear_of_the_models_own(tmp_path: Path) -> None:
    model = graph("g (float[2] x) => (float[2] y) { t_in_0 = Exp(x) t_out_0 = Neg(t_in_0) y = Abs(t_out_0) }")
    plain = plain_of(model, tmp_path)
    (name,) = plain.inputs
    (got,) = ReferenceEvaluator(plain.model).run(None, {name: ramp(2)})
    np.testing.assert_allclose(got, np.exp(ramp(2)))


def test_open_sizes_become_those_of_the_feeds(tmp_path: Path) -> None:
    plain = plain_of(graph("g (float[N,3] x) => (float[N,3] y) { y = Exp(x) }"), tmp_path, {"x": (4, 3)})
    (info,) = plain.model.graph.output
    assert [each.dim_value for each in info.type.tensor_type.shape.dim] == [4, 3]


def test_arithmetic_on_fixed_sizes_is_carried_out_and_on_data_is_not(tmp_path: Path) -> None:
    # As exporters flatten features: the target of the Reshape is computed from the input's own size.
    text = """g (float[N,3,2,2] x) => (float[a,b] y) {
        sizes = Shape(x) wide = Cast<to=6>(sizes) batch = Slice(wide, zero, one) rest = Identity(minus)
        target32 = Concat<axis=0>(batch, rest) target = Cast<to=7>(target32) flat = Reshape(x, target)
        scale = Mul(two, half) y = Mul(flat, scale) }"""
    model = graph(text)
    for name, value in {"zero": [0], "one": [1]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int32), "minus"))
    for name, number in {"two": 2, "half": 0.5}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), name))
    plain = plain_of(model, tmp_path, {"x": (2, 3, 2, 2)})
    assert [node.op_type for node in plain.model.graph.node] == ["Reshape", "Mul", "Mul"]
    (info,) = plain.model.graph.output
    assert [each.dim_value for each in info.type.tensor_type.shape.dim] == [2, 12]
    (name,) = plain.inputs
    (got,) = ReferenceEvaluator(plain.model).run(None, {name: ramp(2, 3, 2, 2)})
    np.testing.assert_array_equal(got, ramp(2, 12))


def test_weights_listed_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    model = graph("g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }", ir_version=3, opset=9)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    assert list(plain_of(model, tmp_path).inputs.values()) == ["x"]


def test_of_outputs_joined_by_identity_one_stands_for_all(tmp_path: Path) -> None:
    text = "g (float[2] x) => (float[2] z, float[2] y, float[2] q) { y = Exp(x) z = Identity(y) q = Dropout(z) }"
    plain = plain_of(graph(text), tmp_path)
    assert list(plain.outputs.values()) == ["z"]
    assert plain.copies == {"y": "z", "q": "z"}
    whole = plain.all_outputs({"z": ramp(2)})
    assert set(whole) == {"z", "y", "q"}
    assert not np.shares_memory(whole["z"], whole["y"])


def test_a_converters_message_gets_the_models_names_back(tmp_path: Path) -> None:
    plain = plain_of(graph("g (float[2] x) => (float[2] y) { y = Exp(x) }"), tmp_path)
    assert plain.original("bad t_in_0 and t_out_0") == "bad x and y"


def test_a_converter_that_dies_is_named_with_its_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    with pytest.raises(BackendDied) as caught:
        convert("tool", command, folder=tmp_path, expect=tmp_path / "no", explain=Unsupported)
    assert (caught.value.stage, caught.value.cause, caught.value.signal) == ("convert", "crash", "SIGSEGV")


def test_a_converter_that_says_all_is_well_and_writes_nothing_is_unsupported(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('done')"]
    with pytest.raises(Unsupported, match="done"):
        convert("tool", command, folder=tmp_path, expect=tmp_path / "no", explain=Unsupported)


def test_the_last_error_of_a_traceback_is_its_reason() -> None:
    text = "noise\nTraceback (most recent call last):\n  File ...\nValueError: bad axis\n"
    assert last_error(text) == "ValueError: bad axis"
    chained = f"{text}\nThe above exception was the direct cause of the following exception:\nRuntimeError: failed"
    assert last_error(chained) == "ValueError: bad axis"
    assert last_error("") == "it said nothing"
