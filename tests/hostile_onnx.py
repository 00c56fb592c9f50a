"""Hostile, broken and odd ONNX files: what must be refused, what must be stopped, what is legal and must run."""

from __future__ import annotations

import io
import os
import pickle
import socket
import zipfile
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, SparseTensorProto, TensorProto, helper
from onnx_files import adds_stored, body, external, model, node, port, relu, save, stored

Build = Callable[[Path], Path]
REFUSED: dict[str, Build] = {}
LEGAL: dict[str, Build] = {}

SECRET = np.array([1337.0, 1, 2, 3], np.float32).tobytes()


def _refused(build: Build) -> Build:
    REFUSED[build.__name__] = build
    return build


def _legal(build: Build) -> Build:
    LEGAL[build.__name__] = build
    return build


def _all_refused(cases: dict[str, Callable[[], ModelProto | bytes]]) -> None:
    for name, make in cases.items():
        REFUSED[name] = lambda folder, make=make: save(folder, make())


def _all_legal(cases: dict[str, Callable[[], ModelProto]]) -> None:
    for name, make in cases.items():
        LEGAL[name] = lambda folder, make=make: save(folder, make())


# ---- containers


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps({"w": 1}))
    return buffer.getvalue()


def _imports(*opsets: tuple[str, int], ir: int = 9) -> ModelProto:
    made = relu()
    made.ir_version = ir
    del made.opset_import[:]
    made.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in opsets)
    return made


def no_utf8(made: ModelProto) -> bytes:
    """The file of a model, with two bytes that are no UTF-8 wherever it says QQQQ."""
    return made.SerializeToString().replace(b"QQQQ", b"Q\xffQ\xfe")


def _text_field(field: str) -> bytes:
    made = relu()
    if field == "metadata_props":
        made.metadata_props.add(key="key", value="QQQQ")
    else:
        setattr(made.graph if field.startswith("graph.") else made, field.removeprefix("graph."), "QQQQ")
    return no_utf8(made)


_all_refused({
    "a_text_file": lambda: b"hello\n" * 100,
    "the_message_as_text": lambda: str(relu()).encode(),
    "the_model_as_onnx_text": lambda: onnx.printer.to_text(relu()).encode(),
    "a_zip": _zip,
    "a_pickle": lambda: pickle.dumps({"weights": [1.0]}),
    "json": lambda: b'{"ir_version": 8}',
    "a_picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(64),
    "trailing_junk": lambda: relu().SerializeToString() + b"\xff" * 64,
    "trailing_zeros": lambda: relu().SerializeToString() + bytes(64),
    "two_models_in_one_file": lambda: relu().SerializeToString() * 2,
    "nothing_but_zeros": lambda: bytes(4096),
    "ir_version_999": lambda: _imports(("", 18), ir=999),
    "ir_version_0": lambda: _imports(("", 18), ir=0),
    "opset_0": lambda: _imports(("", 0)),
    "opset_negative": lambda: _imports(("", -1)),
    "opset_of_the_largest_number": lambda: _imports(("", (1 << 63) - 1)),
    "no_opset": lambda: _imports(),
    "one_domain_at_two_opsets": lambda: _imports(("", 17), ("ai.onnx", 18)),
    "a_known_domain_at_a_huge_version": lambda: _imports(("", 18), ("ai.onnx.ml", 1 << 40)),
    "a_known_domain_at_a_version_to_come": lambda: _imports(("", 18), ("ai.onnx.ml", 999)),
    "a_vendor_at_a_huge_version": lambda: _imports(("", 18), ("com.microsoft", 1 << 40)),
    "an_unknown_domain_at_a_huge_version": lambda: _imports(("", 18), ("org.example", 1 << 40)),
    **{f"{field}_that_is_no_utf_8": lambda field=field: _text_field(field) for field in (
        "producer_name", "producer_version", "domain", "doc_string", "graph.doc_string", "metadata_props",
    )},
})  # fmt: skip


@_refused
def a_device_of_zeros(folder: Path) -> Path:
    return Path("/dev/zero")


