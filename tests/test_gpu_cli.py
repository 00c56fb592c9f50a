"""The real command line on a GPU: a run and a diagnosis on TensorRT, ONNX Runtime's CUDA and PyTorch's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from precisions import network, sample

from sysnoise_conform.backends import cuda
from sysnoise_conform.errors import BackendUnavailable

pytestmark = pytest.mark.gpu
NEEDED = ("typer", "rich", "polars", "PIL", "torch")


LACKING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if LACKING:
    pytest.skip(f"the command line needs {', '.join(LACKING)}", allow_module_level=True)
try:
    cuda.driver()
except BackendUnavailable as why:
    pytest.skip(str(why), allow_module_level=True)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(network("fp32"), tmp_path / "net.onnx")
    np.savez(tmp_path / "feed.npz", x=sample())
    return tmp_path / "net.onnx"


def test_a_run_gates_every_backend_that_has_a_gpu(conform, model: Path) -> None:
    backends = "trt,trt:tf32,trt+watch=debug,ort@cuda,torch@cuda"
    done = conform("run", "--model", model, "--inputs", "feed.npz", "--backends", backends)
    print(done.stdout)
    assert done.variant("trt")["verdict"] == "PASS"
    assert done.variant("trt+watch=debug")["verdict"] == "PASS"


@pytest.mark.parametrize("backend", ["trt", "trt+watch=debug"])
def test_a_diagnosis_finds_nothing_to_blame_in_a_healthy_network(conform, model: Path, backend: str) -> None:
    done = conform("diagnose", "--model", model, "--inputs", "feed.npz", "--backend", backend)
    print(done.stdout)
    assert done.code == 0
