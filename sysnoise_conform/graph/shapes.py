"""What the model's inputs and outputs declare, held against what is fed and what comes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import TensorProto, helper

from sysnoise_conform.errors import BadInput, BadModel
from sysnoise_conform.graph.intake import Model, Port
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

Shapes = Mapping[str, tuple[int, ...]]


def bind_shapes(model: Model, given: Shapes) -> dict[str, tuple[int, ...]]:
    """The concrete shape of every input: sizes that are declared, given, or given elsewhere for the same symbol.

    Raises BadInput for a name that is no input, a shape that contradicts the declared one, and for what is
    still unknown: one line that lists all of it, ready to paste.
    """
    symbols = check_shapes(model, given)
    missing = missing_dims(model.inputs, given)
    if missing:
        raise BadInput(
            "the model's inputs have dimensions that it does not fix",
            hint="choose them, for example " + " ".join(missing),
        )
    return {each.name: _concrete(each, given, symbols) for each in model.inputs}


def check_shapes(model: Model, given: Shapes) -> dict[str, int]:
    """Check `--shape`s against the inputs that they name; the sizes that they give to symbols. Raises BadInput."""
    ports = {each.name: each for each in model.inputs}
    symbols: dict[str, int] = {}
    for name, shape in given.items():
        if name not in ports:
            raise BadInput(f"--shape names {one_line(name)!r}, which is no input", hint=nearest(name, ports))
        check_shape(ports[name], shape, f"--shape {one_line(name)}")
        for wanted, size in zip(ports[name].shape or (), shape, strict=False):
            if isinstance(wanted, str) and symbols.setdefault(wanted, size) != size:
                raise BadInput(
                    f"--shape {one_line(name)}: the dimension {one_line(wanted)!r} is {size} here and"
                    f" {symbols[wanted]} elsewhere",
                    hint="inputs share this dimension",
                )
    return symbols


def missing_dims(ports: Iterable[Port], given: Shapes) -> list[str]:
    """For each input whose shape is not known, a `--shape` that would fix it, with common sizes filled in."""
    ports = tuple(ports)
    symbols = {dim for each in ports for dim in (each.shape or ()) if isinstance(dim, str) and each.name in given}
    missing = []
    for port in ports:
        if port.name in given:
            continue
        if port.shape is None:
            missing.append(f"--shape {one_line(port.name)}=1,…")
        elif any(not isinstance(dim, int) and dim not in symbols for dim in port.shape):
            sizes = (str(_example(port.shape, index)) for index in range(len(port.shape)))
            missing.append(f"--shape {one_line(port.name)}={','.join(sizes)}")
    return missing


def _example(shape: tuple[int | str | None, ...], index: int) -> int:
    size = shape[index]
    if isinstance(size, int):
        return size
    if index == 0 or (index == 1 and len(shape) == 3 and isinstance(shape[0], int)):  # a recurrent state's batch
        return 1
    if len(shape) == 4:
        return 3 if index == 1 else 224
    return 128


def _concrete(port: Port, given: Shapes, symbols: Mapping[str, int]) -> tuple[int, ...]:
    if port.name in given:
        return tuple(given[port.name])
    return tuple(symbols[each] if isinstance(each, str) else int(each or 0) for each in port.shape or ())


def check_shape(port: Port, shape: tuple[int, ...], what: str) -> None:
    """Raise BadInput unless `shape` has the rank and the fixed sizes that the input declares."""
    if port.shape is None:
        return
    wanted = [each if isinstance(each, int) else None for each in port.shape]
    if len(wanted) == len(shape) and all(w in (None, g) for w, g in zip(wanted, shape, strict=True)):
        return
    raise BadInput(f"{what} has the shape {list(shape)}; input {one_line(port.name)!r} is {describe(port)}")


def check_feed(model: Model, feed: Mapping[str, np.ndarray], what: str) -> None:
    """Raise BadInput unless a feed has exactly the model's inputs, each with its dtype and a shape that fits."""
    ports = {each.name: each for each in model.inputs}
    for name in feed:
        if name not in ports:
            raise BadInput(f"{what} holds {one_line(name)!r}, which is no input", hint=nearest(name, ports))
    for name, port in ports.items():
        if name not in feed:
            raise BadInput(f"{what} lacks input {one_line(name)!r} ({describe(port)})")
        check_type(port, feed[name].dtype, feed[name].shape, what)


def check_type(port: Port, dtype: np.dtype, shape: tuple[int, ...], what: str) -> None:
    """Raise BadInput unless an array's dtype and shape are what the input takes."""
    wanted = numpy_type(port)
    if dtype != wanted:
        raise BadInput(
            f"{what} gives input {one_line(port.name)!r} as {one_line(dtype, 60)}; the model takes {wanted}",
            hint=f"convert it with .astype('{wanted}')",
        )
    check_shape(port, shape, what)


def check_declared_output(model: Model, name: str, shape: tuple[int, ...]) -> None:
    """Raise BadModel where an output's true shape contradicts the one that the file declares."""
    for port in model.outputs:
        if port.name == name and port.shape is not None:
            wanted = [each if isinstance(each, int) else None for each in port.shape]
            if len(wanted) != len(shape) or any(w not in (None, g) for w, g in zip(wanted, shape, strict=True)):
                raise BadModel(
                    f"the model declares output {one_line(name)!r} as {describe(port)}, but it is {list(shape)}",
                    hint="export it again, or correct the declared shape",
                )


def numpy_type(port: Port) -> np.dtype:
    """The dtype that feeds of this input have; bfloat16 and the like come from ml_dtypes."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(port.elem_type))


def describe(port: Port) -> str:
    """An input in words: `FLOAT [N, 3, 224, 224]`."""
    kind = TensorProto.DataType.Name(port.elem_type) if port.elem_type else "of unknown type"
    if port.shape is None:
        return f"{kind}, no rank declared"
    sizes = ("?" if each is None else one_line(each, 40) for each in port.shape)
    return f"{kind} [{', '.join(sizes)}]"