@_refused
def a_link_to_a_device(folder: Path) -> Path:
    (folder / "model.onnx").symlink_to("/dev/zero")
    return folder / "model.onnx"


@_refused
def a_link_that_leads_nowhere(folder: Path) -> Path:
    (folder / "model.onnx").symlink_to(folder / "gone.onnx")
    return folder / "model.onnx"


@_refused
def links_in_a_circle(folder: Path) -> Path:
    (folder / "a.onnx").symlink_to(folder / "model.onnx")
    (folder / "model.onnx").symlink_to(folder / "a.onnx")
    return folder / "model.onnx"


@_refused
def a_socket(folder: Path) -> Path:
    path = Path(os.path.relpath(folder / "s.onnx"))  # a socket's name may be 107 bytes long
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
    return folder / "s.onnx"


@_refused
def a_name_too_long_for_a_file(folder: Path) -> Path:
    return folder / ("n" * 5000)


@_refused
def a_name_with_controls_that_is_not_there(folder: Path) -> Path:
    return folder / "a\nerror: b\x1b[2J\u202e.onnx"


@_refused
def a_file_of_two_gigabytes_of_nothing(folder: Path) -> Path:
    path = folder / "model.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 32)
    return path


# ---- external data


def _data(**entries: object) -> ModelProto:
    return adds_stored(external("w", [4], entries))


_LOCATIONS = {
    "parent": "../secret.bin", "nested_parent": "a/b/../../../secret.bin", "hidden_parent": "./../secret.bin",
    "parent_in_the_end": "a/..", "absolute": "/etc/hostname", "double_slash": "//etc/hostname", "nul": "w.bin\0.txt",
    "backslash": "..\\secret.bin", "drive": "C:\\secret.bin", "url": "file:///etc/hostname", "marker": "*/w.bin/*",
    "wildcard": "w*.bin", "newline": "w\n.bin", "escape": "\x1b[2Jw.bin", "variable": "$HOME/../../etc/hostname",
    "home": "~/../../etc/hostname", "long": "n/" * 5000 + "w.bin", "too_long_name": "n" * 300, "folder": "sub",
    "itself_a_folder": ".", "stream": "w.bin:stream", "empty": "",
}  # fmt: skip


def _located(location: str) -> Build:
    def build(folder: Path) -> Path:
        (folder / "sub").mkdir()
        (folder / "w.bin").write_bytes(bytes(16))
        return save(folder, _data(location=location))

    return build


REFUSED.update({f"data_at_{name}": _located(location) for name, location in _LOCATIONS.items()})

def _ranged(**entries: object) -> Build:
    def build(folder: Path) -> Path:
        (folder / "w.bin").write_bytes(bytes(64))
        return save(folder, _data(**entries))

    return build


REFUSED |= {
    "data_without_a_location": _ranged(offset=0),
    "data_beyond_the_largest_number": _ranged(location="w.bin", offset=(1 << 64) - 16),
    "data_whose_end_wraps": _ranged(location="w.bin", offset=(1 << 63) - 8, length=16),
    "data_at_a_fraction": _ranged(location="w.bin", offset="0.5"),
    "data_at_a_hexadecimal": _ranged(location="w.bin", offset="0x10"),
    "data_at_arabic_digits": _ranged(location="w.bin", offset="\u0661"),
    "data_longer_than_its_shape": _ranged(location="w.bin", length=17),
}


def _linked(make: Callable[[Path], object]) -> Build:
    def build(folder: Path) -> Path:
        make(folder)
        return save(folder, _data(location="w.bin"))

    return build


def _secret(folder: Path) -> Path:
    path = folder.parent / "outside_secret.bin"
    path.write_bytes(SECRET)
    return path


REFUSED |= {
    "data_in_a_link_outside": _linked(lambda folder: (folder / "w.bin").symlink_to(_secret(folder))),
    "data_in_a_hard_link_outside": _linked(lambda folder: os.link(_secret(folder), folder / "w.bin")),
    "data_in_a_link_to_a_link": _linked(
        lambda folder: ((folder / "a").symlink_to(_secret(folder)), (folder / "w.bin").symlink_to("a"))
    ),
    "data_in_a_pipe": _linked(lambda folder: os.mkfifo(folder / "w.bin")),
    "data_in_a_folder": _linked(lambda folder: (folder / "w.bin").mkdir()),
    "data_in_a_device": _linked(lambda folder: (folder / "w.bin").symlink_to("/dev/zero")),
    "data_that_is_not_there": _linked(lambda folder: None),
    "data_of_a_process": _linked(lambda folder: (folder / "w.bin").symlink_to("/proc/self/environ")),
}


