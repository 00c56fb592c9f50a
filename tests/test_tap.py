from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_files import model, node, port, relu, run_reference, save, stored

from sysnoise_conform.errors import BadInput, BadModel
from sysnoise_conform.graph.intake import open_model, write_proto
from sysnoise_conform.graph.shapes import bind_shapes, check_declared_output, check_feed, missing_dims
from sysnoise_conform.graph.tap import observable, tap


def chain() -> onnx.ModelProto:
    nodes = [
        node("Neg", ["x"], ["a"]),
        node("Cast", ["a"], ["b"], to=TensorProto.FLOAT16),
        node("Cast", ["b"], ["y"], to=1),
    ]
    return model(nodes, [port("x")], [port("y")])


def test_tapped_tensors_become_outputs_after_the_old_ones_in_graph_order() -> None:
    tapped = tap(chain(), ["b", "a", "y"])

    assert [each.name for each in tapped.graph.output] == ["y", "a", "b"]
    assert [each.type.tensor_type.elem_type for each in tapped.graph.output] == [1, 1, TensorProto.FLOAT16]


def test_a_tapped_graph_computes_what_the_given_one_does() -> None:
    x = np.array([[1, -2, 3, -4]], np.float32)

    y, a, b = run_reference(tap(chain(), ["a", "b"]), {"x": x})

    assert np.array_equal(y, -x)
    assert np.array_equal(a, -x)
    assert b.dtype == np.float16


def test_tapping_leaves_the_given_model_alone_and_drops_declared_inner_shapes() -> None:
    given = chain()
    given.graph.value_info.append(port("a", (9, 9)))
    before = given.SerializeToString()

    tapped = tap(given, ["a"])

    assert given.SerializeToString() == before
    assert not tapped.graph.value_info
    assert not tapped.graph.output[1].type.tensor_type.HasField("shape")


def test_a_tensor_that_nobody_makes_can_t_be_tapped() -> None:
    with pytest.raises(BadModel, match="no node makes a tensor 'ghost'"):
        tap(chain(), ["ghost"])


def test_real_runtimes_accept_outputs_without_a_shape_or_type(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    nodes = [node("QuickGelu", ["x"], ["g"], domain="com.microsoft", alpha=1.0), node("Neg", ["g"], ["y"])]
    opened = open_model(save(tmp_path, model(nodes, [port("x")], [port("y")], domains=["com.microsoft"])))

    path = write_proto(tap(opened.proto, ["g"]), tmp_path, "tapped.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    assert [each.name for each in session.get_outputs()] == ["y", "g"]
    assert opened.layers[0].elem_type == 0


def test_sequences_and_strings_are_named_as_not_observable(tmp_path: Path) -> None:
    nodes = [
        node("SplitToSequence", ["x"], ["s"], axis=1), node("SequenceAt", ["s", "i"], ["y"]),
        node("Cast", ["x"], ["words"], to=TensorProto.STRING),
    ]  # fmt: skip
    opened = open_model(save(tmp_path, model(nodes, [port("x")], [port("y", None)], [stored("i", 0, np.int64)])))

    names, hidden = observable(opened)

    assert names == ["y"]
    assert {each.tensor: each.why for each in hidden} == {
        "s": "its type is seq(tensor(float)): no tensor to compare", "words": "it holds strings",
    }  # fmt: skip
    assert len(names) + len(hidden) == len(opened.layers)


def two_inputs(tmp_path: Path):
    nodes = [node("MatMul", ["a", "b"], ["y"])]
    return open_model(save(tmp_path, model(nodes, [port("a", ("n", "k")), port("b", ("k", 8))], [port("y", ("n", 8))])))


def test_missing_dimensions_are_listed_all_at_once_ready_to_paste(tmp_path: Path) -> None:
    opened = two_inputs(tmp_path)

    with pytest.raises(BadInput) as caught:
        bind_shapes(opened, {})

    assert "--shape a=1,128 --shape b=1,8" in str(caught.value)
    assert missing_dims(opened.inputs, {"b": (4, 8)}) == ["--shape a=1,128"]


def test_a_size_given_for_one_input_fixes_the_same_symbol_of_another(tmp_path: Path) -> None:
    assert bind_shapes(two_inputs(tmp_path), {"a": (2, 5)}) == {"a": (2, 5), "b": (5, 8)}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"aa": (1, 2)}, "did you mean 'a'"),
        ({"b": (4, 9)}, "has the shape [4, 9]"),
        ({"a": (1, 2, 3)}, "has the shape [1, 2, 3]"),
        ({"a": (1, 2), "b": (3, 8)}, "share this dimension"),
    ],
)
def test_a_shape_that_contradicts_the_model_is_bad_input(tmp_path: Path, given, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        bind_shapes(two_inputs(tmp_path), given)

    assert words in str(caught.value)


def test_an_input_without_a_rank_asks_for_a_shape(tmp_path: Path) -> None:
    opened = open_model(save(tmp_path, relu(shape=None)))

    with pytest.raises(BadInput, match="--shape x=1,…"):
        bind_shapes(opened, {})
    assert bind_shapes(opened, {"x": (2, 3)}) == {"x": (2, 3)}


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        ({}, "lacks input 'x' (FLOAT [1, 4])"),
        ({"x": np.zeros((1, 4))}, "as float64; the model takes float32"),
        ({"x": np.zeros((1, 5), np.float32)}, "has the shape [1, 5]"),
        ({"x": np.zeros((1, 4), np.float32), "z": np.zeros(1)}, "'z', which is no input"),
    ],
)
def test_a_feed_that_does_not_fit_is_told_what_is_expected(tmp_path: Path, feed, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_feed(open_model(save(tmp_path, relu())), feed, "the feed")

    assert words in str(caught.value)


def test_a_declared_output_shape_that_lies_is_found_when_the_true_one_is_known(tmp_path: Path) -> None:
    lying = open_model(save(tmp_path, model([node("Relu", ["x"], ["y"])], [port("x")], [port("y", (1, 999))])))

    check_declared_output(lying, "y", (1, 999))
    with pytest.raises(BadModel, match="declares output 'y' as FLOAT"):
        check_declared_output(lying, "y", (1, 4))
