"""Where a model's constants come from: initializers, external files, sparse tensors, Constant nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sysnoise_conform.errors import BadModel
from sysnoise_conform.golden.executor import Executor, Mode, Value, to_numpy


def parsed(text: str, opset: int = 18) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}')


def answer(executor: Executor, **feeds: Any) -> Any:
    value = next(iter(executor.run(feeds).values()))
    assert isinstance(value, Value)
    return to_numpy(value).tolist()


def test_external_weights_are_read_from_the_models_folder(tmp_path: Path) -> None:
    model = parsed("g (float[3] x) => (float[3] y) { y = Mul(x, w) }")
    model.graph.initializer.append(numpy_helper.from_array(np.float32([1, 2, 3]), "w"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.weights", size_threshold=0)
    bare = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    assert not bare.graph.initializer[0].raw_data

    executor = Executor(bare, Mode.FLOAT64, base_dir=tmp_path)

    assert answer(executor, x=np.float32([1, 1, 2])) == [1, 2, 6]


def test_sparse_constants_become_dense() -> None:
    values = numpy_helper.from_array(np.float32([5, 7]), "v")
    linear = helper.make_sparse_tensor(values, numpy_helper.from_array(np.int64([1, 5])), [2, 3])
    paired = helper.make_sparse_tensor(values, numpy_helper.from_array(np.int64([[0, 1], [1, 2]])), [2, 3])
    for sparse in (linear, paired):
        node = helper.make_node("Constant", [], ["y"], sparse_value=sparse)
        graph = helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name="y")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        assert answer(Executor(model, Mode.FLOAT32)) == [[0, 5, 0], [0, 0, 7]]


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("value_float = 1.5", 1.5),
        ("value_floats = [1.5, 2.0]", [1.5, 2.0]),
        ("value_int = 7", 7),
        ("value_ints = [7, 8]", [7, 8]),
        ('value_string = "ä"', "ä"),
        ('value_strings = ["a", "b"]', ["a", "b"]),
        ("value = int32[2] {3, 4}", [3, 4]),
    ],
)
def test_a_constant_node_has_its_value_in_any_form(attribute: str, expected: Any) -> None:
    assert answer(Executor(parsed(f"g () => (y) {{ y = Constant<{attribute}>() }}"), Mode.FLOAT64)) == expected


def test_a_constant_without_a_value_is_a_bad_model() -> None:
    with pytest.raises(BadModel, match="exactly one value"):
        Executor(parsed("g () => (y) { y = Constant() }"), Mode.FLOAT32)


def test_an_initializer_may_be_fed_as_an_input_and_is_its_default() -> None:
    executor = Executor(parsed("g (float[1] x, float[1] w = {2.0}) => (float[1] y) { y = Mul(x, w) }"), Mode.FLOAT64)

    assert answer(executor, x=np.float32([3])) == [6]
    assert answer(executor, x=np.float32([3]), w=np.float32([5])) == [15]
    assert answer(executor, x=np.float32([3])) == [6]


def test_a_size_that_an_exporter_left_open_as_minus_one_takes_any_length() -> None:
    model = parsed("g (float[N] x) => (float[N] y) { y = Neg(x) }")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1

    assert answer(Executor(model, Mode.FLOAT32), x=np.float32([1, 2])) == [-1, -2]


def test_the_callers_arrays_are_neither_changed_nor_kept() -> None:
    executor = Executor(parsed("g (float[2] x) => (float[2] y) { y = Identity(x) }"), Mode.FLOAT32)
    x = np.float32([1, 2])

    got = executor.run({"x": x})["y"]
    assert isinstance(got, Value)
    given_back = to_numpy(got)
    given_back += 1

    assert x.tolist() == [1, 2]