@_refused
def data_in_a_terabyte_of_nothing(folder: Path) -> Path:
    with (folder / "w.bin").open("wb") as file:
        file.truncate(1 << 40)
    return save(folder, _data(location="w.bin"))


@_refused
def data_that_claims_a_terabyte_of_nothing(folder: Path) -> Path:
    with (folder / "w.bin").open("wb") as file:
        file.truncate(1 << 40)
    return save(folder, adds_stored(external("w", [1 << 38], {"location": "w.bin"})))


@_refused
def data_in_the_model_itself(folder: Path) -> Path:
    return save(folder, _data(location="model.onnx"))


@_refused
def data_in_the_model_itself_under_another_name(folder: Path) -> Path:
    return save(folder, _data(location="model.pb"), "model.pb")


@_refused
def data_under_the_name_of_a_private_copy(folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(bytes(16))
    return save(folder, _data(location="model.onnx"), "other.onnx")


@_refused
def data_in_a_linked_folder(folder: Path) -> Path:
    _secret(folder)
    (folder / "d").symlink_to(folder.parent)
    return save(folder, _data(location="d/outside_secret.bin"))


def _bad_tensor() -> TensorProto:
    return external("", [4], {"location": "../outside_secret.bin"})


def _constant_with(tensor: TensorProto) -> onnx.NodeProto:
    return node("Constant", [], ["k"], value=tensor)


def _branching(inner: list[onnx.NodeProto], name: str = "p", **more: object) -> ModelProto:
    branch = body(inner, [port(name, None)])
    return model(
        [node("If", ["c"], ["y"], then_branch=branch, else_branch=branch, **more)],
        [port("x", (4,)), port("c", (), TensorProto.BOOL)], [port("y", None)],
    )  # fmt: skip


def _function(inner: list[onnx.NodeProto]) -> ModelProto:
    opsets = [helper.make_opsetid("", 18)]
    made = helper.make_function("local", "F", ["a"], ["b"], inner, opsets)
    return model(
        [node("F", ["x"], ["y"], domain="local")], [port("x", (4,))], [port("y", None)],
        functions=[made], domains=["local"],
    )  # fmt: skip


def _refers(op: str, inputs: list[str], outputs: list[str], **names: tuple[str, int]) -> onnx.NodeProto:
    """A node of a function that takes attributes from the call: its name of each -> the function's, and the type."""
    made = node(op, inputs, outputs)
    for name, (wanted, kind) in names.items():
        made.attribute.add(name=name, type=kind, ref_attr_name=wanted)
    return made


GRAPH, INT, INTS = onnx.AttributeProto.GRAPH, onnx.AttributeProto.INT, onnx.AttributeProto.INTS
_BOTH = {"then_branch": ("body", GRAPH), "else_branch": ("body", GRAPH)}


def _called(function: onnx.FunctionProto, **attributes: object) -> ModelProto:
    return model(
        [node("F", ["x", "c"], ["y"], domain="local", **attributes)],
        [port("x", (4,)), port("c", (), TensorProto.BOOL)], [port("y", None)], functions=[function], domains=["local"],
    )  # fmt: skip


def _defaulted(inner: list[onnx.NodeProto], initializers: Iterable[TensorProto] = ()) -> ModelProto:
    """A function whose If runs the body that stands in for an attribute which the call leaves out."""
    made = helper.make_function(
        "local", "F", ["x", "c"], ["b"], [_refers("If", ["c"], ["b"], **_BOTH)],
        [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)],
    )  # fmt: skip
    graph = helper.make_graph(inner, "default", [], [port("o", None)], list(initializers))
    made.attribute_proto.append(helper.make_attribute("body", graph))
    return _called(made)


