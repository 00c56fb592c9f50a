"""Which backends there are: a table of our own, then CONFORM_BACKENDS, then the entry points of other packages.

A backend of your own without packaging it: `CONFORM_BACKENDS=mine=path/to/file.py:Class` (or `mine=module:Class`;
several with commas). The file runs with your rights, so only your own environment can name it, never a model's
folder, a card or a policy. A name of the table can't be taken by anybody else.
Runs in children too: Python 3.10, and no backend imports its runtime at module level.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sysnoise_conform.backend import Backend, Option
from sysnoise_conform.errors import UsageError
from sysnoise_conform.precision.presets import OBSERVERS, PRESETS
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import Variant, nearest

BUILTIN: Mapping[str, str] = {
    "ort": "sysnoise_conform.backends.ort:OnnxRuntime",
    "openvino": "sysnoise_conform.backends.openvino:OpenVINO",
    "tflite": "sysnoise_conform.backends.tflite:TFLite",
    "mnn": "sysnoise_conform.backends.mnn:MNN",
    "torch": "sysnoise_conform.backends.torch:Torch",
    "trt": "sysnoise_conform.backends.tensorrt:TensorRT",
}
VARIABLE = "CONFORM_BACKENDS"
GROUP = "sysnoise_conform.backends"
PRECISION_OPTIONS = (  # of every backend where the precision is int8: they choose the graph, and no runtime sees them
    Option(name="preset", about="the deployment whose quantisation is imitated", choices=tuple(PRESETS)),
    Option(name="observer", about="how ranges come from the calibration", choices=tuple(OBSERVERS)),
)
COMMON_OPTIONS = (
    Option(name="python", about="the interpreter that runs this backend, a path"),
    Option(name="threads", about="how many threads the runtime may use, a number"),
)
_FORM = f"{VARIABLE}=name=path/to/file.py:Class, or name=module:Class"


def targets() -> dict[str, str]:
    """Every known backend as name -> `module:Class` or `/path/to/file.py:Class`. Raises UsageError."""
    from importlib.metadata import entry_points  # here: to import it and to search takes 30 ms, at every child's start

    found = {each.name: each.value for each in entry_points(group=GROUP)}
    found.update(_own())
    return found


def _own() -> dict[str, str]:
    """The backends whose names nobody else's entry point can take."""
    return {**_from_environment(), **BUILTIN}


def names() -> tuple[str, ...]:
    """The names of all backends, the built-in ones first."""
    return tuple(BUILTIN) + tuple(sorted(set(targets()) - set(BUILTIN)))


def load(name: str) -> type[Backend]:
    """The class of a backend; imports its module, which imports no runtime. Raises UsageError."""
    known = _own()
    if name not in known:
        known = targets()
    if name not in known:
        raise UsageError(f"no backend is called {one_line(name)!r}", hint=nearest(name, known))
    place, _, attribute = known[name].rpartition(":")
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        loaded = getattr(module, attribute)
    except Exception as err:  # a stranger's module may raise anything; ours may be missing a file
        raise UsageError(
            f"backend {name!r} can't be loaded from {one_line(known[name])}: {type(err).__name__}: {one_line(err)}",
            hint="its module must import with numpy and onnx alone, and hold that class",
        ) from err
    missing = [each for each in ("name", "capabilities", "probe", "compile") if not hasattr(loaded, each)]
    if missing or not isinstance(loaded, type):
        raise UsageError(
            f"backend {name!r}: {one_line(known[name])} is no backend, it lacks {', '.join(missing) or 'a class'}",
            hint="backends/README.md shows one whole",
        )
    return loaded


def check(variant: Variant) -> None:
    """Hold a variant's device and options against what its backend can be asked for. Raises UsageError."""
    capabilities = load(variant.backend).capabilities
    if variant.device is not None and not _is_device(variant.device.lower(), capabilities.devices):
        raise UsageError(
            f"{variant.backend} has no device {one_line(variant.device)!r}",
            hint=nearest(variant.device.lower(), capabilities.devices),
        )
    options = {each.name: each for each in (*capabilities.options, *COMMON_OPTIONS)}
    if variant.precision == "int8":
        options |= {each.name: each for each in PRECISION_OPTIONS}
    for name, value in variant.options:
        option = options.get(name)
        if option is None and name in {each.name for each in PRECISION_OPTIONS}:
            raise UsageError(
                f"+{name} goes with int8 alone, not with {one_line(variant)!r}",
                hint=f"write {variant.backend}:int8+{name}={value}",
            )
        if option is None:
            raise UsageError(f"{variant.backend} has no option {one_line(name)!r}", hint=nearest(name, options))
        if option.choices and value not in option.choices:
            raise UsageError(
                f"{one_line(value)!r} is no value for {variant.backend}+{name}", hint=nearest(value, option.choices)
            )
        if name == "threads" and not (value.isascii() and value.isdigit() and int(value) > 0):
            raise UsageError(f"{one_line(value)!r} is no number of threads", hint="write +threads=2")


def runtime_options(variant: Variant) -> dict[str, str]:
    """The options of a variant that its runtime is to see, without those that choose an interpreter or the graph."""
    ours = {"python", *(each.name for each in PRECISION_OPTIONS)} if variant.precision == "int8" else {"python"}
    return {name: value for name, value in variant.options if name not in ours}


def absolute_environment() -> str | None:
    """CONFORM_BACKENDS with absolute paths, for a child that works in another folder; None when it is not set."""
    found = _from_environment()
    return ",".join(f"{name}={target}" for name, target in found.items()) if found else None


def _is_device(device: str, known: tuple[str, ...]) -> bool:
    family = device.replace(":", ".").partition(".")[0]  # gpu.1 and gpu:1 are devices of the family gpu
    return device in known or family in known or (device.isdigit() and "0" in known)


def _from_environment() -> dict[str, str]:
    found: dict[str, str] = {}
    for each in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        name, equals, target = each.partition("=")
        place, colon, attribute = target.rpartition(":")
        if not equals or not colon or not place or not attribute.isidentifier():
            raise UsageError(f"{VARIABLE} holds {one_line(each)!r}, which names no backend", hint=f"write {_FORM}")
        if name in BUILTIN:
            raise UsageError(f"{VARIABLE} takes the name {name!r} of a built-in backend", hint="choose another name")
        if place.endswith(".py"):
            target = f"{Path(place).expanduser().resolve()}:{attribute}"
        found[name] = target
    return found


def _from_file(path: Path) -> Any:
    name = f"conform_backend_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
