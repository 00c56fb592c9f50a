"""ONNX to TFLite by onnx2tf's TensorFlow-free writer, so that every tensor comes back in ONNX layout.

onnx2tf moves images to NHWC, and whether an output stays there depends on what surrounds it; where height, width
and channels are equal no shape tells. So nothing is guessed: inputs are declared to keep their shape, and an output
of three dimensions or more leaves as a vector, which has one order only, to be shaped again by ONNX's own inference.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from sysnoise_conform.backends.converter import convert, last_error
from sysnoise_conform.backends.pins import ONNX2TF
from sysnoise_conform.backends.plain import Plain, plain_copy
from sysnoise_conform.errors import BackendUnavailable, Unsupported
from sysnoise_conform.printable import one_line


@dataclass(frozen=True)
class Output:
    """An output's ONNX name and dtype, and its shape: inferred, or in the model's output `shape_from`."""

    name: str
    dtype: np.dtype[np.generic] | None
    shape: tuple[int, ...] | None
    shape_from: str | None = None


@dataclass(frozen=True)
class Converted:
    """A `.tflite` file for one set of input shapes. Keys are the file's tensor names."""

    path: Path
    inputs: Mapping[str, str]  # -> ONNX name
    outputs: Mapping[str, Output]
    plain: Plain


# The converter comes without its dependencies: what its path without TensorFlow imports of them comes beside it.
BESIDE = ("flatbuffers", "psutil", "tqdm")
INSTALL = f"pip install --no-deps --ignore-requires-python {' '.join(ONNX2TF)}"


def lacking() -> tuple[str, ...]:
    """The packages of the converter that are not there; none of them is imported here."""
    names = (*(each.partition("==")[0] for each in ONNX2TF), *BESIDE)
    return tuple(each for each in names if importlib.util.find_spec(each) is None)


def to_tflite(model: Path, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> Converted:
    """Convert the ONNX file for these input shapes, in `folder`.

    Raises `Unsupported(stage="convert")` when onnx2tf refuses, `BackendUnavailable` when it is not installed.
    """
    missing = lacking()
    if missing:
        what = "is not installed" if "onnx2tf" in missing else f"lacks {', '.join(missing)}"
        beside = [each for each in missing if each in BESIDE]
        line = f"pip install {' '.join(beside)}" if beside == list(missing) else INSTALL
        raise BackendUnavailable(
            f"onnx2tf, the converter to TFLite, {what}", hint=f"{line}, or conform env create tflite"
        )
    folder.mkdir(parents=True, exist_ok=True)
    plain = plain_copy(model, shapes)
    outputs = _as_vectors(plain)
    source = folder / "model.onnx"  # onnx2tf rewrites the file that it is given
    onnx.save(plain.model, str(source))
    isolated = ["-P"] if sys.version_info >= (3, 11) else []
    command = [sys.executable, *isolated, "-m", "onnx2tf", "-i", str(source), "-o", "converted", "-nuo", "-n"]
    path = convert(
        "onnx2tf",
        [*command, "-kat", *plain.inputs],
        folder=folder,
        expect=folder / "converted" / "model_float32.tflite",
        explain=lambda text: _explain(text, plain),
    )
    return Converted(path=path, inputs=plain.inputs, outputs=outputs, plain=plain)


def _as_vectors(plain: Plain) -> dict[str, Output]:
    """Flatten each output that a converter could lay out in another order; add its shape where that is open."""
    graph = plain.model.graph
    described: dict[str, Output] = {}
    added: list[onnx.ValueInfoProto] = []
    minus_one = "t_vector" + "_" * max((len(each.name) for each in graph.initializer), default=0)
    for info in graph.output:
        name, tensor = info.name, info.type.tensor_type
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if tensor.elem_type else None
        shape = _static(tensor)
        if shape is not None and len(shape) < 3:
            described[name] = Output(plain.outputs[name], dtype, shape)
            continue
        inner, sizes = f"{name}_dense", None
        _rename_output(graph, name, inner)
        graph.node.append(helper.make_node("Reshape", [inner, minus_one], [name], name=f"{name}_flat"))
        if shape is None:
            sizes = f"{name}_shape"
            graph.node.append(helper.make_node("Shape", [inner], [sizes], name=sizes))
            added.append(helper.make_tensor_value_info(sizes, TensorProto.INT64, [None]))
        count = None if shape is None else int(np.prod(shape, dtype=np.int64))
        info.CopyFrom(helper.make_tensor_value_info(name, tensor.elem_type, [count]))
        described[name] = Output(plain.outputs[name], dtype, shape, sizes)
    graph.initializer.append(helper.make_tensor(minus_one, TensorProto.INT64, [1], [-1]))
    graph.output.extend(added)
    return described


def _static(tensor: onnx.TypeProto.Tensor) -> tuple[int, ...] | None:
    if not tensor.HasField("shape") or not all(each.HasField("dim_value") for each in tensor.shape.dim):
        return None
    return tuple(each.dim_value for each in tensor.shape.dim)


def _rename_output(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for fields in (node.input, node.output):
            for index, name in enumerate(fields):
                if name == old:
                    fields[index] = new


def _explain(text: str, plain: Plain) -> Unsupported:
    """onnx2tf's last error; the operator is named in it, or in the builder that raised it."""
    reason = last_error(text)
    named = re.search(r"\bop=(\S+)", reason)
    node = next((each for each in plain.model.graph.node if named and each.name == named[1]), None)
    builders = re.findall(r"\bin (?:_?build|_?lower|_?make)_(\w+?)_op\b", text)
    where = {"op": node.op_type, "node": node.name} if node else operator(builders[-1] if builders else "", plain)
    return Unsupported(
        f"onnx2tf can't convert the model: {one_line(plain.original(reason))}",
        stage="convert",
        op=where["op"],
        node=where["node"],
    )


def operator(word: str, plain: Plain) -> dict[str, str | None]:
    """`op` and `node` for a converter's own spelling of an operator (`softmax`, `MAX_POOL_2D`)."""
    wanted = re.sub(r"^onnx_|_|2d$", "", word.lower())
    ops = sorted({each.op_type for each in plain.model.graph.node if each.op_type.lower() == wanted})
    return {"op": ops[0], "node": plain.node(ops[0])} if ops else {"op": None, "node": None}