def _referring(inner: list[onnx.NodeProto], **attributes: object) -> ModelProto:
    """A call of a function whose nodes take attributes from it."""
    opsets = [helper.make_opsetid("", 18)]
    return _called(helper.make_function("local", "F", ["x", "c"], ["b"], inner, opsets, list(attributes)), **attributes)


def _many_bodies() -> ModelProto:
    """2,000 Ifs, each of which takes twice a body of 3,000 nodes from the call."""
    names = ["x", *(f"v{place}" for place in range(2999)), "o"]
    large = body([node("Neg", [before], [after]) for before, after in pairwise(names)], [port("o", None)])
    ifs = [_refers("If", ["c"], [f"b{place}" if place else "b"], **_BOTH) for place in range(2000)]
    return _referring(ifs, body=large)


def _if_sparse() -> onnx.NodeProto:
    branch = body([node("Identity", ["w"], ["o"])], [port("o", None)])
    branch.sparse_initializer.append(SparseTensorProto(
        values=external("w", [1], {"location": "../outside_secret.bin"}), indices=stored("", [0], np.int64), dims=[4],
    ))  # fmt: skip
    return node("If", ["a"], ["b"], then_branch=branch, else_branch=branch)


def _wide(rank: int) -> TensorProto:
    return TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 62] * rank)


def _sparse(values: TensorProto, indices: TensorProto, dims: Sequence[int] = (4,)) -> ModelProto:
    made = adds_stored(stored("unused", [0.0]))
    made.graph.sparse_initializer.append(SparseTensorProto(values=values, indices=indices, dims=dims))
    return made


def _named(tensor: TensorProto, name: str) -> TensorProto:
    tensor.name = name
    return tensor


_all_refused({
    "escaping_data_in_a_constant": lambda: model(
        [_constant_with(_bad_tensor()), node("Add", ["x", "k"], ["y"])], [port("x", (4,))], [port("y", None)]
    ),
    "escaping_data_in_a_branch": lambda: _branching([_constant_with(_bad_tensor()), node("Add", ["x", "k"], ["p"])]),
    "escaping_data_in_a_function": lambda: _function([_constant_with(_bad_tensor()), node("Add", ["a", "k"], ["b"])]),
    "escaping_data_in_a_sparse_tensor": lambda: _sparse(
        _named(external("w", [1], {"location": "../outside_secret.bin"}), "w"), stored("", [0], np.int64)
    ),
    "escaping_data_in_a_default_of_a_function": lambda: _defaulted(
        [node("Identity", ["w"], ["o"])], [external("w", [4], {"location": "../outside_secret.bin"})]
    ),
    "escaping_data_in_a_sparse_tensor_of_a_function": lambda: _function([_if_sparse()]),
    "a_sparse_tensor_of_terabytes": lambda: _sparse(stored("w", [1.0]), stored("", [0], np.int64), [1 << 40]),
    "a_sparse_tensor_whose_values_are_no_list": lambda: _sparse(stored("w", [[1.0]]), stored("", [0], np.int64)),
    "a_sparse_tensor_of_400_dimensions": lambda: _sparse(_wide(400), stored("", [0], np.int64)),
    "a_sparse_tensor_of_600000_dimensions": lambda: _sparse(_wide(600_000), stored("", [0], np.int64)),
    "strings_that_are_no_utf_8": lambda: adds_stored(
        TensorProto(name="w", data_type=TensorProto.STRING, dims=[1], string_data=[b"\xff\xfe\x1b[31m"])
    ),
    "a_sparse_index_outside_its_shape": lambda: _sparse(stored("w", [1.0]), stored("", [4], np.int64)),
    "escaping_data_in_sparse_indices": lambda: _sparse(
        stored("w", [1.0]),
        TensorProto(
            data_type=TensorProto.INT64, dims=[1], data_location=TensorProto.EXTERNAL,
            external_data=[onnx.StringStringEntryProto(key="location", value="../outside_secret.bin")],
        ),
    ),
})  # fmt: skip


# ---- graphs


