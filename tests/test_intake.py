from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper
from onnx_files import adds_stored, body, external, model, node, port, relu, run_reference, save, stored

from sysnoise_conform.errors import BadInput, BadModel
from sysnoise_conform.graph import expansion
from sysnoise_conform.graph import external as external_data
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.graph.walk import nested_graphs

X, Y = port("x"), port("y")


def refusal(path: Path, **options) -> str:
    with pytest.raises(BadModel) as caught:
        open_model(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


# ---- containers


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-LFS pointer"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"\x1c\0\0\0TFL3rest", "TensorFlow Lite"),
        (b"<!DOCTYPE html><html>", "web page"),
        (relu().SerializeToString()[:-20], "cut short"),
        (relu().SerializeToString() + b"\xfa\x7f\x03abc", "no part of an ONNX model"),
        (onnx.ModelProto(ir_version=9).SerializeToString(), "no ONNX graph"),
    ],
)
def test_what_is_no_model_is_told_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(save(tmp_path, content))


def test_a_missing_file_a_folder_a_pipe_and_a_socket_are_refused_without_waiting(tmp_path: Path) -> None:
    pipe, listening = tmp_path / "pipe.onnx", tmp_path / "socket.onnx"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listening))

        assert "no such file" in refusal(tmp_path / "absent.onnx")
        assert "a folder" in refusal(tmp_path)
        assert "named pipe" in refusal(pipe)
        assert "socket" in refusal(listening)
        assert "character device" in refusal(Path("/dev/zero"))
        assert "NUL" in refusal(tmp_path / "a\0b")


def test_links_to_the_model_are_followed(tmp_path: Path) -> None:
    real = save(tmp_path, relu())
    link = tmp_path / "link.onnx"
    link.symlink_to(real)

    assert open_model(link).path == real


@pytest.mark.parametrize(("opset", "ir"), [(999, 9), (6, 9), (18, 999), (18, 2)])
def test_versions_that_onnx_does_not_know_are_refused(tmp_path: Path, opset: int, ir: int) -> None:
    assert "knows" in refusal(save(tmp_path, model(relu().graph.node, [port("x")], [port("y")], opset=opset, ir=ir)))


def test_a_graph_without_nodes_or_outputs_is_refused(tmp_path: Path) -> None:
    assert "no nodes" in refusal(save(tmp_path, model([])))
    assert "no outputs" in refusal(save(tmp_path, model([node("Relu", ["x"], ["y"])], [port("x")])))


# ---- external data


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"location": "../outside.bin"}, "outside the model's folder"),
        ({"location": "a/../../outside.bin"}, "outside the model's folder"),
        ({"location": "/etc/hostname"}, "outside the model's folder"),
        ({"location": "*/w.bin/*", "offset": 4096, "length": 16}, "no plain relative path"),
        ({"location": ""}, "usable location"),
        ({"location": "."}, "a folder"),
        ({"location": "file:///w.bin"}, "no plain relative path"),
        ({"location": "w.bin", "offset": -1}, "no byte count"),
        ({"location": "w.bin", "offset": "1e3"}, "no byte count"),
        ({"location": "w.bin", "offset": 8}, "needs bytes"),
        ({"location": "w.bin", "length": 8}, "shape needs 16"),
        ({"location": "w.bin", "offset": 2**62}, "needs bytes"),
        ({"location": "w.bin", "colour": "red"}, "unknown external data key"),
        ({"location": "absent.bin"}, "no such file"),
        ({"location": "tapped.ONNX"}, "the name of a model"),
        ({"location": "model.mnn"}, "the name of a model"),
        ({"location": "shapes_0/model_float32.tflite"}, "the name of a model"),
    ],
)
def test_external_data_that_lies_is_refused(tmp_path: Path, entries: dict[str, object], words: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))

    assert words in refusal(save(tmp_path, adds_stored(external("w", [4], entries))))


def test_external_data_in_attributes_and_bodies_is_held_to_the_same_rules(tmp_path: Path) -> None:
    bad = external("", [4], {"location": "../w.bin"})
    constant = node("Constant", [], ["o"], value=bad)
    branch = node(
        "If",
        ["c"],
        ["y"],
        then_branch=body([constant], [port("o", (4,))]),
        else_branch=body([constant], [port("o", (4,))]),
    )
    nested = model([branch], [port("c", (), TensorProto.BOOL)], [port("y", (4,))])

    assert "outside the model's folder" in refusal(save(tmp_path, nested))


