"""Which interpreter runs a backend: one that was named, an environment of its own under the cache, or our own.

A child needs numpy, onnx and our worker, which it is shown; so a runtime whose pins clash with everybody else's
lives in a virtual environment of its own, and an old one under an old Python (3.10 and numpy 1.26 suffice).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sysnoise_conform import registry
from sysnoise_conform.backends.pins import ONNX2TF
from sysnoise_conform.errors import BackendUnavailable, StorageError, UsageError
from sysnoise_conform.folders import cache_folder
from sysnoise_conform.interpreters import MARKER, config_file, configured, folder_of
from sysnoise_conform.printable import lines, one_line
from sysnoise_conform.variant import Variant, nearest

OLDEST = (3, 10)
_PIP_LIMIT_S = 1800
_PROBE = """
import importlib.util, json, sys
print(json.dumps([list(sys.version_info[:3]), [n for n in ("numpy", "onnx") if importlib.util.find_spec(n) is None]]))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What an environment is filled with: exact pins, tested together.

    `bare` are installed without their dependencies and without regard to the Python that their metadata asks for.
    """

    packages: tuple[str, ...]
    bare: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """A finished environment under the cache; it is not `current` when conform would now fill it otherwise."""

    backend: str
    folder: Path
    python: Path
    version: str
    current: bool


_COMMON = ("numpy==2.4.6", "onnx==1.23.2", "ml_dtypes==0.6.0", "protobuf==7.36.2", "typing_extensions==4.16.0")
RECIPES: dict[str, Recipe] = {
    "ort": Recipe(packages=(*_COMMON, "onnxruntime==1.31.1")),
    "openvino": Recipe(packages=(*_COMMON, "openvino==2026.4.1")),
    "mnn": Recipe(packages=(*_COMMON, "MNN==3.6.1")),
    "tflite": Recipe(
        packages=(*_COMMON, "ai-edge-litert==2.3.0", "flatbuffers==25.12.19", "psutil==7.2.2", "tqdm==4.70.1"),
        bare=ONNX2TF,
    ),
    # A library of pictures, which is no backend: `pictures.elsewhere`.
    "dali": Recipe(packages=("numpy==2.4.6", "nvidia-dali-cuda120==2.4.0")),
    # It pins numpy below 2, and wants much for its data sets that its networks do not need.
    "compressai": Recipe(
        packages=("numpy==1.26.4", "scipy==1.17.1", "torch==2.13.0", "tqdm==4.70.1"), bare=("compressai==1.2.8",)
    ),
}


def interpreter(variant: Variant) -> Path | None:
    """The Python that runs a variant; None means our own.

    `+python=PATH` goes before the config key `python.NAME` in `[env]`, that before an environment under the cache.
    Raises UsageError when the one that is named does not exist, is no Python of ours, or lacks numpy or onnx.
    """
    named = variant.option("python")
    if named is not None:
        return _checked(Path(named), f"{variant.backend}+python={one_line(named)}")
    configured = _configured().get(variant.backend)
    if configured is not None:
        return _checked(configured, f"python.{variant.backend} in {one_line(config_file())}")
    found = _read(folder_of(variant.backend))
    return None if found is None else found.python


def environments() -> tuple[Environment, ...]:
    """The finished environments under the cache, by name."""
    parent = cache_folder() / "envs"
    folders = sorted(each for each in parent.iterdir() if each.is_dir()) if parent.is_dir() else []
    return tuple(found for found in map(_read, folders) if found is not None)


def listing() -> tuple[str, ...]:
    """One line for each backend, with the interpreter that runs it; then one for each environment that is not used."""
    configured, made = _configured(), {each.backend: each for each in environments()}
    told: list[str] = []
    idle: list[str] = []
    for name in (*registry.names(), *sorted(set(made) - set(registry.names()))):
        own = made.get(name)
        if name in configured:
            told.append(_line(name, configured[name], f"configured in {config_file()}"))
        elif own is None:
            told.append(_line(name, sys.executable, "this one"))
        if own is not None:
            why = "" if own.current else f"; outdated, refresh it: conform env create {name}"
            unused = "; not used, the config names another" if name in configured else ""
            (idle if unused else told).append(
                _line(name, own.python, f"its own, Python {own.version}, under the cache{why}{unused}")
            )
    return (*told, *idle)


def _line(backend: str, python: Path | str, whose: str) -> str:
    return f"{backend:<10} {one_line(python)}  ({one_line(whose)})"


def create(backend: str, *, announce: Callable[[str], None] | None = None) -> Path:
    """Make a backend's environment under the cache and fill it; one that is there and current is left as it is.

    `announce` is told before anything is downloaded. Returns its folder. Raises UsageError for a backend without a
    recipe, BackendUnavailable when pip can't fill it (its whole output is kept beside it), StorageError. A half-made
    one is removed and never listed.
    """
    recipe = RECIPES.get(backend)
    if recipe is None:
        if backend in registry.targets():
            raise UsageError(
                f"there is no recipe for an environment of {backend!r}",
                hint=f"make one with numpy and onnx in it and name it: {backend}+python=PATH",
            )
        raise UsageError(f"no backend is called {one_line(backend)!r}", hint=nearest(backend, RECIPES))
    folder = folder_of(backend)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _held(folder.with_suffix(".lock")):
            found = _read(folder)
            if found is None or not found.current:
                if announce is not None:
                    announce(f"creating an environment for {backend}; this downloads packages")
                _make(folder, backend, recipe)
    except OSError as err:
        raise StorageError(f"can't make the environment {one_line(folder)}: {err.strerror or one_line(err)}") from err
    return folder


def _make(folder: Path, backend: str, recipe: Recipe) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    log = folder.with_suffix(".log")
    python = folder / "bin" / "python"
    pip = [str(python), "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    steps = [[sys.executable, "-I", "-m", "venv", str(folder)], [*pip, *recipe.packages]]
    if recipe.bare:
        steps.append([*pip, "--no-deps", "--ignore-requires-python", *recipe.bare])
    try:
        with log.open("wb") as output:
            for step in steps:
                subprocess.run(
                    step,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=folder.parent,
                    check=True,
                    timeout=_PIP_LIMIT_S,
                )
        facts = {"backend": backend, "version": _ask(python)[0], "recipe": asdict(recipe)}
        partial = folder / f"{MARKER}.tmp"
        partial.write_text(json.dumps(facts, sort_keys=True))
        partial.replace(folder / MARKER)
    except (subprocess.SubprocessError, ValueError) as err:
        shutil.rmtree(folder, ignore_errors=True)
        raise BackendUnavailable(
            f"the environment for {backend} could not be made: {_complaint(log) or one_line(err)}",
            hint=f"pip's whole output is in {log}",
        ) from err
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _complaint(log: Path) -> str:
    told = lines(log.read_text(encoding="utf-8", errors="replace")).splitlines()
    errors = [each for each in told if each.startswith("ERROR:")] or [each for each in told if each.strip()]
    return one_line(errors[-1], 200) if errors else ""


@contextlib.contextmanager
def _held(lock: Path) -> Iterator[None]:
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _read(folder: Path) -> Environment | None:
    try:
        facts: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        version, made_of = str(facts["version"]), facts["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    python = folder / "bin" / "python"
    if not os.access(python, os.X_OK):  # the Python that it was made from is gone
        return None
    recipe = RECIPES.get(folder.name)
    current = recipe is not None and made_of == json.loads(json.dumps(asdict(recipe)))
    return Environment(backend=folder.name, folder=folder, python=python, version=version, current=current)


def _configured() -> dict[str, Path]:
    pythons = configured()
    known = dict.fromkeys([*registry.targets(), *RECIPES])
    unknown = sorted(set(pythons) - set(known))
    if unknown:
        raise UsageError(
            f"python.{one_line(unknown[0])} in {one_line(config_file())} names no backend",
            hint=nearest(unknown[0], known),
        )
    return pythons


def _checked(python: Path, said: str) -> Path:
    path = python.expanduser().absolute()  # not resolved: a venv's python is a link, and the link is the venv
    if not path.is_file() or not os.access(path, os.X_OK):
        raise UsageError(f"{said}: there is no interpreter {one_line(path)}", hint="name the python of an environment")
    try:
        version, lacking = _ask(path)
    except (OSError, ValueError, subprocess.SubprocessError) as err:
        raise UsageError(f"{said}: {one_line(path)} is no Python that runs", hint="name a python executable") from err
    if tuple(map(int, version.split("."))) < OLDEST:
        raise UsageError(f"{said}: it is Python {version}", hint=f"Python {OLDEST[0]}.{OLDEST[1]} is the oldest")
    if lacking:
        raise UsageError(
            f"{said}: it has no {' and no '.join(lacking)}", hint=f"{one_line(path)} -m pip install {' '.join(lacking)}"
        )
    return path


def _ask(python: Path) -> tuple[str, list[str]]:
    said = subprocess.run(
        [str(python), "-I", "-c", _PROBE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=60,
        cwd="/",
    )
    version, lacking = json.loads(said.stdout)
    return ".".join(map(str, version)), list(lacking)
