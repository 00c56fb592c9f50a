"""A stranger's ONNX file, opened and checked before any native code sees it, and made ready for surgery.

The checks are our own and run on the parsed message alone: onnx's native checker follows function calls
without a bound, opens what external data names, and lets through about a third of what is refused here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import numpy as np
import onnx

from sysnoise_conform.errors import BadModel, StorageError
from sysnoise_conform.files import copy_hashed, open_regular, read_regular, resolved
from sysnoise_conform.graph.bind import bind_inputs, bind_sizes
from sysnoise_conform.graph.container import MAX_BYTES, check_versions, parse, plain_domain
from sysnoise_conform.graph.divisions import check_divisions
from sysnoise_conform.graph.encoding import encoded
from sysnoise_conform.graph.expansion import check_expansion
from sysnoise_conform.graph.external import DataFile, external_files
from sysnoise_conform.graph.functions import check_functions, inline_functions, table
from sysnoise_conform.graph.inline import inline_constant_ifs
from sysnoise_conform.graph.order import dependent, sort
from sysnoise_conform.graph.stored import MAX_RANK, check_tensor
from sysnoise_conform.graph.types import declared, element_type, infer
from sysnoise_conform.graph.walk import all_graphs, bodies, nested_graphs, quoted, reads, tensors
from sysnoise_conform.graph.wellformed import Checker
from sysnoise_conform.printable import one_line

# Up to here external data is copied beside a private graph; beyond it files are linked. onnx and
# everything that loads through it refuse data files with links, so a copy is what works everywhere.
COPY_LIMIT = 1 << 31


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """A graph input or output as declared. `shape` is None where no rank is; an unknown size is None or its symbol."""

    name: str
    elem_type: int
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One output of a node that depends on an input; `elem_type` is 0 where it is unknown or no tensor's."""

    index: int
    node: str
    op_type: str
    domain: str
    tensor: str
    elem_type: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Model:
    """A model after intake.

    `proto` has its functions inlined, constant Ifs resolved, its nodes sorted. `opset` and `node_count` are
    those of the file as given; `inner_tensors` counts what the bodies make that are left.
    """

    path: Path
    sha256: str
    data_files: tuple[DataFile, ...]
    proto: onnx.ModelProto
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layers: tuple[Layer, ...]
    opset: int
    node_count: int
    bound: tuple[str, ...]
    inner_tensors: int
    bound_sha256: str  # of the names and values of the bound inputs; "" without any
    file_sha256: str

    def write(self, folder: Path, name: str = "model.onnx") -> Path:
        """A private copy of the graph that a backend gets: the file's own bytes, or the bound graph.

        Raises BadModel when the file has changed since it was opened, StorageError when it can't be written.
        """
        if self.bound:
            return write_proto(self.proto, folder, name, self.data_files)
        target = folder / name
        with open_regular(self.path, what="the model", error=BadModel, limit=MAX_BYTES) as source:
            try:
                digest = copy_hashed(source, target)
            except OSError as err:
                raise _cant_write(target, err) from err
        if digest != self.file_sha256:
            raise BadModel(f"the model {one_line(self.path, 200)!r} changed while it was in use", hint="run again")
        _place(self.data_files, folder)
        return target


def open_model(
    path: Path,
    *,
    bind: Mapping[str, np.ndarray] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    allow_linked_data: bool = False,
) -> Model:
    """Open, check and prepare an ONNX file; `bind` maps input names to constants.

    A bound graph takes the sizes in `shapes`, too: branches that hang on them are resolved, and runtimes that
    need ranks find them. Without a binding the file stays as it is.

    Raises BadModel, in one line, for whatever is broken, hostile or beyond the caps; BadInput for a
    binding that does not fit.
    """
    file = resolved(path, what="the model", error=BadModel)
    content = read_regular(file, what="the model", error=BadModel, limit=MAX_BYTES)
    hashing = Thread(target=(digest := hashlib.sha256()).update, args=(content,))
    hashing.start()  # beside the checks: it needs no interpreter
    model = parse(content, file)
    del content
    versions = check_versions(model)
    functions = table(model)
    _plain_domains(model)
    Checker(versions, functions).graph(model.graph)
    check_functions(functions, versions)
    check_expansion(model, functions)
    _check_tensors(model)
    data = external_files(
        tensors(model), file, (file.parent, Path(os.path.abspath(path)).parent), allow_linked=allow_linked_data
    )
    hashing.join()
    file_sha256 = digest.hexdigest()
    opset, node_count = versions.get("", 0), len(model.graph.node)
    if functions:
        inline_functions(model, functions)
        _complete_imports(model, versions)
        Checker(versions).graph(model.graph)  # again: attributes and operands are now what the calls gave
        _check_tensors(model)
    _check_ports(model.graph)
    sort(model.graph)
    bound = bind_inputs(model.graph, bind or {})
    if bound:
        bind_sizes(model.graph, shapes or {})
    bound_sha256 = _values_sha256(model.graph, bound)
    _fix_defaults(model.graph)
    inline_constant_ifs(model.graph)
    sort(model.graph)
    check_divisions(model.graph)
    types = infer(model.graph, versions)
    inputs = tuple(_port(each) for each in model.graph.input)
    return Model(
        path=file,
        sha256=_combined(file_sha256, data),
        data_files=data,
        proto=model,
        inputs=inputs,
        outputs=tuple(_port(each, types) for each in model.graph.output),
        layers=_layers(model.graph, [each.name for each in inputs], types),
        opset=opset,
        node_count=node_count,
        bound=bound,
        inner_tensors=_inner_tensors(model.graph),
        bound_sha256=bound_sha256,
        file_sha256=file_sha256,
    )


