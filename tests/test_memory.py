"""Memory does not grow with the samples: neither in the parent nor in a child does a tensor outlive its sample."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

SAMPLER = Path(__file__).parent / "benchmarks" / "pss.py"
FEW, MANY = 8, 64
TOLERANCE = 1.05
# 1 MB of float32 and 2 MB of golden for each sample: were they kept, 56 more samples would be 56 to 170 MB more.
NETWORK = """
<ir_version: 9, opset_import: ["": 18]>
wide (float[1,3,64,64] x) => (float[1,16,1,1] y) {
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
  r = Relu (c)
  d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (r, v)
  s = Sigmoid (d)
  y = GlobalMaxPool (s)
}
"""


pytestmark = pytest.mark.alone


@dataclass(frozen=True)
class Workplace:
    """A model and its inputs; `peak` is what a run over the first so many of them takes, in MiB without goldens."""

    folder: Path

    def peak(self, samples: int, golden: str) -> float:
        out, result = self.folder / "out", self.folder / "peak.json"
        command = [
            sys.executable, "-I", str(SAMPLER), str(result),
            sys.executable, "-P", "-c", "from sysnoise_conform.cli import main; main()",
            "run", "--model", "model.onnx", "--inputs", "inputs", "--samples", str(samples), "--backends", "ort",
            "--threads", "1",  # two that wait for each other on a busy machine are many times slower
            "--out", str(out),
        ]  # fmt: skip
        cache = str(self.folder / f"cache-{samples}")
        done = subprocess.run(
            ["env", f"CONFORM_CACHE={cache}", *command],
            capture_output=True, text=True, check=False, timeout=250, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        assert summary["golden"]["source"] == golden
        assert summary["inputs"]["samples"] == samples
        return float(json.loads(result.read_text(encoding="utf-8"))["rest_mib"])


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("memory")
    proto = onnx.parser.parse_model(NETWORK)
    rng = np.random.default_rng(0)
    for name, channels in (("w", 3), ("v", 16)):
        values = (rng.standard_normal((16, channels, 3, 3)) / 4).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.save(proto, folder / "model.onnx")
    (folder / "inputs").mkdir()
    for number in range(MANY):
        np.save(folder / "inputs" / f"{number:02}.npy", rng.random((1, 3, 64, 64), dtype=np.float32))
    return Workplace(folder)


@pytest.mark.parametrize("golden", ["computed", "store"])  # in this order: the second finds what the first left
def test_the_peak_is_the_same_on_few_and_on_many_samples(workplace: Workplace, golden: str) -> None:
    few, many = workplace.peak(FEW, golden), workplace.peak(MANY, golden)

    assert many <= TOLERANCE * few, f"{few:.0f} MiB on {FEW} samples, {many:.0f} MiB on {MANY}"
