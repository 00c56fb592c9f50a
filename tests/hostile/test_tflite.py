"""TFLite files that are broken or hostile are refused in one line, before an interpreter sees them."""

from __future__ import annotations

import functools
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusing import refused

from sysnoise_conform.deployed import tflite as reader
from sysnoise_conform.deployed.tflite_operators import KINDS
from sysnoise_conform.deployed.tflite_schema import LAST_BUILTIN
from sysnoise_conform.errors import BadModel

pytest.importorskip("ai_edge_litert")

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from deployed_files import WEIGHTS, add_graph, add_model, buffer, original, packed, tensor, tflite

Spoil = Callable[[Any], object]


def first(model: Any) -> Any:
    return model.subgraphs[0]


def operator(model: Any) -> Any:
    return model.subgraphs[0].operators[0]


def set_on(pick: Callable[[Any], Any], **values: Any) -> Spoil:
    def spoil(model: Any) -> None:
        for name, value in values.items():
            assert hasattr(pick(model), name)
            setattr(pick(model), name, value)

    return spoil


def weights(model: Any) -> Any:
    return first(model).tensors[1]


def itself(model: Any) -> Any:
    return model


def coded(model: Any, number: int) -> int:
    """One operator code more; its index."""
    code = schema.OperatorCodeT()
    code.version, code.builtinCode = 1, number
    code.deprecatedBuiltinCode = min(number, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def calls(*targets: int) -> Spoil:
    """As many graphs as `targets`, each of which calls the one that is named."""

    def spoil(model: Any) -> None:
        code = coded(model, schema.BuiltinOperator.WHILE)
        model.subgraphs = [add_graph() for _ in targets]
        for graph, target in zip(model.subgraphs, targets, strict=True):
            options = schema.WhileOptionsT()
            options.condSubgraphIndex = options.bodySubgraphIndex = target
            graph.operators[0].opcodeIndex = code
            graph.operators[0].builtinOptionsType = schema.BuiltinOptions.WhileOptions
            graph.operators[0].builtinOptions = options

    return spoil


def quantised(**values: Any) -> Spoil:
    def spoil(model: Any) -> None:
        found = weights(model).quantization = schema.QuantizationParametersT()
        for name, value in values.items():
            assert hasattr(found, name)
            setattr(found, name, value)

    return spoil


def signed(graph: int, index: int) -> Spoil:
    def spoil(model: Any) -> None:
        entry, signature = schema.TensorMapT(), schema.SignatureDefT()
        entry.name, entry.tensorIndex = "in", index
        signature.inputs, signature.outputs, signature.signatureKey = [entry], [], "serving"
        signature.subgraphIndex = graph
        model.signatureDefs = [signature]

    return spoil


def blockwise(**values: int) -> Spoil:
    def spoil(model: Any) -> None:
        details = schema.BlockwiseQuantizationT()
        details.scales, details.zeroPoints, details.blockSize = 1, -1, 2
        for name, value in values.items():
            setattr(details, name, value)
        quantised(detailsType=schema.QuantizationDetails.BlockwiseQuantization, details=details)(model)

    return spoil


def strings(data: bytes) -> Spoil:
    def spoil(model: Any) -> None:
        first(model).tensors.append(tensor("words", 2, (2,), kind=schema.TensorType.STRING))
        model.buffers.append(buffer(data))

    return spoil


def external(model: Any) -> None:
    found = schema.ExternalBufferT()
    found.id, found.group, found.offset, found.length, found.packing = 1, 0, 0, 16, ""
    group = schema.ExternalBufferGroupT()
    group.name = "/etc/hostname"
    model.externalBufferGroups, model.externalBuffers = [group], [found]


def becomes(name: str, options: str | None = None, **values: int) -> Spoil:
    """The operator is this one, with options of this name and these values in them."""

    def spoil(model: Any) -> None:
        operator(model).opcodeIndex = coded(model, getattr(schema.BuiltinOperator, name))
        made = None if options is None else getattr(schema, f"{options}T")()
        for field, value in values.items():
            assert hasattr(made, field)
            setattr(made, field, value)
        operator(model).builtinOptions = made
        operator(model).builtinOptionsType = 0 if options is None else getattr(schema.BuiltinOptions, options)

    return spoil


def convolves(**values: int) -> Spoil:
    return becomes("CONV_2D", "Conv2DOptions", **({"strideW": 1, "strideH": 1} | values))


def pools(**values: int) -> Spoil:
    ones = dict.fromkeys(("strideW", "strideH", "filterWidth", "filterHeight"), 1)
    return becomes("MAX_POOL_2D", "Pool2DOptions", **(ones | values))


def reads_ahead(model: Any) -> None:
    """The first of two operators reads what the second makes."""
    first(model).tensors.append(tensor("z"))
    later = add_graph().operators[0]
    later.outputs = [3]
    operator(model).inputs = [0, 3]
    first(model).operators.append(later)


def twice(model: Any) -> None:
    """The same operator again."""
    first(model).operators.append(add_graph().operators[0])


def metadata(model: Any) -> None:
    found = schema.MetadataT()
    found.name, found.buffer = "m", 77
    model.metadata = [found]


REFUSED: dict[str, tuple[Spoil, str]] = {
    "output-of-an-operator": (set_on(operator, outputs=[10**6]), "no number 1000000"),
    "negative-output-of-an-operator": (set_on(operator, outputs=[-1]), "no number -1"),
    "input-of-an-operator": (set_on(operator, inputs=[0, 3]), "no number 3"),
    "input-before-the-first": (set_on(operator, inputs=[0, -2]), "no number -2"),
    "intermediate-tensor": (set_on(operator, intermediates=[99]), "no number 99"),
    "code-of-an-operator": (set_on(operator, opcodeIndex=1), "an operator's code"),
    "input-of-the-graph": (set_on(first, inputs=[3]), "the inputs of a graph"),
    "output-of-the-graph": (set_on(first, outputs=[-1]), "the outputs of a graph"),
    "buffer-of-a-tensor": (set_on(weights, buffer=2), "the buffer of the tensor 'w'"),
    "short-buffer": (lambda model: model.buffers.__setitem__(1, buffer(b"123")), "needs 16 bytes, its buffer has 3"),
    "long-buffer": (lambda model: model.buffers.__setitem__(1, buffer(bytes(17))), "its buffer has 17"),
    "negative-size": (set_on(weights, shape=[-1, 4]), "impossible shape"),
    "sizes-that-wrap": (set_on(weights, shape=[1 << 30] * 5), "the limit is"),
    "huge-shape": (set_on(weights, shape=[30000, 30000, 30]), "the limit is"),
    "rank-without-end": (set_on(weights, shape=[1] * 1000), "impossible shape"),
    "signature-of-another-rank": (set_on(weights, shapeSignature=[1, 4, 1]), "impossible shape"),
    "unknown-type": (set_on(weights, type=99), "has the type 99"),
    "sparse": (set_on(weights, sparsity=schema.SparsityParametersT()), "stored sparse"),
    "tensor-in-another-file": (set_on(weights, externalBuffer=1), "lies in another file"),
    "weights-in-another-file": (external, "in other files"),
    "writes-to-a-constant": (set_on(operator, outputs=[1]), "writes to a constant"),
    "writes-to-an-input": (set_on(operator, outputs=[0]), "ADD writes to a tensor that is an input"),
    "two-write-one": (twice, "ADD writes to a tensor that is an input, or that was written before"),
    "one-writes-twice": (set_on(operator, outputs=[2, 2]), "or that was written before"),
    "constant-as-input": (set_on(first, inputs=[1]), "is a constant"),
    "calls-a-graph-that-is-not-there": (calls(7), "there is no number 7"),
    "calls-itself": (calls(0), "in a circle"),
    "calls-in-a-circle": (calls(1, 2, 0), "in a circle"),
    "no-graph": (set_on(itself, subgraphs=[]), "holds no graph"),
    "other-version": (set_on(itself, version=4), "of version 4"),
    "data-in-buffer-0": (lambda model: model.buffers.__setitem__(0, buffer(bytes(16))), "buffer 0"),
    "data-behind-the-end": (set_on(lambda model: model.buffers[1], data=None, offset=1 << 20, size=16), "the file has"),
    "data-that-wraps": (set_on(lambda m: m.buffers[1], data=None, offset=(1 << 64) - 8, size=16), "the file has"),
    "custom-options-outside": (set_on(operator, largeCustomOptionsOffset=1 << 40), "custom options"),
    "metadata-buffer": (metadata, "the metadata's buffer"),
    "metadata-buffers": (set_on(itself, metadataBuffer=[-5]), "the metadata's buffers"),
    "signature-of-no-graph": (signed(3, 0), "a signature's graph"),
    "signature-of-no-tensor": (signed(0, 8), "a signature's tensors"),
    "zero-points": (quantised(scale=[1.0], zeroPoint=[0, 0]), "1 scales and 2 zero points"),
    "axis-of-quantisation": (quantised(scale=[1.0] * 4, zeroPoint=[0] * 4, quantizedDimension=5), "the dimension 5"),
    "scales-along-the-axis": (quantised(scale=[1.0] * 3, zeroPoint=[0] * 3, quantizedDimension=1), "has 3 scales"),
    "scales-in-no-tensor": (blockwise(scales=50), "the scales of"),
    "zero-points-in-no-tensor": (blockwise(zeroPoints=50), "the zero points of"),
    "blocks-of-less-than-nothing": (blockwise(blockSize=-2), "in blocks of -2"),
    "strings-beyond-the-buffer": (strings(struct.pack("<4i", 2, 16, 20, 400) + b"abcd"), "holds strings"),
    "strings-backwards": (strings(struct.pack("<4i", 2, 16, 12, 20) + b"abcd"), "holds strings"),
    "strings-by-number": (strings(struct.pack("<i", 1 << 30)), "holds strings"),
    "operator-from-the-future": (set_on(lambda m: m.operatorCodes[0], builtinCode=9999), "the operator 9999"),
    "custom-without-a-name": (set_on(lambda m: m.operatorCodes[0], builtinCode=32), "without a name"),
    "operands-left-out": (set_on(operator, inputs=[-1, -1]), "ADD is not given its operand 0"),
    "second-operand-left-out": (set_on(operator, inputs=[0, -1]), "ADD is not given its operand 1"),
    "no-operands": (set_on(operator, inputs=[]), "ADD has 0 operands, it takes 2"),
    "one-operand": (set_on(operator, inputs=[0]), "ADD has 1 operands, it takes 2"),
    "no-outputs-of-an-operator": (set_on(operator, outputs=[]), "ADD gives nothing"),
    "no-outputs": (set_on(first, outputs=[]), "has no outputs"),
    "reads-its-own-output": (set_on(operator, inputs=[2, 1]), "ADD reads the tensor 'y', which nothing before it"),
    "reads-what-is-made-later": (reads_ahead, "ADD reads the tensor 'z', which nothing before it"),
    "nobody-makes-the-output": (set_on(first, operators=[]), "nothing makes the tensor 'y'"),
    "options-of-another-operator": (becomes("ADD", "Conv2DOptions"), "ADD has the options of another"),
    "options-of-one-that-has-none": (becomes("RELU", "AddOptions"), "RELU has the options of another"),
    "convolution-without-options": (becomes("CONV_2D"), "CONV_2D has no options"),
    "convolution-in-steps-of-0": (convolves(strideH=0), "CONV_2D has stride_h = 0"),
    "convolution-backwards": (convolves(strideW=-1), "CONV_2D has stride_w = -1"),
    "convolution-dilated-by-0": (convolves(dilationWFactor=0), "CONV_2D has dilation_w = 0"),
    "pool-in-steps-of-0": (pools(strideW=0), "MAX_POOL_2D has stride_w = 0"),
    "pool-of-nothing": (pools(filterHeight=0), "MAX_POOL_2D has filter_height = 0"),
    "blocks-of-0": (becomes("DEPTH_TO_SPACE", "DepthToSpaceOptions"), "DEPTH_TO_SPACE has block_size = 0"),
    "terminal-escapes-in-a-name": (set_on(weights, name="\x1b[2J\u202ew", shape=[9]), "needs 36 bytes"),
}


def of_the_shape(name: str, options: str | None, operands: list[list[int]], size: int, **values: int) -> Any:
    """y = the operator over the shape of x and these constants; y's tensor has values in the file."""
    model, kind = add_model(), schema.TensorType.INT32
    graph, shape = first(model), add_graph().operators[0]
    graph.tensors[1:] = [tensor("shape", 0, (2,), kind)]
    for each in operands:
        model.buffers.append(buffer(np.array(each, np.int32).tobytes()))
        graph.tensors.append(tensor(f"c{len(graph.tensors)}", len(model.buffers) - 1, (len(each),), kind))
    model.buffers.append(buffer(np.full(size, 77, np.int32).tobytes()))
    graph.tensors.append(tensor("y", len(model.buffers) - 1, (size,), kind))
    becomes(name, options, **values)(model)
    operator(model).inputs, operator(model).outputs = [*range(1, 2 + len(operands))], [len(graph.tensors) - 1]
    shape.opcodeIndex, shape.inputs, shape.outputs = coded(model, schema.BuiltinOperator.SHAPE), [0], [1]
    shape.builtinOptions, shape.builtinOptionsType = schema.ShapeOptionsT(), schema.BuiltinOptions.ShapeOptions
    shape.builtinOptions.outType = kind
    graph.operators.insert(0, shape)
    graph.outputs = [len(graph.tensors) - 1]
    return model


@pytest.mark.parametrize(
    ("name", "options", "operands", "right"),
    [
        ("GATHER", "GatherOptions", [[1, 0, 1]], [4, 1, 4]),
        ("CONCATENATION", "ConcatenationOptions", [[5, 6]], [1, 4, 5, 6]),
        ("STRIDED_SLICE", "StridedSliceOptions", [[1], [2], [1]], [4]),
        ("MUL", "MulOptions", [[2, 3]], [2, 12]),
        ("BROADCAST_ARGS", None, [[3, 1, 4]], [3, 1, 4]),
    ],
)
def test_what_follows_from_a_shape_may_overwrite_values_that_a_converter_left(
    name: str, options: str | None, operands: list[list[int]], right: list[int], tmp_path: Path
) -> None:
    """The interpreter computes it before the first run: no value of the file is seen, and nothing falls over."""
    path = tflite(tmp_path, packed(of_the_shape(name, options, operands, len(right))))

    reader.read(path, False)

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist() == right


def test_another_operator_on_a_shape_may_not(tmp_path: Path) -> None:
    """LiteRT 2.3.0 ends the process over it."""
    with pytest.raises(BadModel, match="writes to a constant"):
        reader.read(tflite(tmp_path, packed(of_the_shape("ADD", "AddOptions", [[2, 3]], 2))), False)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_file_whose_parts_contradict_each_other_is_refused(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, words = REFUSED[case]
    model = add_model()
    spoil(model)

    told = refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", tflite(tmp_path, packed(model)))

    assert "'model.tflite' is no sound .tflite file" in told
    assert words in told


@pytest.mark.parametrize(
    "data",
    [b"", b"TFL3", b"\x1c\0\0\0TFL3", bytes(64), b"PK\x03\x04" + bytes(60), b"\xff\xff\xff\xffTFL3" + bytes(60)],
    ids=["empty", "short", "points-outside", "zeros", "zip", "points-far-outside"],
)
def test_a_file_that_is_no_tflite_is_refused(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", tflite(tmp_path, data))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = packed(add_model())
    for length in range(len(whole)):
        with pytest.raises(BadModel):
            reader.read(tflite(tmp_path, whole[:length]), False)


def test_what_is_no_regular_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    (tmp_path / "folder.tflite").mkdir()
    (tmp_path / "zero.tflite").symlink_to("/dev/zero")
    cases = (("pipe", "a named pipe"), ("folder", "a folder"), ("zero", "a character device"), ("a\nb", "no such"))
    for name, words in cases:
        told = refused(
            capsys, tmp_path, "--model", original(tmp_path), "--deployed", tmp_path / f"{name}.tflite"
        )
        assert words in told


def test_options_that_are_not_known_are_refused_not_skipped(tmp_path: Path) -> None:
    data = bytearray(packed(add_model()))
    at = [i for i in range(len(data)) if data[i] == schema.BuiltinOptions.AddOptions]
    told = set()
    for each in at:
        spoiled = bytearray(data)
        spoiled[each] = 200
        try:
            reader.read(tflite(tmp_path, bytes(spoiled)), False)
        except BadModel as err:
            told.add(str(err))

    assert any("of the type 200" in each for each in told)


def shared(part: Any) -> Any:
    """The part, written once however often it is listed."""
    part.Pack = functools.cache(part.Pack)
    return part


def test_a_list_that_names_one_part_very_often_costs_no_time(tmp_path: Path) -> None:
    model = add_model()
    model.subgraphs = [shared(first(model))] * 50_000
    first(model).operators = [shared(operator(model))] * 50_000
    first(model).tensors += [shared(tensor("t", shape=(1,) * 32))] * 50_000
    began = time.monotonic()

    reader.read(tflite(tmp_path, packed(model)), False)

    assert time.monotonic() - began < 10


def test_optional_inputs_open_sizes_and_graphs_that_call_graphs_are_read(tmp_path: Path) -> None:
    model = add_model()
    calls(1, 2, 2)(model)
    model.subgraphs[2].operators[0].opcodeIndex = coded(model, schema.BuiltinOperator.FULLY_CONNECTED)
    model.subgraphs[2].operators[0].inputs = [0, 1, -1]
    model.subgraphs[2].operators[0].builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    model.subgraphs[2].operators[0].builtinOptions = schema.FullyConnectedOptionsT()
    first(model).tensors[0].shapeSignature = [-1, 4]
    strings(struct.pack("<4i", 2, 16, 18, 20) + b"abcd")(model)
    quantised(scale=[1.0] * 4, zeroPoint=[0] * 4, quantizedDimension=1)(model)
    signed(0, 0)(model)

    found = reader.read(tflite(tmp_path, packed(model)), False).interface

    assert [(each.names, each.shape, each.elem_type) for each in found.inputs] == [(("x", "in"), (None, 4), "FLOAT32")]
    assert found.tensors == {"x", "w", "y", "in", "words"}


@pytest.mark.parametrize(
    "spoil",
    [convolves(), convolves(strideW=3, dilationHFactor=2), pools(), becomes("ADD")],
    ids=["conv", "strided conv", "pool", "add"],
)
def test_windows_with_steps_and_options_left_to_their_defaults_are_read(spoil: Spoil, tmp_path: Path) -> None:
    model = add_model()
    spoil(model)

    reader.read(tflite(tmp_path, packed(model)), False)


def test_what_has_a_value_without_being_made_may_be_read(tmp_path: Path) -> None:
    """A variable, a list without elements, and the operand that RESHAPE keeps for its shape."""
    variable, nothing, shape = add_model(), add_model(), add_model()
    first(variable).tensors[1] = tensor("state")
    first(variable).tensors[1].isVariable = True
    first(nothing).tensors[1] = tensor("axes", shape=(0,), kind=schema.TensorType.INT32)
    first(shape).tensors[1] = tensor("shape", shape=(2,), kind=schema.TensorType.INT32)
    becomes("RESHAPE", "ReshapeOptions")(shape)
    for model in (variable, nothing, shape):
        reader.read(tflite(tmp_path, packed(model)), False)


def test_the_table_of_operators_is_the_format_s() -> None:
    """The names are the format's, in its order, and each has the options of its name, where there are such."""
    numbers = {name: number for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}

    def named(union: Any) -> dict[str, int]:
        return {name.lower().removesuffix("options"): number for name, number in vars(union).items() if name != "NONE"}

    first_union, second_union = named(schema.BuiltinOptions), named(schema.BuiltinOptions2)
    assert [each.name for each in KINDS] == sorted(numbers, key=lambda name: numbers[name])
    assert len(KINDS) == LAST_BUILTIN + 1
    for each in KINDS:
        plain = each.name.replace("_", "").lower()
        assert each.options == first_union.get(plain, each.options), each.name
        assert each.options2 == second_union.get(plain, 0), each.name


def test_a_file_longer_than_its_offsets_reach_is_refused_unread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tflite(tmp_path, packed(add_model()))
    os.truncate(path, 1 << 31)
    began = time.monotonic()

    told = refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", path)

    assert "has 2,147,483,648 bytes; the limit is 2,147,483,647" in told
    assert time.monotonic() - began < 10


def test_data_behind_the_tables_is_read(tmp_path: Path) -> None:
    model = add_model()
    model.buffers[1] = buffer()
    model.buffers[1].offset, model.buffers[1].size = 1, 16
    length = len(packed(model))
    model.buffers[1].offset = length
    data = packed(model)

    assert len(data) == length
    assert reader.read(tflite(tmp_path, data + WEIGHTS.tobytes()), False).interface.inputs[0].names == ("x",)
    with pytest.raises(BadModel, match="the file has"):
        reader.read(tflite(tmp_path, data + WEIGHTS.tobytes()[:-1]), False)


def test_a_good_file_conforms(conform: Any, tmp_path: Path) -> None:
    done = conform(
        "run", "--model", original(tmp_path), "--backends", "tflite",
        "--deployed", tflite(tmp_path, packed(add_model())), "--memory", "4G",
    )  # fmt: skip

    assert done.code == 0, done.stdout + done.stderr


def test_an_input_of_another_shape_layout_or_name_is_told_before_any_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = add_model()
    first(model).tensors[0].shape = [1, 5]
    shape = refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", tflite(tmp_path, packed(model)))
    model = add_model()
    first(model).tensors[0].name = "input_1"
    name = refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", tflite(tmp_path, packed(model)))
    model = add_model()
    first(model).tensors.append(tensor("z"))
    first(model).inputs = [0, 3]
    more = refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", tflite(tmp_path, packed(model)))
    mapped = refused(
        capsys, tmp_path, "--model", original(tmp_path), "--deployed", tflite(tmp_path, packed(add_model())),
        "--map", "y=scores",
    )  # fmt: skip

    assert "FLOAT32 [1, 5], the samples are [1, 4]" in shape
    assert "has no input 'x'" in name
    assert "input_1" in name
    assert "takes an input 'z' that the model does not have" in more
    assert "no such tensor" in mapped