def _two(first: str, second: str) -> ModelProto:
    return model([node("Neg", ["x"], [first]), node("Neg", ["x"], [second])], [port("x")], [port("y")])


def _deep(levels: int) -> bytes:
    """An If in an If in an If, put together as bytes: no writer goes so deep."""

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), bytearray()
        while size > 127:
            length.append(size & 127 | 128)
            size >>= 7
        return bytes([number << 3 | 2, *length, size]) + content

    graph = field(2, b"g")
    for _ in range(levels):
        attribute = field(1, b"then_branch") + b"\xa0\x01\x05" + field(6, graph)
        graph = field(1, field(1, b"c") + field(4, b"If") + field(5, attribute))
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x11")


def _laughs(count: int) -> ModelProto:
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    functions = [
        helper.make_function(
            "local", f"F{level}", ["a"], ["b"],
            [node(f"F{level - 1}" if level else "Neg", ["a"], ["m"], domain="local" if level else ""),
             node(f"F{level - 1}" if level else "Neg", ["m"], ["b"], domain="local" if level else "")],
            opsets,
        )
        for level in range(count)
    ]  # fmt: skip
    call = node(f"F{count - 1}", ["x"], ["y"], domain="local")
    return model([call], [port("x")], [port("y")], functions=functions, domains=["local"])


def _typed(made: ModelProto, elem_type: int) -> ModelProto:
    made.graph.output[0].type.tensor_type.elem_type = elem_type
    return made


def _not_utf8(where: str) -> bytes:
    return relu("zz").SerializeToString().replace(b"zz" if where == "tensor" else b"relu", b"\xff\xfe" * (
        1 if where == "tensor" else 2
    ))  # fmt: skip


def _body_port(name: str, elem_type: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return port(name, None, elem_type)


def _loop(outputs: list[str], inputs: list[str]) -> ModelProto:
    inner = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Neg", ["v"], ["w"])], "b",
        [_body_port("i", TensorProto.INT64), _body_port("go", TensorProto.BOOL), _body_port("v")],
        [_body_port("on", TensorProto.BOOL), _body_port("w")],
    )  # fmt: skip
    return model(
        [node("Loop", inputs, outputs, body=inner)], [port("x")], [port("y")], [stored("n", 3, np.int64)]
    )