def write_proto(proto: onnx.ModelProto, folder: Path, name: str, data_files: Iterable[DataFile] = ()) -> Path:
    """Write a rewritten graph into a private folder, with the external data that it names beside it."""
    target = folder / name
    try:
        with target.open("wb") as file:
            file.writelines(encoded(proto))
    except OSError as err:
        raise _cant_write(target, err) from err
    _place(tuple(data_files), folder)
    return target


def _place(data: tuple[DataFile, ...], folder: Path) -> None:
    total = sum(each.size for each in data)
    for each in data:
        target = folder / each.location
        if target.exists():
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if total > COPY_LIMIT:
                try:
                    os.link(each.path, target)
                    continue
                except OSError:  # another file system: a copy it is
                    target.unlink(missing_ok=True)
            shutil.copyfile(each.path, target)
        except OSError as err:
            raise _cant_write(target, err) from err


def _cant_write(target: Path, err: OSError) -> StorageError:
    return StorageError(
        f"can't write a private copy of the model to {one_line(target.parent, 200)!r}: {one_line(err.strerror or err)}",
        hint="free some space, or set TMPDIR to a folder that has it",
    )


def _combined(file_sha256: str, data: tuple[DataFile, ...]) -> str:
    if not data:
        return file_sha256
    lines = [file_sha256, *(f"{each.sha256} {each.location}" for each in data)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _values_sha256(graph: onnx.GraphProto, names: Collection[str]) -> str:
    values = sorted(each.SerializeToString(deterministic=True) for each in graph.initializer if each.name in set(names))
    return hashlib.sha256(b"".join(values)).hexdigest() if values else ""


def _check_tensors(model: onnx.ModelProto) -> None:
    for tensor, where in tensors(model):
        check_tensor(tensor, where)


def _plain_domains(model: onnx.ModelProto) -> None:
    """Write the default domain one way everywhere."""
    for function in model.functions:
        function.domain = plain_domain(function.domain)
    for nodes in (*(each.node for each in all_graphs(model)), *(each.node for each in model.functions)):
        for node in nodes:
            if node.domain == "ai.onnx":
                node.domain = ""


def _complete_imports(model: onnx.ModelProto, versions: Mapping[str, int]) -> None:
    there = {plain_domain(each.domain) for each in model.opset_import}
    for domain, version in versions.items():
        if domain not in there:
            model.opset_import.add(domain=domain, version=version)


def _check_ports(graph: onnx.GraphProto) -> None:
    if not graph.node:
        raise BadModel("the model's graph has no nodes: there is nothing to compare")
    if not graph.output:
        raise BadModel("the model's graph has no outputs: there is nothing to compare")
    names = [each.name for each in graph.output]
    if len(set(names)) != len(names):
        raise BadModel("the model lists an output twice", hint="outputs are matched by name; export it again")
    for what, ports in (("input", graph.input), ("output", graph.output)):
        for port in ports:
            kind = port.type.WhichOneof("value")
            if kind not in ("tensor_type", None) or (kind is None and what == "input"):
                words = (kind or "of no type").removesuffix("_type").replace("_", " ")
                raise BadModel(f"{what} {quoted(port.name)} is {words}; only tensors can be compared")
            if what == "input" and not port.type.tensor_type.elem_type:
                raise BadModel(f"input {quoted(port.name)} declares no element type")
            if len(port.type.tensor_type.shape.dim) > MAX_RANK:
                raise BadModel(f"{what} {quoted(port.name)} has {len(port.type.tensor_type.shape.dim)} dimensions")
            declared(port.type)


def _fix_defaults(graph: onnx.GraphProto) -> None:
    """Make inputs that have a default value constants: nobody feeds them."""
    stored = {each.name for each in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in stored:
            del graph.input[index]


def _port(port: onnx.ValueInfoProto, types: Mapping[str, str] | None = None) -> Port:
    tensor = port.type.tensor_type
    elem_type = element_type((types or {}).get(port.name, "")) or tensor.elem_type
    if not tensor.HasField("shape"):
        return Port(name=port.name, elem_type=elem_type, shape=None)
    return Port(name=port.name, elem_type=elem_type, shape=tuple(_size(each) for each in tensor.shape.dim))


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    """Exporters write an unknown size as nothing, 0, -1 or `?`."""
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value > 0 else None
    return dim.dim_param if dim.dim_param.strip("?") else None


def _layers(graph: onnx.GraphProto, inputs: Collection[str], types: Mapping[str, str]) -> tuple[Layer, ...]:
    reached = dependent(graph, frozenset(inputs))
    found: list[Layer] = []
    for index, node in enumerate(graph.node):
        if not reached.isdisjoint(reads(node)):
            found.extend(
                Layer(
                    index=index, node=node.name, op_type=node.op_type, domain=node.domain, tensor=name,
                    elem_type=element_type(types.get(name, "")),
                )
                for name in node.output if name
            )  # fmt: skip
    return tuple(found)


def _inner_tensors(graph: onnx.GraphProto) -> int:
    inner = (each for node in graph.node for body in bodies(node) for each in nested_graphs(body))
    return sum(1 for body in inner for node in body.node for name in node.output if name)