def test_links_to_data_outside_need_a_word_from_the_user(tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret.bin", tmp_path / "model"
    secret.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    folder.mkdir()
    path = save(folder, adds_stored(external("w", [4], {"location": "w.bin"})))
    for link in (os.link, os.symlink):
        link(secret, folder / "w.bin")
        assert "--allow-linked-data" in refusal(path)
        assert open_model(path, allow_linked_data=True).data_files[0].size == 16
        (folder / "w.bin").unlink()


def test_detours_in_a_location_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(32))
    proto = adds_stored(external("w", [4], {"location": "./w.bin"}))
    proto.graph.initializer.append(external("v", [4], {"location": "././w.bin", "offset": 16}))
    private = tmp_path / "private"
    private.mkdir()

    opened = open_model(save(tmp_path, proto))

    assert [each.location for each in opened.data_files] == ["w.bin"]
    assert onnx.load(opened.write(private)).graph.initializer[1].raw_data == bytes(16)


def test_a_data_file_with_several_names_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(32))
    (tmp_path / "v.bin").symlink_to("w.bin")
    proto = adds_stored(external("w", [4], {"location": "w.bin"}))
    proto.graph.initializer.append(external("v", [4], {"location": "v.bin"}))
    read = []
    monkeypatch.setattr(external_data, "digest_stream", lambda stream: read.append(stream.name) or "0" * 64)

    opened = open_model(save(tmp_path, proto))

    assert [each.location for each in opened.data_files] == ["v.bin", "w.bin"]
    assert len(read) == 1


