from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx_files import model, node, port, relu

from sysnoise_conform.backends.skeleton import read_skeleton
from sysnoise_conform.graph.encoding import encoded


def weighted() -> onnx.ModelProto:
    weights = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(0, np.int64), np.float32(3)]
    tensors = [numpy_helper.from_array(np.asarray(each), f"w{at}") for at, each in enumerate(weights)]
    proto = model([node("Add", ["x", "w0"], ["y"])], [port("x")], [port("y")], initializers=tensors)
    proto.producer_name = "somebody"
    proto.metadata_props.add(key="k", value="v")
    proto.graph.doc_string = "ends here"
    return proto


def test_the_pieces_together_are_the_model() -> None:
    for proto in (weighted(), relu()):
        assert onnx.ModelProto.FromString(b"".join(encoded(proto))) == proto


def test_no_piece_holds_two_weights() -> None:
    proto = weighted()
    sizes = [each.ByteSize() for each in proto.graph.initializer]

    assert max(len(each) for each in encoded(proto)) <= proto.ByteSize() - min(sizes)


def test_what_a_file_in_pieces_declares_is_read_without_its_weights(tmp_path: Path) -> None:
    proto = weighted()
    (tmp_path / "m.onnx").write_bytes(b"".join(encoded(proto)))

    skeleton = read_skeleton(tmp_path / "m.onnx")

    assert [each.name for each in skeleton.graph.initializer] == ["w0", "w1", "w2"]
    assert skeleton.graph.node == proto.graph.node
    assert not any(each.raw_data for each in skeleton.graph.initializer)


def test_a_graph_of_nothing_but_nodes_stays_one() -> None:
    bare = onnx.ModelProto(ir_version=8)
    bare.graph.SetInParent()

    assert onnx.ModelProto.FromString(b"".join(encoded(bare))).HasField("graph")
