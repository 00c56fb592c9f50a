"""Inputs of a graph turned into constants."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx import GraphProto, TensorProto, helper, numpy_helper

from sysnoise_conform.errors import BadInput
from sysnoise_conform.graph.types import declared, element_type
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest


def bind_inputs(graph: GraphProto, values: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Turn the named inputs of `graph` into initializers, in place; their names.

    A value takes the input's type if that holds it exactly, and a single number the input's shape.
    Raises BadInput for an unknown name, a value that does not fit the type, a shape that differs.
    """
    ports = {each.name: each for each in graph.input}
    for name, value in values.items():
        port = ports.get(name)
        if port is None:
            raise BadInput(f"the model has no input {one_line(name)!r} to bind", hint=nearest(name, ports))
        constant = _fitted(name, np.asarray(value), port)
        for index in reversed(range(len(graph.initializer))):
            if graph.initializer[index].name == name:  # the input's default value
                del graph.initializer[index]
        graph.initializer.append(constant)
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in values:
            del graph.input[index]
    return tuple(values)


def bind_sizes(graph: GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Fix the open sizes of inputs, in place. A size that contradicts a declared one is left to the check of feeds."""
    for port in graph.input:
        sizes = shapes.get(port.name)
        dims = port.type.tensor_type.shape.dim
        if sizes is None or len(sizes) != len(dims):
            continue
        for dim, size in zip(dims, sizes, strict=True):
            if not dim.HasField("dim_value") or dim.dim_value <= 0:
                dim.dim_value = size


def _fitted(name: str, value: np.ndarray, port: onnx.ValueInfoProto) -> TensorProto:
    shown = f"--input {one_line(name)}"
    elem_type = element_type(declared(port.type))
    if not elem_type or elem_type == TensorProto.STRING:
        raise BadInput(f"{shown}: only an input of numbers can be bound to a constant")
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
    with np.errstate(all="ignore"):
        typed = value.astype(dtype)
        whole = dtype.kind in "iub"
        same = np.array_equal(typed.astype(value.dtype), value) if whole else bool(np.isfinite(typed).all())
    if not same:
        name_of = TensorProto.DataType.Name(elem_type)
        raise BadInput(f"{shown}: {one_line(value.tolist(), 60)} is no {name_of}", hint=f"the input is {name_of}")
    shape = port.type.tensor_type.shape
    if port.type.tensor_type.HasField("shape"):
        wanted = [each.dim_value if each.dim_value > 0 else None for each in shape.dim]
        fixed = [each or 1 for each in wanted]
        if typed.size == 1 and prod(fixed) == 1:
            typed = typed.reshape(fixed)
        fits = len(wanted) == typed.ndim and all(w in (None, g) for w, g in zip(wanted, typed.shape, strict=False))
        if not fits:
            raise BadInput(f"{shown}: the value's shape is {list(typed.shape)}, the input's {one_line(wanted)}")
    return numpy_helper.from_array(typed, name)