_all_refused({
    "one_name_for_two_values": lambda: _two("y", "y"),
    "a_value_that_hides_an_input": lambda: _two("x", "y"),
    "two_initializers_of_one_name": lambda: model(
        [node("Add", ["x", "w"], ["y"])], [port("x")], [port("y")], [stored("w", [1.0]), stored("w", [2.0])]
    ),
    "two_inputs_of_one_name": lambda: model([node("Add", ["x", "x"], ["y"])], [port("x"), port("x")], [port("y")]),
    "two_outputs_of_one_name": lambda: model([node("Neg", ["x"], ["y"])], [port("x")], [port("y"), port("y")]),
    "an_output_without_a_name": lambda: model([node("Neg", ["x"], ["y"])], [port("x")], [port("")]),
    "an_input_without_a_name": lambda: model([node("Neg", ["x"], ["y"])], [port("x"), port("")], [port("y")]),
    "an_output_of_another_type": lambda: _typed(relu(), TensorProto.INT64),
    "an_output_of_no_known_type": lambda: _typed(relu(), 999),
    "a_node_that_feeds_itself": lambda: model([node("Add", ["x", "y"], ["y"])], [port("x")], [port("y")]),
    "no_outputs": lambda: model([node("Neg", ["x"], ["y"])], [port("x")], []),
    "a_thousand_attributes_of_one_name": lambda: model(
        [onnx.NodeProto(op_type="Relu", input=["x"], output=["y"], attribute=[helper.make_attribute("a", 1)] * 1000)],
        [port("x")], [port("y")],
    ),
    "an_attribute_nobody_knows": lambda: model([node("Relu", ["x"], ["y"], alpha=1.0)], [port("x")], [port("y")]),
    "an_omitted_operand": lambda: model([node("Add", ["x", ""], ["y"])], [port("x")], [port("y")]),
    "a_branch_with_too_few_outputs": lambda: model(
        [node("If", ["c"], ["y", "z"], then_branch=body([node("Neg", ["x"], ["p"])], [port("p")]),
              else_branch=body([node("Neg", ["x"], ["p"])], [port("p")]))],
        [port("x"), port("c", (), TensorProto.BOOL)], [port("y")],
    ),
    "a_loop_that_carries_more_than_it_takes": lambda: _loop(["y"], ["n", "", "x", "x"]),
    "a_loop_that_gives_more_than_its_body": lambda: _loop(["y", "z"], ["n", "", "x"]),
    "bodies_nested_5000_deep": lambda: _deep(5000),
    "bodies_nested_45_deep": lambda: _deep(45),
    "functions_that_call_each_other_twice_24_times": lambda: _laughs(24),
    "a_function_that_calls_itself": lambda: _function([node("F", ["a"], ["b"], domain="local")]),
    "a_body_that_2000_nodes_take_from_the_call": _many_bodies,
    "a_default_that_calls_its_function": lambda: _defaulted([node("F", ["x", "c"], ["o"], domain="local")]),
    "a_default_that_refers_to_itself": lambda: _defaulted([_refers("If", ["c"], ["o"], **_BOTH)]),
    "a_default_with_an_operator_that_is_no_utf_8": lambda: no_utf8(_defaulted([node("QQQQ", ["x"], ["o"])])),
    "a_default_with_an_unknown_operator": lambda: _defaulted([node("Run", ["x"], ["o"])]),
    "a_function_at_a_huge_version": lambda: _called(helper.make_function(
        "local", "F", ["x", "c"], ["b"], [node("Scaler", ["x"], ["b"], domain="ai.onnx.ml")],
        [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 1 << 40)],
    )),
    "strides_0_through_a_function": lambda: _referring(
        [_refers("LpPool", ["x"], ["b"], strides=("s", INTS), kernel_shape=("k", INTS))], k=[1, 1], s=[0, 0]
    ),
    "an_attribute_of_another_type_through_a_function": lambda: _referring(
        [_refers("Concat", ["x", "x"], ["b"], axis=("k", INT))], k=1.5
    ),
    "an_operand_left_out_through_a_function": lambda: model(
        [node("F", ["x"], ["y"], domain="local")], [port("x")], [port("y")], domains=["local"],
        functions=[helper.make_function(
            "local", "F", ["a", "z"], ["b"], [node("Add", ["a", "z"], ["b"])], [helper.make_opsetid("", 18)]
        )],
    ),
    "a_domain_that_looks_like_a_vendor_s": lambda: model(
        [node("Run", ["x"], ["y"], domain="com.microsoft.example")], [port("x")], [port("y")],
        domains=["com.microsoft.example"],
    ),
    "a_padding_of_a_mode_that_nobody_knows": lambda: model(
        [node("Pad", ["x", "p"], ["y"], mode="\x1b[31m\u202e")], [port("x")], [port("y", None)],
        [stored("p", [0] * 4, np.int64)],
    ),
    "text_of_an_attribute_that_is_no_utf_8": lambda: model(
        [node("Conv", ["x", "w"], ["y"], auto_pad=b"\x1b[31m\xff")], [port("x", (1, 3, 8, 8))], [port("y", None)],
        [stored("w", np.ones((4, 3, 3, 3)))],
    ),
    "the_lowest_integer_modulo_minus_one": lambda: model(
        [node("Mod", ["k", "z"], ["a"]), node("Add", ["a", "x"], ["y"])],
        [port("x", (4,), TensorProto.INT64)], [port("y", (4,), TensorProto.INT64)],
        [stored("k", [-(1 << 63)] * 4, np.int64), stored("z", [-1] * 4, np.int64)],
    ),
    "a_name_of_a_tensor_that_is_no_utf_8": lambda: _not_utf8("tensor"),
    "a_name_of_a_node_that_is_no_utf_8": lambda: _not_utf8("node"),
    "negative_dimensions_of_a_stored_tensor": lambda: adds_stored(
        TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-4], raw_data=bytes(16))
    ),
    "more_elements_than_64_bits_count": lambda: adds_stored(
        TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 40, 1 << 40])
    ),
    "a_tensor_of_65_dimensions": lambda: adds_stored(
        TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1] * 65, raw_data=bytes(4))
    ),
    "an_unknown_domain": lambda: model(
        [node("Run", ["x"], ["y"], domain="org.example")], [port("x")], [port("y")], domains=["org.example"]
    ),
    "group_0": lambda: model(
        [node("Conv", ["x", "w"], ["y"], group=0)], [port("x", (1, 3, 8, 8))], [port("y", None)],
        [stored("w", np.ones((4, 3, 3, 3)))],
    ),
    "an_output_that_is_a_sequence": lambda: model(
        [node("SequenceConstruct", ["x"], ["y"])], [port("x")],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    ),
    "an_output_that_is_optional": lambda: model(
        [node("Optional", ["x"], ["y"])], [port("x")],
        [helper.make_value_info("y", helper.make_optional_type_proto(
            helper.make_tensor_type_proto(TensorProto.FLOAT, None)))],
    ),
    "an_input_that_is_a_sequence": lambda: model(
        [node("ConcatFromSequence", ["x"], ["y"], axis=0)],
        [helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)], [port("y", None)],
    ),
    "an_input_of_strings_that_nobody_gave": lambda: model(
        [node("Identity", ["x"], ["y"])], [port("x", (1,), TensorProto.STRING)], [port("y", (1,), TensorProto.STRING)]
    ),
    "an_input_without_a_rank": lambda: relu(shape=None),
    "an_input_of_too_many_elements": lambda: relu(shape=(1 << 20, 1 << 20)),
    "open_sizes_that_matter": lambda: model(
        [node("MatMul", ["x", "x"], ["y"])], [port("x", ("n", "n"))], [port("y", None)]
    ),
})  # fmt: skip


