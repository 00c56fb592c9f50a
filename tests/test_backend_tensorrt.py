"""TensorRT: a known name from the first day, which says what is missing and what to do."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import pytest
from graphs import build_of

from sysnoise_conform.backends import cuda
from sysnoise_conform.backends.tensorrt import TensorRT
from sysnoise_conform.errors import BackendUnavailable

INSTALLED = any(importlib.util.find_spec(name) for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"))


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(INSTALLED, reason="TensorRT is installed here")
def test_without_tensorrt_it_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable) as probed:
        TensorRT().probe()
    with pytest.raises(BackendUnavailable):
        TensorRT().compile(build_of("g (float[2] x) => (float[2] y) { y = Relu(x) }", tmp_path))
    assert "pip install tensorrt" in str(probed.value.hint)
    assert probed.value.exit_code == 6


@pytest.mark.skipif(INSTALLED, reason="TensorRT is installed here")
def test_an_installed_tensorrt_without_a_driver_names_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_driver():
        pytest.skip("an NVIDIA driver is here")
    (tmp_path / "tensorrt.py").write_text("__version__ = '11.4.0'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BackendUnavailable, match=r"TensorRT 11\.4\.0 is installed, but no NVIDIA driver"):
        TensorRT().probe()


@pytest.mark.skipif(INSTALLED, reason="TensorRT is installed here")
@pytest.mark.parametrize(
    ("source", "said"),
    [("__version__ = '8.6.1'", "older than 10"), ("raise OSError('libnvinfer.so.10 not found')", "libnvinfer.so.10")],
)
def test_a_tensorrt_that_can_not_serve_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / "tensorrt.py").write_text(source + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "tensorrt", raising=False)
    with pytest.raises(BackendUnavailable, match=said):
        TensorRT().probe()


def test_without_a_driver_the_gpu_is_unavailable() -> None:
    if has_driver():
        pytest.skip("an NVIDIA driver is here")
    with pytest.raises(BackendUnavailable, match=r"libcuda\.so\.1"):
        cuda.Gpu(0)
