"""`make test-gpu`: everything that needs an NVIDIA GPU, on a machine where nothing can be installed.

Needs numpy, onnx, pytest, an NVIDIA driver and a TensorRT; names what is missing of these and ends with 6. The checkout
is used as it lies. What is skipped is told with its reason, at the end of pytest's own report.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TENSORRT = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
OUTER = ("backends", "golden", "models", "reports")
FILES = (
    "tests/contract/test_backends.py", "tests/test_backend_torch.py", "tests/test_gpu_trt.py", "tests/test_gpu_cli.py",
)  # fmt: skip
CONTRACT = "not contract or trt or cuda"


def missing() -> list[str]:
    """What these tests can't do without, one line each."""
    found = [name for name in ("numpy", "onnx", "pytest") if importlib.util.find_spec(name) is None]
    if not any(importlib.util.find_spec(name) for name in TENSORRT):
        found.append(f"a TensorRT ({', '.join(TENSORRT)})")
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        found.append("an NVIDIA driver (libcuda.so.1)")
    else:
        count = ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
            found.append("an NVIDIA GPU (the driver finds none)")
    return found


def laid_out(folder: Path) -> Path:
    """`folder` as a place to import `sysnoise_conform` from: links to the checkout, as setup puts it together."""
    package = folder / "sysnoise_conform"
    package.mkdir()
    for each in (ROOT / "sysnoise_conform").iterdir():
        (package / each.name).symlink_to(each)
    for name in OUTER:
        (package / name).symlink_to(ROOT / name)
    return folder


def main() -> int:
    """Run the tests and return the exit code."""
    lacking = missing()
    if lacking:
        print(f"error: make test-gpu needs {'; '.join(lacking)}: see docs/gpu.md", file=sys.stderr)
        return 6
    with tempfile.TemporaryDirectory(prefix="conform-gpu-") as name:
        paths = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        if importlib.util.find_spec("sysnoise_conform") is None or not _installed():
            paths.insert(0, str(laid_out(Path(name))))
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-k", CONTRACT, *FILES]
        if importlib.util.find_spec("pytest_timeout") is None:
            command += ["-o", "timeout=0"]
        environment = {**os.environ, "CONFORM_TEST_GPU": "1", "PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def _installed() -> bool:
    """Whether the package is whole: from the checkout alone its outer folders are missing."""
    try:
        return importlib.util.find_spec("sysnoise_conform.backends") is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