# ---- legal, if odd


def _divided(numbers: list[int], by: list[int], op: str = "Div") -> ModelProto:
    return model(
        [node("Cast", ["x"], ["i"], to=TensorProto.INT32), node("Mul", ["i", "zero"], ["z"]),
         node("Add", ["z", "a"], ["n"]), node(op, ["n", "b"], ["y"])],
        [port("x", (2,))], [port("y", (2,), TensorProto.INT32)],
        [stored("zero", [0, 0], np.int32), stored("a", numbers, np.int32), stored("b", by, np.int32)],
    )  # fmt: skip


def _conv(weights: np.ndarray) -> ModelProto:
    return model(
        [node("Conv", ["x", "w"], ["c"]), node("Relu", ["c"], ["y"])], [port("x", (1, 3, 8, 8))], [port("y", None)],
        [stored("w", weights)],
    )  # fmt: skip


def _through(name: str) -> ModelProto:
    return model([node("Neg", ["x"], [name]), node("Neg", [name], ["y"])], [port("x")], [port("y")])


_all_legal({
    "the_smallest_integer_by_minus_one": lambda: _divided([-(1 << 31), 7], [-1, -1]),
    "a_zero_sized_dimension": lambda: model(
        [node("Slice", ["x", "o", "o"], ["e"]), node("Neg", ["e"], ["n"]), node("Concat", ["n", "x"], ["y"], axis=0)],
        [port("x", (3, 2))], [port("y", None)], [stored("o", [0], np.int64)],
    ),
    "negative_zeros": lambda: _conv(np.full((4, 3, 3, 3), -0.0)),
    "a_model_without_inputs": lambda: model(
        [node("Neg", ["w"], ["y"])], [], [port("y", (2,))], [stored("w", [1.0, -0.0])]
    ),
    "an_output_that_is_an_input": lambda: model([node("Neg", ["x"], ["y"])], [port("x")], [port("y"), port("x")]),
    "an_output_that_is_stored": lambda: model(
        [node("Neg", ["x"], ["y"])], [port("x")], [port("y"), port("w", (2,))], [stored("w", [1.0, 2.0])]
    ),
    "scalars": lambda: model([node("Neg", ["x"], ["y"])], [port("x", ())], [port("y", ())]),
    "a_name_of_ten_kilobytes": lambda: _through("n" * 10_000),
    "a_name_with_controls_and_marks": lambda: _through("a\x00\x1b[2J\u202e\ud7ff\ufffe\n<script>alert(1)</script>"),
    "names_that_look_alike_as_files": lambda: model(
        [node("Neg", ["x"], ["a/b"]), node("Neg", ["a/b"], ["a_b"]), node("Neg", ["a_b"], ["../y"])],
        [port("x")], [port("../y")],
    ),
    "imports_that_no_node_needs": lambda: _imports(
        ("", 18), ("com.microsoft", 1), ("com.microsoft.nchwc", 1), ("com.ms.internal.nhwc", 22), ("ai.onnx.ml", 5),
        ("ai.onnx.training", 1), ("ai.onnx.preview.training", 1), ("org.pytorch.aten", 1),
        ("pkg.onnxscript.torch_lib", 1), ("pkg.torch.2.5.0", 1),
    ),
    "every_size_symbolic": lambda: relu(shape=("N", "C", "H", "W")),
})  # fmt: skip