def test_a_data_file_may_hold_more_than_the_model_needs_but_not_without_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several models may share one file of weights; a file of a terabyte of nothing is no such file."""
    monkeypatch.setattr(external_data, "MAX_SPARE", 100)
    proto = adds_stored(external("w", [4], {"location": "w.bin"}))
    proto.graph.initializer.append(external("v", [4], {"location": "w.bin", "offset": 8}))  # 24 bytes between them
    path = save(tmp_path, proto)

    (tmp_path / "w.bin").write_bytes(bytes(4 * 24 + 100))
    assert open_model(path).data_files[0].size == 196
    (tmp_path / "w.bin").write_bytes(bytes(4 * 24 + 101))
    assert "the model needs 24 of them" in refusal(path)


def test_data_files_together_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_data, "MAX_BYTES", 40)
    (tmp_path / "w.bin").write_bytes(bytes(16))
    (tmp_path / "v.bin").write_bytes(bytes(24))
    proto = adds_stored(external("w", [4], {"location": "w.bin"}))
    proto.graph.initializer.append(external("v", [4], {"location": "v.bin"}))
    path = save(tmp_path, proto)

    assert len(open_model(path).data_files) == 2
    (tmp_path / "v.bin").write_bytes(bytes(25))
    assert "more than 40 bytes together" in refusal(path)


def test_the_model_s_sum_covers_its_data_files(tmp_path: Path) -> None:
    path = save(tmp_path, adds_stored(external("w", [4], {"location": "w.bin"})))
    sums = set()
    for value in (0, 1):
        (tmp_path / "w.bin").write_bytes(np.full(4, value, np.float32).tobytes())
        sums.add(open_model(path).sha256)

    assert len(sums) == 2


def test_a_private_copy_has_the_file_s_own_bytes_and_its_data(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    path = save(tmp_path, adds_stored(external("w", [4], {"location": "sub/w.bin"})))
    private = tmp_path / "private"
    private.mkdir()

    copy = open_model(path).write(private)

    assert copy.read_bytes() == path.read_bytes()
    assert np.array_equal(onnx.numpy_helper.to_array(onnx.load(copy).graph.initializer[0]), [0, 1, 2, 3])


def test_a_file_that_changes_under_our_hands_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, relu())
    opened = open_model(path)
    save(tmp_path, relu(shape=(2, 4)))

    with pytest.raises(BadModel, match="changed while"):
        opened.write(tmp_path, "copy.onnx")


# ---- stored tensors


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (TensorProto(name="w", data_type=1, dims=[2**32, 2**32], raw_data=b""), "64 bits"),
        (TensorProto(name="w", data_type=1, dims=[-1], raw_data=b""), "negative dimension"),
        (TensorProto(name="w", data_type=1, dims=[4], raw_data=bytes(12)), "needs 16"),
        (TensorProto(name="w", data_type=1, dims=[4], float_data=[1, 2, 3]), "needs 4"),
        (TensorProto(name="w", data_type=1, dims=[4], int32_data=[1, 2, 3, 4]), "field of another type"),
        (TensorProto(name="w", data_type=1, dims=[4], raw_data=bytes(16), float_data=[1] * 4), "twice"),
        (TensorProto(name="w", data_type=99, dims=[4], raw_data=bytes(16)), "element type 99"),
        (TensorProto(name="w", data_type=0, dims=[4], raw_data=bytes(16)), "element type 0"),
        (TensorProto(name="w", data_type=1, dims=[1] * 65, raw_data=bytes(4)), "65 dimensions"),
    ],
)
def test_a_tensor_whose_size_and_data_disagree_is_refused(tmp_path: Path, tensor: TensorProto, words: str) -> None:
    assert words in refusal(save(tmp_path, adds_stored(tensor)))


@pytest.mark.parametrize("elem_type", ["INT4", "UINT4", "INT2", "FLOAT6E2M3", "FLOAT8E4M3FN", "BFLOAT16", "COMPLEX64"])
def test_packed_and_small_types_have_the_size_that_onnx_gives_them(tmp_path: Path, elem_type: str) -> None:
    number = TensorProto.DataType.Value(elem_type)
    values = np.zeros(5, helper.tensor_dtype_to_np_dtype(number))
    for tensor in (helper.make_tensor("w", number, [5], values), onnx.numpy_helper.from_array(values, "w")):
        proto = relu()
        proto.ir_version = onnx.IR_VERSION
        proto.graph.initializer.append(tensor)
        assert open_model(save(tmp_path, proto)).inputs[0].name == "x"


# ---- graphs


def test_nodes_that_feed_each_other_are_refused(tmp_path: Path) -> None:
    nodes = [node("Add", ["x", "b"], ["a"], name="n1"), node("Neg", ["a"], ["b"]), node("Neg", ["b"], ["y"])]

    assert "circle" in refusal(save(tmp_path, model(nodes, [port("x")], [port("y")])))


def test_dangling_and_double_values_are_refused(tmp_path: Path) -> None:
    def refused(nodes, inputs=(X,), outputs=(Y,), initializers=()) -> str:
        return refusal(save(tmp_path, model(nodes, inputs, outputs, initializers)))

    relu_node = node("Relu", ["x"], ["y"])
    assert "reads 'ghost'" in refused([node("Add", ["x", "ghost"], ["y"])])
    assert "made by no node" in refused([relu_node], outputs=[port("z")])
    assert "two values are called 'y'" in refused([relu_node, node("Neg", ["x"], ["y"])])
    assert "two values are called 'x'" in refused([node("Relu", ["x"], ["x"])], outputs=[port("x")])
    assert "two inputs" in refused([relu_node], inputs=[port("x"), port("x")])
    assert "two initializers" in refused([relu_node], initializers=[stored("w", [1]), stored("w", [2])])
    assert "lists an output twice" in refused([relu_node], outputs=[port("y"), port("y")])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (node("Conv", ["x", "w"], ["y"], strides=[0, 0]), "strides"),
        (node("Conv", ["x", "w"], ["y"], dilations=[1 << 40, 1]), "dilations"),
        (node("Conv", ["x", "w"], ["y"], group=0), "group"),
        (node("Conv", ["x", "w"], ["y"], kernel_shape=[-3, 3]), "kernel_shape"),
        (node("Concat", ["x", "x"], ["y"], axis=1.5), "is FLOAT; the operator takes INT"),
        (node("Concat", ["x", "x"], ["y"]), "lacks the attribute 'axis'"),
        (node("Relu", ["x"], ["y"], slope=0.1), "does not know"),
        (node("Relu", ["x", "x"], ["y"]), "takes 1"),
        (node("Relux", ["x"], ["y"]), "did you mean 'Relu'"),
        (node("Exec", ["x"], ["y"], domain="com.evil"), "unknown domain"),
        (node("Relu", ["x"], ["y"], domain="elsewhere"), "not imported"),
        (node("Relu", ["x"], ["y"], domain="com.microsoft.evil"), "unknown domain"),
        (node("Conv", ["x", "w"], ["y"], auto_pad="SAME"), "auto_pad is 'SAME'; the text knows NOTSET, SAME_UPPER"),
        (node("Resize", ["x", "", "w"], ["y"], nearest_mode="up"), "nearest_mode is 'up'"),
        (node("DepthToSpace", ["x"], ["y"], blocksize=2, mode="dcr"), "the text knows DCR and CRD"),
        (node("Gelu", ["x"], ["y"], approximate="fast"), "has no such operator at version 18"),
        (node("BitShift", ["x", "x"], ["y"], direction="UP"), "direction is 'UP'"),
        (node("Einsum", ["x"], ["y"], equation=b"\xff->"), "is not UTF-8"),
        (node("FusedConv", ["x", "w"], ["y"], activation=b"\xff", domain="com.microsoft"), "is not UTF-8"),
    ],
)
def test_a_node_that_onnx_does_not_allow_is_refused(tmp_path: Path, bad, words: str) -> None:
    proto = model(
        [bad], [port("x", (1, 3, 8, 8))], [port("y")], [stored("w", np.ones((4, 3, 3, 3)))],
        domains=["com.evil", "com.microsoft.evil"],
    )  # fmt: skip

    assert words in refusal(save(tmp_path, proto))


def test_an_attribute_that_holds_another_value_than_it_says_is_refused(tmp_path: Path) -> None:
    proto = model([node("Concat", ["x", "x"], ["y"], axis=0)], [port("x")], [port("y")])
    proto.graph.node[0].attribute[0].s = b"smuggled"
    assert "another type than it says" in refusal(save(tmp_path, proto))

    proto.graph.node[0].attribute[0].CopyFrom(
        AttributeProto(name="axis", type=AttributeProto.INT, ref_attr_name="axis")
    )
    assert "stands in no function" in refusal(save(tmp_path, proto))


def test_a_name_that_is_not_utf_8_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    tensor = external("w", [4], {"location": "abcd"})
    everywhere = [
        relu("abcd"),
        with_functions([call("abcd")], [function("abcd", [node("Relu", ["a"], ["b"])])]),
        with_functions([call("F")], [function("F", [node("Relu", ["abcd"], ["b"])], inputs=["abcd"])]),
        model([node("Relu", ["x"], ["y"])], [X], [Y], domains=["abcd"]),
        model([node("Relu", ["x"], ["y"])], [port("x", ("abcd",))], [Y]),
        adds_stored(tensor),
    ]
    for proto in everywhere:
        content = proto.SerializeToString()
        assert b"abcd" in content
        text = refusal(save(tmp_path, content.replace(b"abcd", b"ab\xff\xfe")))
        assert "UTF-8" in text or "usable location" in text


@pytest.mark.parametrize(
    "name", ["<script>", "/etc/passwd", "a\0b", "\x1b[31mred", '=cmd|"x"\n', "\u202eevil", "x" * 10_000]
)
def test_odd_names_are_legal_and_never_reach_a_message_raw(tmp_path: Path, name: str) -> None:
    assert open_model(save(tmp_path, relu(name))).inputs[0].name == name
    broken = relu(name)
    broken.graph.node[0].input[0] = name + "!"

    assert refusal(save(tmp_path, broken)).isprintable()


def test_operand_types_that_an_operator_does_not_take_are_refused(tmp_path: Path) -> None:
    mixed = model([node("Add", ["x", "i"], ["y"])], [port("x"), port("i", (1, 4), TensorProto.INT64)], [port("y")])
    texts = model([node("Relu", ["x"], ["y"])], [port("x", (1,), TensorProto.STRING)], [port("y")])
    lying = model([node("Relu", ["x"], ["y"])], [port("x")], [port("y", (1, 4), TensorProto.INT64)])

    assert "of one type" in refusal(save(tmp_path, mixed))
    assert "does not take" in refusal(save(tmp_path, texts))
    assert "declared as tensor(int64)" in refusal(save(tmp_path, lying))


def test_inputs_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    proto = model([node("ConcatFromSequence", ["s"], ["y"], axis=0)], [sequence], [port("y")])

    assert "input 's' is sequence" in refusal(save(tmp_path, proto))


def test_legal_oddities_open(tmp_path: Path) -> None:
    same_names = [
        node("Relu", ["x"], ["a/b"], name="same"),
        node("Neg", ["a/b"], ["a_b"], name="same"),
        node("Neg", ["a_b"], ["A_B"]),
    ]
    shuffled = [same_names[2], same_names[0], same_names[1]]

    opened = open_model(save(tmp_path, model(shuffled, [port("x", ("N", None, -1))], [port("A_B", None)])))

    assert [each.tensor for each in opened.layers] == ["a/b", "a_b", "A_B"]
    assert opened.inputs[0].shape == ("N", None, None)
    assert opened.outputs[0].shape is None


def test_twenty_thousand_nodes_in_a_chain_open(tmp_path: Path) -> None:
    count = 20_000
    nodes = [node("Neg", [f"v{i}" if i else "x"], [f"v{i + 1}" if i + 1 < count else "y"]) for i in range(count)]

    assert len(open_model(save(tmp_path, model(nodes, [port("x")], [port("y")]))).layers) == count


def test_what_bodies_hold_is_counted_apart_from_layers(tmp_path: Path) -> None:
    inner = body([node("Neg", ["x"], ["n"]), node("Relu", ["n"], ["o"])], [port("o")])
    other = body([node("Identity", ["x"], ["e"])], [port("e")])
    branch = node("If", ["c"], ["y"], then_branch=inner, else_branch=other)

    opened = open_model(save(tmp_path, model([branch], [port("x"), port("c", (), TensorProto.BOOL)], [port("y")])))

    assert [each.op_type for each in opened.layers] == ["If"]
    assert opened.inner_tensors == 3


def test_layers_are_what_depends_on_an_input_and_their_types_are_inferred(tmp_path: Path) -> None:
    nodes = [
        node("ConstantOfShape", ["s"], ["zeros"]), node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        node("Shape", ["half"], ["shape"]), node("QuantizeLinear", ["x", "scale"], ["q"]),
        node("Add", ["x", "zeros"], ["y"]),
    ]  # fmt: skip
    proto = model(nodes, [port("x")], [port("y")], [stored("s", [4], np.int64), stored("scale", 0.1)])

    layers = open_model(save(tmp_path, proto)).layers

    types = {each.tensor: each.elem_type for each in layers}
    assert types == {
        "half": TensorProto.FLOAT16,
        "shape": TensorProto.INT64,
        "q": TensorProto.UINT8,
        "y": TensorProto.FLOAT,
    }
    assert [each.index for each in layers] == [1, 2, 3, 4]


# ---- functions


def function(name: str, nodes, inputs=("a",), outputs=("b",), attributes=(), opset: int = 18) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, list(inputs), list(outputs), list(nodes), opsets, list(attributes))


def call(name: str, inputs=("x",), outputs=("y",), **attributes) -> onnx.NodeProto:
    return node(name, list(inputs), list(outputs), domain="local", name=f"{name}_call", **attributes)


def with_functions(nodes, functions, inputs=(X,), outputs=(Y,)) -> onnx.ModelProto:
    return model(nodes, inputs, outputs, functions=functions, domains=["local"])


def test_functions_are_inlined_with_their_attributes_and_names_of_their_own(tmp_path: Path) -> None:
    leaky = node("LeakyRelu", ["a"], ["t"])
    leaky.attribute.append(AttributeProto(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="slope"))
    inner = function("Inner", [leaky, node("Neg", ["t"], ["b"])], attributes=["slope"])
    outer = function("Outer", [call("Inner", ["a"], ["t"], slope=0.5), node("Add", ["t", "a"], ["b"])])
    proto = with_functions([call("Outer", ["x"], ["m"]), call("Outer", ["m"], ["y"])], [inner, outer])
    feeds = {"x": np.array([[-2, -1, 1, 2]], np.float32)}

    opened = open_model(save(tmp_path, proto))

    assert [each.op_type for each in opened.layers] == ["LeakyRelu", "Neg", "Add"] * 2
    assert len({each.tensor for each in opened.layers}) == 6
    assert not opened.proto.functions
    onnx.checker.check_model(opened.proto, full_check=True)
    # one call is a/2 below zero and 0 above
    assert np.array_equal(run_reference(opened.proto, feeds)[0], np.array([[-0.5, -0.25, 0, 0]], np.float32))


def test_a_function_with_a_body_an_omitted_input_and_a_passed_through_output_is_inlined(tmp_path: Path) -> None:
    branch = node(
        "If", ["c"], ["b"], then_branch=body([node("Neg", ["a"], ["t"])], [port("t")]),
        else_branch=body([node("Abs", ["a"], ["t"])], [port("t")]),
    )  # fmt: skip
    choose = function("Choose", [branch, node("Clip", ["a", "low"], ["k"])], ["a", "c", "low"], ["b", "a", "k"])
    nodes = [call("Choose", ["x", "c"], ["p", "q", "k"]), node("Sum", ["p", "q", "k"], ["y"])]
    proto = with_functions(nodes, [choose], [port("x"), port("c", (), TensorProto.BOOL)])

    opened = open_model(save(tmp_path, proto))

    onnx.checker.check_model(opened.proto, full_check=True)
    x = np.array([[-1, 2, -3, 4]], np.float32)
    assert np.array_equal(run_reference(opened.proto, {"x": x, "c": np.array(True)})[0], x)
    assert np.array_equal(run_reference(opened.proto, {"x": x, "c": np.array(False)})[0], np.abs(x) + 2 * x)


def test_functions_that_multiply_are_counted_and_refused_before_they_are_expanded(tmp_path: Path) -> None:
    laughs = [function("F0", [node("Neg", ["a"], ["b"])])]
    for level in range(1, 25):
        twice = [call(f"F{level - 1}", ["a"], ["t"]), call(f"F{level - 1}", ["t"], ["b"])]
        laughs.append(function(f"F{level}", twice))

    text = refusal(save(tmp_path, with_functions([call("F24")], laughs)))

    assert f"the limits are {expansion.MAX_EXPANDED_NODES:,}" in text


def test_functions_that_call_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    itself = function("F", [call("F", ["a"], ["b"])])
    first, second = function("A", [call("B", ["a"], ["b"])]), function("B", [call("A", ["a"], ["b"])])

    assert "calls itself" in refusal(save(tmp_path, with_functions([call("F")], [itself])))
    assert "calls itself" in refusal(save(tmp_path, with_functions([call("A")], [first, second])))


def test_bodies_that_a_function_takes_from_the_call_are_counted_as_often_as_they_are_put_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An If around a body and one in it, both from the call: the call, its two nodes, 2 Ifs and 4 times two nodes."""
    given = body([node("Neg", ["x"], ["n"]), node("Abs", ["n"], ["o"])], [port("o", None)])
    choose = function("Choose", [taking("c", "b")], ["c"], ["b"])
    twice = function("Twice", [taking("c", "u", "Choose"), taking("c", "v", "Choose"), node("Add", ["u", "v"], ["b"])])
    twice.input[:] = ["c"]
    proto = with_functions([call("Twice", ["c"], body=given)], [choose, twice], [X, port("c", (), TensorProto.BOOL)])
    proto.graph.node.append(node("Identity", ["x"], ["unused"]))
    path = save(tmp_path, proto)

    opened = open_model(path)
    monkeypatch.setattr(expansion, "MAX_EXPANDED_NODES", 10)
    text = refusal(path)

    assert sum(len(graph.node) for graph in nested_graphs(opened.proto.graph)) == 12
    onnx.checker.check_model(opened.proto, full_check=True)
    # what was made on the way counts as well: 3 calls, and the body each of them passes
    assert "expand to 21 nodes" in text


