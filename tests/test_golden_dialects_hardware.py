"""The AVX2 dialect against AVX2 itself: OpenVINO's oneDNN takes the older instructions when it is told to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import graph
from onnx import numpy_helper

from sysnoise_conform.golden.dialects import Dialect, translated
from sysnoise_conform.golden.executor import Executor, Mode, to_numpy

pytest.importorskip("openvino")
if "avx2" not in Path("/proc/cpuinfo").read_text():
    pytest.skip("no AVX2 here", allow_module_level=True)

PROGRAM = """
import sys
import numpy as np
import openvino as ov
core = ov.Core()
model = core.compile_model(core.read_model(sys.argv[1] + "/model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
np.save(sys.argv[1] + "/y.npy", model(np.load(sys.argv[1] + "/x.npy"))[0])
for op in model.get_runtime_model().get_ordered_ops():
    print(op.get_rt_info()["primitiveType"].value)
"""
CONV = """g (float[1,16,9,9] x) => (float[1,8,m,n] y) {{
    a = QuantizeLinear(x, xs, xz) b = DequantizeLinear(a, xs, xz) v = DequantizeLinear <axis = 0> (w, ws, wz)
    c = Conv {attributes} (b, v) q = QuantizeLinear(c, ys, yz) y = DequantizeLinear(q, ys, yz) }}"""


@pytest.mark.parametrize(("kernel", "attributes"), [(1, ""), (3, "<pads = [1, 1, 1, 1], strides = [2, 2]>")])
def test_a_convolution_gives_the_codes_that_avx2_gives(tmp_path: Path, kernel: int, attributes: str) -> None:
    draw = np.random.default_rng(kernel)
    w = draw.integers(-128, 128, (8, 16, kernel, kernel)).astype(np.int8)
    w[0] = 127
    model = graph(CONV.format(attributes=attributes))
    step = np.array(kernel * kernel, np.float32)
    for name, array in {
        "w": w, "ws": np.full(8, 0.01, np.float32), "wz": np.zeros(8, np.int8), "xs": np.array(0.02, np.float32),
        "xz": np.array(0, np.uint8), "ys": step, "yz": np.array(128, np.uint8),
    }.items():  # fmt: skip
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    x = (draw.integers(0, 256, (1, 16, 9, 9)) * 0.02).astype(np.float32)
    onnx.save(model, tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", x)

    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(tmp_path)],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    if not any("avx2" in line and "I8" in line for line in done.stdout.splitlines()):
        pytest.skip("this OpenVINO has no AVX2 kernel for it, or heeds no ONEDNN_MAX_CPU_ISA")

    theirs = np.load(tmp_path / "y.npy")
    emulated, _ = translated(model, Dialect(u8s8="saturate"))
    ours = to_numpy(Executor(emulated, Mode.FLOAT32).run({"x": x})["y"])
    exact = to_numpy(Executor(model, Mode.FLOAT32).run({"x": x})["y"])
    assert np.abs(theirs - ours).max() <= step  # a tie between two codes may fall either way
    assert (theirs != ours).mean() < 0.01
    assert (theirs != exact).mean() > 0.1
