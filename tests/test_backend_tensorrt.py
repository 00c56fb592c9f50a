"""TensorRT where there is none, or no GPU: a known name that says what is missing and what to do."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from graphs import build_of

from sysnoise_conform.backends import cuda
from sysnoise_conform.backends.tensorrt import TensorRT
from sysnoise_conform.errors import BackendUnavailable


@pytest.fixture(autouse=True)
def _no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if none were installed, whatever is."""
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    if importlib.util.find_spec("tensorrt") is not None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)


def put(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `tensorrt` of our own before any other."""
    (folder / "tensorrt.py").write_text(source + "\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def test_without_tensorrt_it_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable) as probed:
        TensorRT().probe()
    with pytest.raises(BackendUnavailable):
        TensorRT().compile(build_of("g (float[2] x) => (float[2] y) { y = Relu(x) }", tmp_path))
    assert "pip install tensorrt" in str(probed.value.hint)
    assert probed.value.exit_code == 6


def test_an_installed_tensorrt_without_a_driver_names_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_driver():
        pytest.skip("an NVIDIA driver is here")
    put(tmp_path, "__version__ = '11.4.0'", monkeypatch)
    with pytest.raises(BackendUnavailable, match=r"TensorRT 11\.4\.0 is installed, but no NVIDIA driver"):
        TensorRT().probe()


@pytest.mark.parametrize(
    ("source", "said"),
    [("__version__ = '8.6.1'", "older than 10"), ("raise OSError('libnvinfer.so.10 not found')", "libnvinfer.so.10")],
)
def test_a_tensorrt_that_can_not_serve_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    put(tmp_path, source, monkeypatch)
    with pytest.raises(BackendUnavailable, match=said):
        TensorRT().probe()


def test_the_tests_for_a_gpu_name_what_they_lack() -> None:
    if has_driver():
        pytest.skip("an NVIDIA driver is here")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "gpu.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 6
    assert "make test-gpu needs" in done.stderr
    assert "an NVIDIA driver (libcuda.so.1)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_driver_the_gpu_is_unavailable() -> None:
    if has_driver():
        pytest.skip("an NVIDIA driver is here")
    with pytest.raises(BackendUnavailable, match=r"libcuda\.so\.1"):
        cuda.Gpu(0)
