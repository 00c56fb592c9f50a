"""PyTorch imported without its registrations for tracing: faster, and the same numbers."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from sysnoise_conform.golden import lean
lean.import_torch()
assert "torch._meta_registrations" not in sys.modules
import numpy as np
from onnx import TensorProto, helper
from sysnoise_conform.golden.executor import Executor, Mode
ports = [helper.make_tensor_value_info(each, TensorProto.FLOAT, [2, 3]) for each in ("x", "y", "z")]
nodes = [helper.make_node("RandomNormalLike", ["x"], ["r"], seed=1.0), helper.make_node("Softmax", ["x"], ["y"]),
         helper.make_node("Add", ["x", "r"], ["z"])]
model = helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:]),
                          opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
found = Executor(model, Mode.FLOAT64).run({"x": np.arange(6, dtype=np.float32).reshape(2, 3)})
print([each.data.tolist() for each in found.values()])
"""


def _printed(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_operators_and_random_numbers_are_those_of_the_whole_pytorch() -> None:
    whole = SCRIPT.replace("lean.import_torch()", "import torch").replace(
        'assert "torch._meta_registrations" not in sys.modules', ""
    )

    assert _printed(SCRIPT) == _printed(whole) != ""


def test_who_asks_for_what_was_left_out_gets_it() -> None:
    script = (
        "from sysnoise_conform.golden import lean; lean.import_torch(); import torch._meta_registrations as m;"
        "print(hasattr(m, 'meta_mm'))"
    )

    assert _printed(script) == "True\n"