def taking(condition: str, output: str, name: str = "If") -> onnx.NodeProto:
    """An If, or a call, whose bodies are what the function around it was given as `body`."""
    made = node(name, [condition], [output], domain="" if name == "If" else "local")
    for each in ("then_branch", "else_branch") if name == "If" else ("body",):
        made.attribute.add(name=each, type=AttributeProto.GRAPH, ref_attr_name="body")
    return made


def test_a_body_that_stands_in_for_what_a_call_leaves_out_is_put_in(tmp_path: Path) -> None:
    choose = function("Choose", [taking("c", "b")], ["a", "c"], ["b"])
    default = body([node("Neg", ["a"], ["o"])], [port("o", None)])
    choose.attribute_proto.append(helper.make_attribute("body", default))
    given = body([node("Abs", ["x"], ["o"])], [port("o", None)])
    x, c = np.array([[-1, 2, -3, 4]], np.float32), np.array(True)
    inputs = [X, port("c", (), TensorProto.BOOL)]

    left_out, passed = (
        open_model(save(tmp_path, with_functions([call("Choose", ["x", "c"], **more)], [choose], inputs)))
        for more in ({}, {"body": given})
    )

    assert np.array_equal(run_reference(left_out.proto, {"x": x, "c": c})[0], -x)
    assert np.array_equal(run_reference(passed.proto, {"x": x, "c": c})[0], np.abs(x))


