"""A .tflite file, checked: every index, shape and buffer, by the rules that its interpreter takes for granted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from math import prod
from pathlib import Path

import numpy as np

from sysnoise_conform.deployed import tflite_operators
from sysnoise_conform.deployed.flatbuffer import FlatBufferError, Reader, Table
from sysnoise_conform.deployed.interface import Checked, Interface, Port
from sysnoise_conform.deployed.tflite_operators import KINDS, NO_TENSOR
from sysnoise_conform.deployed.tflite_schema import CUSTOM, LAST_BUILTIN, SCHEMA, STRING, TYPES, UNIONS
from sysnoise_conform.errors import BadModel
from sysnoise_conform.files import read_regular
from sysnoise_conform.printable import one_line

MAX_FILE_BYTES = (1 << 31) - 1  # the offsets of a FlatBuffer reach no further, and the file is held in memory
MAX_TENSOR_BYTES = 64 << 30
MAX_RANK = 32


def read(path: Path, allow_linked: bool) -> Checked:
    """The file's interface; raises BadModel for a file that is broken in any way.

    A .tflite file names no other, so `allow_linked` changes nothing.
    """
    data = read_regular(path, what="the deployed file", error=BadModel, limit=MAX_FILE_BYTES)
    try:
        interface = _File(data).interface()
    except FlatBufferError as err:
        raise BadModel(
            f"the deployed file {one_line(path.name, 120)!r} is no sound .tflite file: {one_line(err, 300)}",
            hint="convert or copy it again",
        ) from err
    return Checked(interface=interface, files=((path, hashlib.sha256(data).hexdigest()),))


class _File:
    """One file's tables, all of them checked on construction."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._model = Reader(data, SCHEMA, UNIONS).root("Model", b"TFL3")
        if self._model["version"] != 3:
            raise FlatBufferError(f"it is of version {self._model['version']}; there is only 3")
        if self._model["external_buffers"]:
            raise FlatBufferError("it keeps weights in other files, which conform does not follow")
        self._graphs: list[Table] = self._model["subgraphs"]
        if not self._graphs:
            raise FlatBufferError("it holds no graph")
        if not len(self._graphs[0]["outputs"]):
            raise FlatBufferError("its graph has no outputs")
        self._buffers = [self._buffer(number, each) for number, each in enumerate(self._model["buffers"])]
        _in_range(self._model["metadata_buffer"], len(self._buffers), "the metadata's buffers")
        for each in _each(self._model["metadata"]):
            _in_range([each["buffer"]], len(self._buffers), "the metadata's buffer")
        for each in _each(self._model["operator_codes"]):
            _check_code(each)
        calls = {graph: {self._graphs[each] for each in self._check_graph(graph)} for graph in _each(self._graphs)}
        try:
            TopologicalSorter(calls).prepare()
        except CycleError as err:
            raise FlatBufferError("its graphs call each other in a circle") from err
        for signature in _each(self._model["signature_defs"]):
            _in_range([signature["index"]], len(self._graphs), "a signature's graph")
            ports = [*signature["inputs"], *signature["outputs"]]
            tensors = self._graphs[signature["index"]]["tensors"]
            _in_range([each["tensor"] for each in ports], len(tensors), "a signature's tensors")

    def interface(self) -> Interface:
        """The first graph's inputs and tensors; one signature's names stand beside the tensors' own."""
        graph = self._graphs[0]
        aliases: dict[int, str] = {}
        if len(self._model["signature_defs"]) == 1 and self._model["signature_defs"][0]["index"] == 0:
            signature = self._model["signature_defs"][0]
            aliases = {each["tensor"]: each["name"] for each in (*signature["inputs"], *signature["outputs"])}
        names = {each["name"] for each in graph["tensors"]} | set(aliases.values())
        return Interface(
            inputs=tuple(self._port(graph["tensors"][index], aliases.get(index)) for index in graph["inputs"].tolist()),
            tensors=frozenset(each for each in names if each),
        )

    @staticmethod
    def _port(tensor: Table, alias: str | None) -> Port:
        sizes = tensor["signature"].tolist() or tensor["shape"].tolist()
        return Port(
            names=tuple(dict.fromkeys(each for each in (tensor["name"], alias) if each)),
            shape=tuple(None if each < 0 else each for each in sizes),
            elem_type=TYPES[tensor["type"]][0],
        )

    def _buffer(self, number: int, buffer: Table) -> memoryview:
        """The bytes of one buffer; large files keep them behind the tables."""
        data: np.ndarray = buffer["data"]
        offset, size = buffer["offset"], buffer["size"]
        # 0 and 1 are what writers leave where the data is in the table.
        if offset > 1:
            if offset + size > len(self._data):
                raise FlatBufferError(
                    f"buffer {number} is bytes {offset:,} to {offset + size:,}, the file has {len(self._data):,}"
                )
            found = memoryview(self._data)[offset : offset + size]
        else:
            found = data.data
        if number == 0 and len(found):
            raise FlatBufferError("its buffer 0, which stands for no data, holds some")
        return found

    def _check_graph(self, graph: Table) -> Iterator[int]:
        """Check one graph; gives the numbers of the graphs that it calls."""
        tensors: list[Table] = graph["tensors"]
        for each in _each(tensors):
            self._check_tensor(each, len(tensors))
        stored = np.array([len(self._buffers[each["buffer"]]) > 0 for each in tensors], bool)
        for side in ("inputs", "outputs"):
            _in_range(graph[side], len(tensors), f"the {side} of a graph")
        if stored[graph["inputs"]].any():
            raise FlatBufferError("an input of a graph is a constant")
        # What has a value before the first operator runs; where a tensor has no elements, none is missing.
        made = stored | np.array([each["is_variable"] != 0 or 0 in each["shape"] for each in tensors], bool)
        made[graph["inputs"]] = True
        given = np.zeros(len(tensors), bool)
        given[graph["inputs"]] = True
        written = tflite_operators.Written(stored, given)
        for operator in _each(graph["operators"]):
            yield from self._check_operator(operator, len(tensors))
            code = _number(self._model["operator_codes"][operator["opcode"]])
            written.add(operator, KINDS[code])
            tflite_operators.check(operator, KINDS[code], made, tensors)
            made[operator["outputs"]] = True
        for index in graph["outputs"][~made[graph["outputs"]]].tolist():
            name = one_line(tensors[index]["name"], 80)
            raise FlatBufferError(f"nothing makes the tensor {name!r}, an output of a graph")

    def _check_operator(self, operator: Table, tensors: int) -> Iterator[int]:
        _in_range([operator["opcode"]], len(self._model["operator_codes"]), "an operator's code")
        _in_range(operator["inputs"], tensors, "an operator's inputs", least=NO_TENSOR)
        _in_range(operator["intermediates"], tensors, "an operator's intermediate tensors", least=NO_TENSOR)
        _in_range(operator["outputs"], tensors, "an operator's outputs")
        if operator["large_offset"] > 1 and operator["large_offset"] + operator["large_size"] > len(self._data):
            raise FlatBufferError("an operator's custom options lie outside the file")
        for options in (operator["options"], operator["options2"]):
            for field, value in options.fields.items() if options is not None else ():
                if field.endswith(("subgraph", "subgraphs")):
                    called = np.atleast_1d(value)
                    _in_range(called, len(self._graphs), "a graph that an operator calls")
                    yield from called.tolist()

    def _check_tensor(self, tensor: Table, tensors: int) -> None:
        what = f"the tensor {one_line(tensor['name'], 80)!r}"
        shape: list[int] = tensor["shape"].tolist()
        if len(shape) > MAX_RANK or min(shape, default=0) < 0 or len(tensor["signature"]) not in (0, len(shape)):
            raise FlatBufferError(f"{what} has the impossible shape {shape[:8]}")
        if tensor["type"] not in TYPES:
            raise FlatBufferError(f"{what} has the type {tensor['type']}, which this version of conform does not know")
        if tensor["external_buffer"]:
            raise FlatBufferError(f"{what} lies in another file, which conform does not follow")
        if tensor["sparsity"] is not None:
            raise FlatBufferError(f"{what} is stored sparse, which conform does not check: ship it dense")
        _in_range([tensor["buffer"]], len(self._buffers), f"the buffer of {what}")
        data = self._buffers[tensor["buffer"]]
        bits = TYPES[tensor["type"]][1]
        if bits is not None:
            needed = -(-prod(shape) * bits // 8)
            if needed > MAX_TENSOR_BYTES:
                raise FlatBufferError(f"{what} would take {needed:,} bytes; the limit is {MAX_TENSOR_BYTES:,}")
            if len(data) and len(data) != needed:
                raise FlatBufferError(f"{what} {shape[:8]} needs {needed:,} bytes, its buffer has {len(data):,}")
        elif tensor["type"] == STRING and len(data):
            _check_strings(data, prod(shape), what)
        if tensor["quantization"] is not None:
            _check_quantization(tensor["quantization"], shape, tensors, what)


def _each(tables: Iterable[Table]) -> Iterable[Table]:
    """Every table once: a list may name the same one many times."""
    return dict.fromkeys(tables)


def _in_range(indices: Iterable[int], count: int, what: str, *, least: int = 0) -> None:
    found = np.asarray(indices, np.int64)
    wrong = found[(found < least) | (found >= count)]
    if wrong.size:
        raise FlatBufferError(f"{what}: there is no number {wrong[0]}, only {count:,}")


def _number(code: Table) -> int:
    """The BuiltinOperator; old files have it in the field of one byte alone."""
    return int(max(code["deprecated_code"], code["code"]))


def _check_code(code: Table) -> None:
    number = _number(code)
    if not 0 <= number <= LAST_BUILTIN:
        raise FlatBufferError(f"it uses the operator {number}, which this version of conform does not know")
    if number == CUSTOM and not code["custom_code"]:
        raise FlatBufferError("it uses a custom operator without a name")


def _check_strings(data: memoryview, count: int, what: str) -> None:
    """A string tensor's buffer: the number of strings, where each begins, where the last ends; then their bytes."""
    head = np.frombuffer(data, "<i4", min(len(data) // 4, count + 2)).astype(np.int64)
    ends = head[1:]
    sound = len(head) == count + 2 and head[0] == count and ends[0] == 4 * (count + 2) and ends[-1] <= len(data)
    if not sound or (np.diff(ends) < 0).any():
        raise FlatBufferError(f"{what} holds strings that are not where its buffer says")


def _check_quantization(quantization: Table, shape: list[int], tensors: int, what: str) -> None:
    scales, zeros = len(quantization["scale"]), len(quantization["zero_point"])
    details = quantization["details"]
    if details is not None and "scales" in details.fields:
        _in_range([details["scales"]], tensors, f"the scales of {what}", least=NO_TENSOR)
        _in_range([details["zero_points"]], tensors, f"the zero points of {what}", least=NO_TENSOR)
        if details["block_size"] < 0:
            raise FlatBufferError(f"{what} is quantised in blocks of {details['block_size']}")
        return
    if zeros not in (0, scales):
        raise FlatBufferError(f"{what} has {scales} scales and {zeros} zero points")
    axis = quantization["dimension"]
    if scales > 1 and not (0 <= axis < len(shape) and shape[axis] == scales):
        raise FlatBufferError(f"{what} has {scales} scales along the dimension {axis} of {shape[:8]}")
