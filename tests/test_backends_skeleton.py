"""An ONNX file read without its weights declares what the whole file declares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sysnoise_conform.backends.skeleton import read_skeleton


def _model(weights: list[onnx.TensorProto]) -> onnx.ModelProto:
    ports = [helper.make_tensor_value_info(each, TensorProto.FLOAT, ["N", 3]) for each in ("x", "y")]
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(3, np.float32), "c"))
    nodes = [constant, helper.make_node("Add", ["x", "c"], ["y"])]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _written(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("raw", [True, False])
def test_weights_keep_name_type_and_shape_and_lose_their_contents(tmp_path: Path, raw: bool) -> None:
    values = np.arange(300, dtype=np.float32)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 100], values.tobytes() if raw else values, raw=raw)
    model = _model([weight])

    found = read_skeleton(_written(model, tmp_path))

    (bare,) = found.graph.initializer
    assert (bare.name, bare.data_type, list(bare.dims)) == ("w", TensorProto.FLOAT, [3, 100])
    assert not bare.raw_data
    assert not bare.float_data
    del model.graph.initializer[:], found.graph.initializer[:]
    assert found == model


def test_external_data_is_still_told(tmp_path: Path) -> None:
    weight = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="w.bin")

    (bare,) = read_skeleton(_written(_model([weight]), tmp_path)).graph.initializer

    assert bare == weight


@settings(deadline=None, max_examples=60)
@given(cut=st.integers(0, 200), byte=st.integers(0, 255))
def test_what_is_no_model_is_a_value_error_or_what_protobuf_says(
    tmp_path_factory: pytest.TempPathFactory, cut: int, byte: int
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    data = bytearray(_model([]).SerializeToString())
    data[cut % len(data)] = byte
    path.write_bytes(bytes(data[: max(1, len(data) - cut)]))

    try:
        read_skeleton(path)
    except (ValueError, IndexError) as err:
        assert str(err)
    except Exception as err:  # protobuf's own errors share no base that it exports
        assert type(err).__name__ == "DecodeError"