@pytest.mark.parametrize(("levels", "words"), [(15, "bodies nested 32 deep"), (13, "")])
def test_bodies_that_calls_nest_into_each_other_are_counted(tmp_path: Path, levels: int, words: str) -> None:
    """Every call puts the body that it is given into two Ifs, one within the other."""
    other = body([node("Neg", ["x"], ["e"])], [port("e", None)])
    taken = node("If", ["c"], ["t"], else_branch=body([node("Abs", ["x"], ["f"])], [port("f", None)]))
    taken.attribute.add(name="then_branch", type=AttributeProto.GRAPH, ref_attr_name="body")
    deep = node("If", ["c"], ["b"], then_branch=body([taken], [port("t", None)]), else_branch=other)
    inner = other
    for level in range(levels):
        inner = body([call("Deep", ["c", "x"], [f"o{level}"], body=inner)], [port(f"o{level}", None)])
    proto = with_functions(
        [call("Deep", ["c", "x"], body=inner)], [function("Deep", [deep], ["c", "x"])],
        [X, port("c", (), TensorProto.BOOL)],
    )  # fmt: skip
    path = save(tmp_path, proto)

    if words:
        assert words in refusal(path)
    else:
        assert open_model(path).node_count == 1


def test_what_functions_nest_deeper_than_a_file_can_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "MAX_EXPANDED_BODIES", 1000)

    test_bodies_that_calls_nest_into_each_other_are_counted(tmp_path, 25, "nested too deep to be read")


