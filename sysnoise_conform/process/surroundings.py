"""What a child finds around it: where our packages lie, and an environment that imports nothing beside a model.

PYTHONSAFEPATH and absolute paths do the latter, with the empty folder that a child works in.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from sysnoise_conform import registry

_PACKAGES = tuple(f"sysnoise_conform{each}" for each in ("", ".backends", ".golden", ".models", ".reports"))
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def package_roots() -> dict[str, str]:
    """The folder of each package of ours, found without importing it, however we are installed."""
    roots: dict[str, str] = {}
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            roots[package] = str(Path(next(iter(spec.submodule_search_locations))).resolve())
    return roots


def child_environment(tmp: Path, threads: int, defaults: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our own variables, without the search paths that a folder of models could stand in; `tmp` as its TMPDIR.

    `defaults` are for what our own leave open.
    """
    environment = {
        **(defaults or {}),
        **os.environ,
        "PYTHONSAFEPATH": "1",  # -P, where it is known (3.11); boot.py does the same for 3.10
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "TMPDIR": str(tmp),
    }
    paths = environment.pop("PYTHONPATH", "").split(os.pathsep)
    if any(paths):  # an empty entry means the working directory: never the child's, and not the model's either
        environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(each) for each in paths if each)
    backends = registry.absolute_environment()
    if backends is not None:
        environment[registry.VARIABLE] = backends
    if threads > 0:
        environment.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    return environment
