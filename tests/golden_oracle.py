"""One-node models, run by the golden and by ONNX Runtime, which is an independent opinion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper

from sysnoise_conform.golden.executor import Executor, Mode, Value, to_numpy

Array = npt.NDArray[Any]


def one_node(
    op: str, feeds: Mapping[str, Array | None], *, opset: int = 18, outputs: int | Sequence[str] = 1, domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:  # fmt: skip
    """A model of one node; a feed that is None is an omitted optional input."""
    names = [f"y{i}" for i in range(outputs)] if isinstance(outputs, int) else list(outputs)
    node = helper.make_node(
        op, [name if array is not None else "" for name, array in feeds.items()], names, domain=domain, **attributes
    )
    given = [
        helper.make_tensor_value_info(
            name,
            onnx.TensorProto.STRING if array.dtype.kind in "OU" else helper.np_dtype_to_tensor_dtype(array.dtype),
            array.shape,
        )
        for name, array in feeds.items()
        if array is not None
    ]
    graph = helper.make_graph([node], "one", given, [onnx.ValueInfoProto(name=name) for name in names if name])
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def by_golden(model: onnx.ModelProto, feeds: Mapping[str, Array | None], mode: Mode = Mode.FLOAT64) -> list[Array]:
    """The model's outputs, FLOAT as float64 in float64 mode."""
    given = {name: array for name, array in feeds.items() if array is not None}
    values = Executor(model, mode).run(given).values()
    assert all(isinstance(value, Value) for value in values)
    return [to_numpy(value, declared=mode is Mode.FLOAT32) for value in values]  # type: ignore[arg-type]


def by_ort(model: onnx.ModelProto, feeds: Mapping[str, Array | None]) -> list[Array]:
    """The model's outputs by ONNX Runtime on the CPU, as written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, {name: array for name, array in feeds.items() if array is not None})
    return outputs


def run(op: str, feeds: Mapping[str, Array | None], mode: Mode = Mode.FLOAT64, /, **node: Any) -> list[Array]:
    """One node's outputs by the golden."""
    return by_golden(one_node(op, feeds, **node), feeds, mode)


def assert_agrees(
    op: str, feeds: Mapping[str, Array | None], *, atol: float = 2e-5, rtol: float = 1e-4, **node: Any
) -> None:
    """Both modes of the golden give ONNX Runtime's shapes and, within the tolerance, its values."""
    model = one_node(op, feeds, **node)
    expected = by_ort(model, feeds)
    for mode in Mode:
        for got, want in zip(by_golden(model, feeds, mode), expected, strict=True):
            assert got.shape == want.shape
            if mode is Mode.FLOAT32:
                assert got.dtype == want.dtype
            if want.dtype.kind in "OU":
                assert got.tolist() == want.tolist()
            else:
                np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), atol=atol, rtol=rtol)