def test_names_of_values_that_calls_multiply_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "MAX_EXPANDED_NAMES", 200)
    wide = function("F", [node("Neg", ["a0"], ["b"])], [f"a{place}" for place in range(99)])
    proto = with_functions([call("F", ["x"], ["m"]), call("F", ["m"], ["y"])], [wide])

    assert "208 names" in refusal(save(tmp_path, proto))


def test_a_function_of_another_opset_is_refused_only_where_an_operator_changed(tmp_path: Path) -> None:
    same = function("F", [node("Relu", ["a"], ["b"])], opset=17)
    mean = node("ReduceMean", ["a"], ["b"], axes=[1])  # axes became an input in 18
    branch = body([node("ReduceMean", ["a"], ["o"], axes=[1])], [port("o", None)])
    changed = function("F", [mean], opset=17)
    within = function("F", [node("If", ["a"], ["b"], then_branch=branch, else_branch=branch)], opset=17)

    assert open_model(save(tmp_path, with_functions([call("F")], [same]))).layers[0].op_type == "Relu"
    for each in (changed, within):
        assert "changed in between" in refusal(save(tmp_path, with_functions([call("F")], [each])))


# ---- divisions


@pytest.mark.parametrize(
    ("op", "dtype", "by", "traps"),
    [
        ("Mod", np.int64, [-1, 7], True),
        ("Mod", np.int32, [-1, 7], True),
        ("Div", np.int64, [-1, 7], True),
        ("Div", np.int64, [[-1], [7]], True),
        ("Div", np.int64, [7, -1], False),  # the lowest stands first
        ("Div", np.int32, [-1, 7], False),  # runtimes divide these in a wider type
        ("Mod", np.int8, [-1, 7], False),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["main", "branch"])
def test_a_division_that_no_processor_does_is_refused(
    tmp_path: Path, op: str, dtype: type, by: list[int], traps: bool, inside: bool
) -> None:
    constant = node("Constant", [], ["k"], value=stored("", [np.iinfo(dtype).min, 5], dtype))
    nodes, number = [constant, node(op, ["k", "z"], ["y"])], helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    if inside:
        branch = body([node(op, ["k", "z"], ["o"])], [port("o", None, number)])
        nodes = [constant, node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    inputs = [port("c", (), TensorProto.BOOL)]
    path = save(tmp_path, model(nodes, inputs, [port("y", None, number)], [stored("z", by, dtype)]))

    if traps:
        assert "integer division of the lowest number by -1" in refusal(path)
    else:
        assert open_model(path).node_count == 2


# ---- constants and Ifs


def choosing(condition_nodes, inputs=(), initializers=()) -> onnx.ModelProto:
    """`then` negates and doubles, `else` is the absolute value; both call their inner value `t`."""
    then = body([node("Neg", ["x"], ["t"]), node("Add", ["t", "t"], ["o"])], [port("o")])
    other = body([node("Abs", ["x"], ["t"])], [port("t")])
    branch = node("If", ["c"], ["y"], name="choice", then_branch=then, else_branch=other)
    return model([*condition_nodes, branch], [port("x"), *inputs], [port("y")], initializers)


EQUALS_16000 = [node("Constant", [], ["k"], value_int=16000), node("Equal", ["sr", "k"], ["c"])]
SR = port("sr", (), TensorProto.INT64)


def test_binding_an_input_resolves_the_ifs_that_hang_on_it(tmp_path: Path) -> None:
    path = save(tmp_path, choosing(EQUALS_16000, [SR]))
    x = np.array([[-1, 2, -3, 4]], np.float32)

    free = open_model(path)
    fast, slow = (open_model(path, bind={"sr": np.array(rate)}) for rate in (16000, 8000))

    assert [each.op_type for each in free.layers] == ["Equal", "If"]
    assert [each.op_type for each in fast.layers] == ["Neg", "Add"]
    assert [each.op_type for each in slow.layers] == ["Abs"]
    assert [each.name for each in fast.inputs] == ["x"]
    assert fast.bound == ("sr",)
    assert fast.node_count == free.node_count == 3
    assert fast.sha256 == free.sha256
    assert fast.bound_sha256 != slow.bound_sha256
    assert np.array_equal(run_reference(fast.proto, {"x": x})[0], -2 * x)
    assert not fast.proto.graph.initializer  # nothing is left of what made the condition


def test_only_a_bound_graph_is_written_anew(tmp_path: Path) -> None:
    path = save(tmp_path, choosing(EQUALS_16000, [SR]))

    given = open_model(path).write(tmp_path, "given.onnx")
    bound = open_model(path, bind={"sr": np.array(16000)}).write(tmp_path, "bound.onnx")

    assert given.read_bytes() == path.read_bytes()
    onnx.checker.check_model(onnx.load(bound), full_check=True)
    assert [each.name for each in onnx.load(bound).graph.input] == ["x"]


def test_a_constant_if_is_resolved_without_binding(tmp_path: Path) -> None:
    nodes = [node("Constant", [], ["k"], value=stored("", True, bool)), node("Not", ["k"], ["c"])]

    assert [each.op_type for each in open_model(save(tmp_path, choosing(nodes))).layers] == ["Abs"]


def test_guards_on_ranks_and_fixed_sizes_are_seen_through(tmp_path: Path) -> None:
    guard = [
        node("Unsqueeze", ["x", "axis"], ["wide"]), node("Shape", ["wide"], ["s"]), node("Size", ["s"], ["rank"]),
        node("Equal", ["rank", "three"], ["c"]),
    ]  # fmt: skip
    constants = [stored("axis", [0], np.int64), stored("three", 3, np.int64)]

    opened = open_model(save(tmp_path, choosing(guard, initializers=constants)))

    assert "If" not in {each.op_type for each in opened.layers}
    assert "Neg" in {each.op_type for each in opened.layers}


def test_nested_ifs_are_resolved_and_names_stay_unique(tmp_path: Path) -> None:
    true = node("Constant", [], ["k"], value=stored("", True, bool))
    inner = node(
        "If", ["k"], ["t"], then_branch=body([node("Neg", ["x"], ["t"])], [port("t")]),
        else_branch=body([node("Abs", ["x"], ["t"])], [port("t")]),
    )  # fmt: skip
    outer = node(
        "If", ["k"], ["y"], name="outer", then_branch=body([inner, node("Relu", ["t"], ["o"])], [port("o")]),
        else_branch=body([node("Abs", ["x"], ["t"])], [port("t")]),
    )  # fmt: skip

    opened = open_model(save(tmp_path, model([true, outer], [port("x")], [port("y")])))

    assert [each.op_type for each in opened.layers] == ["Neg", "Relu"]
    assert len({each.tensor for each in opened.layers}) == 2
    onnx.checker.check_model(opened.proto, full_check=True)


def test_a_branch_that_returns_what_it_was_given_becomes_an_identity(tmp_path: Path) -> None:
    given = body([], [port("x", None)])
    branch = node("If", ["c"], ["y"], then_branch=given, else_branch=body([node("Neg", ["x"], ["o"])], [port("o")]))
    proto = model([branch], [port("x")], [port("y")], [stored("c", True, bool)])

    assert [each.op_type for each in open_model(save(tmp_path, proto)).layers] == ["Identity"]


@pytest.mark.parametrize(
    ("bind", "words"),
    [
        ({"srr": np.array(1)}, "did you mean 'sr'"),
        ({"sr": np.array(0.5)}, "is no INT64"),
        ({"sr": np.array([1, 2])}, "shape is [2]"),
    ],
)
def test_a_binding_that_does_not_fit_is_bad_input(tmp_path: Path, bind: dict[str, np.ndarray], words: str) -> None:
    path = save(tmp_path, choosing(EQUALS_16000, [SR]))

    with pytest.raises(BadInput) as caught:
        open_model(path, bind=bind)

    assert words in str(caught.value)


def test_an_input_with_a_default_value_need_not_be_fed(tmp_path: Path) -> None:
    proto = model([node("Add", ["x", "w"], ["y"])], [port("x"), port("w")], [port("y")], [stored("w", np.ones((1, 4)))])
    path = save(tmp_path, proto)

    assert [each.name for each in open_model(path).inputs] == ["x"]
    assert open_model(path, bind={"w": np.full((1, 4), 2.0)}).bound == ("w",)


def test_a_bound_graph_takes_the_sizes_that_are_known(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["": 18]>
        sized (float[N,4] x, float gain) => (float[N,4] y) { y = Mul (x, gain) }
    """)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)

    bound = open_model(path, bind={"gain": np.float32(2)}, shapes={"x": (3, 4)})
    free = open_model(path, shapes={"x": (3, 4)})

    assert bound.inputs[0].shape == (3, 4)
    assert free.inputs[0].shape == ("N", 4)