# ---- without an end


def endless(kind: str) -> ModelProto:
    """A Loop that goes on for ever: by its own word, after 2**63 trips, or because a value stays what it is."""
    steps = {
        "a_condition_that_stays_true": [node("Identity", ["go"], ["on"])],
        "the_most_trips_there_are": [node("Identity", ["go"], ["on"])],
        "a_value_that_never_turns": [node("ReduceSum", ["v"], ["s"], keepdims=0), node("Mul", ["s", "zero"], ["o"]),
                                     node("Less", ["o", "one"], ["on"])],
    }[kind]  # fmt: skip
    inner = helper.make_graph(
        [*steps, node("Neg", ["v"], ["w"])], "b",
        [_body_port("i", TensorProto.INT64), _body_port("go", TensorProto.BOOL), _body_port("v")],
        [_body_port("on", TensorProto.BOOL), _body_port("w")],
        [stored("zero", 0.0), stored("one", 1.0)],
    )  # fmt: skip
    trips = "n" if kind == "the_most_trips_there_are" else ""
    return model(
        [node("Loop", [trips, "t", "x"], ["y"], body=inner)], [port("x")], [port("y")],
        [stored("n", (1 << 63) - 1, np.int64), stored("t", True, np.bool_)],
    )  # fmt: skip


def bomb(op: str) -> ModelProto:
    """A few bytes that ask for terabytes."""
    large = stored("l", [1 << 40], np.int64)
    nodes = {
        "ConstantOfShape": [node("ConstantOfShape", ["l"], ["b"])],
        "Expand": [node("Expand", ["x", "l"], ["b"])],
        "Tile": [node("Tile", ["x", "l"], ["b"])],
        "Range": [node("Squeeze", ["l"], ["e"]), node("Range", ["nil", "e", "one"], ["r"]),
                  node("Cast", ["r"], ["b"], to=TensorProto.FLOAT)],
        "Pad": [node("Concat", ["l", "l"], ["p"], axis=0), node("Pad", ["x", "p"], ["b"])],
        "Loop": [node("Loop", ["forty", "", "x"], ["b"], body=_doubling())],
    }[op]  # fmt: skip
    return model(
        [*nodes, node("ReduceMax", ["b"], ["m"], keepdims=1), node("Add", ["x", "m"], ["y"])],
        [port("x", (1,))], [port("y", None)],
        [large, stored("nil", 0, np.int64), stored("one", 1, np.int64), stored("forty", 40, np.int64)],
    )  # fmt: skip


def _doubling() -> GraphProto:
    return helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Concat", ["v", "v"], ["w"], axis=0)], "b",
        [_body_port("i", TensorProto.INT64), _body_port("go", TensorProto.BOOL), _body_port("v")],
        [_body_port("on", TensorProto.BOOL), _body_port("w")],
    )  # fmt: skip


def chain(length: int) -> ModelProto:
    """So many nodes one after the other."""
    names = ["x", *(f"t{place}" for place in range(length - 1)), "y"]
    nodes = [node("Neg", [before], [after]) for before, after in pairwise(names)]
    return model(nodes, [port("x")], [port("y")])
