"""Where and with what a run was made: versions, processor, threads. Facts for the report's header."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import sysnoise_conform

# Everything that can move a number, or that a bug report needs.
PACKAGES = (
    "numpy", "onnx", "pillow", "polars", "torch", "onnxruntime", "onnxruntime-gpu", "openvino", "ai-edge-litert",
    "tflite-runtime", "onnx2tf", "MNN", "tensorrt", "opencv-python", "opencv-python-headless", "ml_dtypes",
)

# The instruction sets by which runtimes choose kernels, as /proc/cpuinfo calls them.
ISA_FLAGS = (
    "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "sve", "bf16", "i8mm",
)


def versions() -> dict[str, str]:
    """Name -> version of the installed packages of `PACKAGES`; nothing is imported."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> tuple[str, tuple[str, ...]]:
    """The processor's name and those of `ISA_FLAGS` that it has."""
    name, flags = platform.machine(), set[str]()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return name, ()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() in {"flags", "Features"}:
            flags = set(value.split())
            break
    return name, tuple(each for each in ISA_FLAGS if each in flags)


def usable_cores(groups: Path = Path("/sys/fs/cgroup"), *, group: str | None = None) -> int:
    """Cores this process may run on, which a container makes fewer than the machine's: by its mask, or by a quota.

    A quota is `cpu.max` of a control group (version 2) from ours, which `group` (/proc/self/cgroup) names, up to the
    root of `groups`.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        lines = (Path("/proc/self/cgroup").read_text() if group is None else group).splitlines()
    except OSError:
        return cores
    place = groups / next((each[3:].strip().lstrip("/") for each in lines if each.startswith("0::")), "")
    for each in (place, *place.parents):
        if not each.is_relative_to(groups):
            break
        cores = min(cores, _quota(each / "cpu.max") or cores)
    return cores


def threads_for(asked: int) -> int:
    """The threads of a runtime: `asked`, or where a quota leaves fewer cores than a runtime counts, as many as these.

    0 leaves the choice to the runtime.
    """
    cores = usable_cores()
    return asked or (cores if cores < len(os.sched_getaffinity(0)) else 0)


def _quota(path: Path) -> int | None:
    """`<microseconds> <of so many>` as whole cores, at least one; None where there is no limit."""
    try:
        allowed, period = (int(each) for each in path.read_text().split())
    except (OSError, ValueError):
        return None
    return max(1, -(-allowed // period)) if period > 0 else None


def environment(threads: int) -> dict[str, Any]:
    """The header's `environment`: conform, Python, platform, processor, threads, packages."""
    name, flags = processor()
    return {
        "conform": sysnoise_conform.__version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": name,
        "cpu_flags": list(flags),
        "cores": usable_cores(),
        "threads": threads,
        "packages": versions(),
    }
