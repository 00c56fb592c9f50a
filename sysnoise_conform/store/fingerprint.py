"""What determines a golden besides its model and its feeds, told without importing torch."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from sysnoise_conform.errors import BackendUnavailable

# Sources in golden/ that the numbers of a stored golden don't depend on: the command line's own parts,
# the original nn.Module, whose outputs are never stored, and what calibration looks at.
_NOT_NUMERIC = frozenset({"export.py", "module.py", "node_tests.py", "observing.py"})

# What chooses the float32 kernels of oneDNN and MKL, besides the flags themselves.
_CPU_FIELDS = ("vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features")
_CPU_VARIABLES = (
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "DNNL_DEFAULT_FPMATH_MODE",
    "ONEDNN_DEFAULT_FPMATH_MODE", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR",
)  # fmt: skip


def installed_version(package: str) -> str:
    """The installed version of a package that the golden needs. Raises `BackendUnavailable`."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise BackendUnavailable(
            f"{package} is not installed, and the golden is made with it", hint="pip install 'sysnoise-conform[torch]'"
        ) from error


@cache
def golden_source_sha256() -> str:
    """SHA-256 over names and contents of golden/*.py, less those that influence no number."""
    spec = importlib.util.find_spec("sysnoise_conform.golden")
    digest = hashlib.sha256()
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.py")):
            if path.name not in _NOT_NUMERIC:
                digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def cpu() -> str:
    """The processor's kind and instruction sets, and the variables that restrict them, as one text."""
    facts: dict[str, str] = {}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in _CPU_FIELDS:
            facts.setdefault(name.strip(), value.strip())
    facts.update({each: os.environ[each] for each in _CPU_VARIABLES if each in os.environ})
    return json.dumps(facts, sort_keys=True)


def default_threads() -> str:
    """What decides on how many threads PyTorch runs when nobody tells it."""
    asked = [os.environ[each] for each in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if each in os.environ]
    return f"{len(os.sched_getaffinity(0))} cores, {asked}"


def graph_sha256(proto: onnx.ModelProto, bound_sha256: str = "") -> str:
    """SHA-256 of a graph as the golden gets it: intake may have bound inputs or inlined bodies in it.

    Of its weights only names, types and shapes: their values are the file's, whose hash stands beside this one in a
    golden's key, or those of bound inputs, `bound_sha256`.
    """
    bare = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    bare.graph.node.extend(proto.graph.node)
    bare.graph.input.extend(proto.graph.input)
    bare.graph.output.extend(proto.graph.output)
    bare.graph.sparse_initializer.extend(proto.graph.sparse_initializer)
    weights = [(each.name, each.data_type, list(each.dims)) for each in proto.graph.initializer]
    digest = hashlib.sha256(bare.SerializeToString(deterministic=True))
    digest.update(json.dumps([weights, bound_sha256]).encode())
    return digest.hexdigest()


def feeds_sha256(feeds: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of one sample's feeds, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(feeds):
        array = np.asarray(feeds[name])
        digest.update(json.dumps([name, array.dtype.str, array.dtype.name, array.shape]).encode() + b"\0")
        if array.dtype == object:
            digest.update(json.dumps([str(each) for each in array.reshape(-1)]).encode())
        else:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
