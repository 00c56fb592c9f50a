"""What a model file says of the machine that wrote it is taken out, wherever it stands, and nothing else."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from sysnoise_conform.graph.traces import without_paths

PATHS = (
    'File "/home/me/net.py", line 3, in forward',
    "/usr/lib/python3/site-packages/x.py:12:0",
    "C:\\Users\\me\\net.py(7)",
    "\\\\server\\share\\net.py",
    "written by file:///srv/build/net.py",
)
NAMES = ("net/down.0/conv: aten.conv2d", "['', 'down.0']", "N/A", "a / b", "https://example.org/licence")


@pytest.mark.parametrize("text", [*PATHS, *NAMES])
def test_what_names_a_path_goes_and_what_names_a_module_stays(text: str) -> None:
    inner = helper.make_node("Relu", ["x"], ["y"], doc_string=text)
    branch = helper.make_graph([inner], "branch", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    node = helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    node.metadata_props.add(key="note", value=text)
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="in forward")
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])])
    graph.value_info.add(name="z").metadata_props.add(key="note", value=text)
    model = helper.make_model(graph, doc_string=text)
    function = model.functions.add(name="f", domain="own")
    function.node.add(op_type="Relu").metadata_props.add(key="note", value=text)

    without_paths(model)

    stays = text in NAMES
    found = model.SerializeToString()
    assert found.count(text.encode()) == (6 if stays else 0)
    assert b"stack_trace" not in found
    assert [each.op_type for each in model.graph.node] == ["If"]
