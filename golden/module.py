"""The original nn.Module beside the golden of its export, so that export errors are told from runtime errors."""

from __future__ import annotations

import importlib
import inspect
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sysnoise_conform.backend import Tensors
from sysnoise_conform.errors import BadInput, ConformError, UsageError
from sysnoise_conform.printable import one_line

_NAMED = 5  # missing and unexpected keys shown of a state dict that does not fit


def load_module(
    factory: str, *, weights: Path | None = None, search: Path | None = None, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """What `package.module:factory` returns for `arguments`, with `weights` loaded, in eval mode.

    `search` is one more folder to import from, after all others: the user's current folder, where the
    user typed the factory's name. Weights are .safetensors, or a file of tensors that
    torch.load(weights_only=True) accepts: nothing in them is executed.

    Raises UsageError (no such module or factory, it fails, or returns something else), BadInput (weights).
    """
    made = _call(_find(factory, search), factory, arguments or {})
    if not isinstance(made, nn.Module):
        raise UsageError(f"{one_line(factory)} returned a {type(made).__name__}, not a torch.nn.Module")
    if weights is not None:
        load_weights(made, weights)
    return made.eval()


def _find(factory: str, search: Path | None) -> Any:
    package, colon, attribute = factory.partition(":")
    if not (package and colon and attribute):
        raise UsageError(f"{one_line(factory)!r} names no factory", hint="write package.module:factory")
    if search is not None and str(search) not in sys.path:
        sys.path.append(str(search))  # last: a file there can't stand in for a package
    try:
        found: Any = importlib.import_module(package)
    except ModuleNotFoundError as error:
        missing = one_line(error.name or package, 80)
        if error.name and (package == error.name or package.startswith(f"{error.name}.")):
            hint = "it is looked for among the installed packages and in the current folder"
            raise UsageError(f"there is no module {missing!r}", hint=hint) from error
        raise UsageError(
            f"{one_line(package, 80)} imports {missing!r}, which is not installed", hint=f"pip install {missing}"
        ) from error
    except Exception as error:  # the user's own code may raise anything
        raise UsageError(f"importing {one_line(package, 80)} failed: {_said(error)}") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            public = [each for each in vars(found) if not each.startswith("_") and callable(getattr(found, each))]
            raise UsageError(
                f"{one_line(package, 80)} has no {one_line(name, 80)!r}",
                hint=f"it has {one_line(', '.join(public[:8]), 160)}" if public else None,
            )
        found = getattr(found, name)
    return found


def _call(found: Any, factory: str, arguments: Mapping[str, Any]) -> Any:
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise UsageError(f"{one_line(factory)} is a {type(found).__name__}, not a factory")
    try:
        return found(**arguments)
    except ConformError:
        raise
    except Exception as error:  # the user's own code may raise anything
        hint = None if arguments else "it is called without arguments"
        raise UsageError(f"{one_line(factory)}() failed: {_said(error)}", hint=hint) from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error, 200)}"


def load_weights(module: nn.Module, path: Path) -> None:
    """Put a file's tensors into a module. Raises BadInput for a file that is none, or does not fit."""
    state = _read_weights(path)
    ours = module.state_dict()
    missing = [name for name in ours if name not in state]
    unexpected = [name for name in state if name not in ours]
    wrong = [name for name, tensor in state.items() if name in ours and ours[name].shape != tensor.shape]
    if missing or unexpected or wrong:
        parts = [
            f"{len(names)} {what} ({one_line(', '.join(names[:_NAMED]), 200)}{', …' if len(names) > _NAMED else ''})"
            for names, what in ((missing, "missing"), (unexpected, "unexpected"), (wrong, "of another shape"))
            if names
        ]
        prefixed = bool(unexpected) and all(name.startswith("module.") for name in state)
        hint = "they were saved from a DataParallel: strip the prefix 'module.'" if prefixed else None
        raise BadInput(f"{one_line(path.name)} does not fit the module: {'; '.join(parts)}", hint=hint)
    module.load_state_dict(state)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BadInput(f"there is no weights file {one_line(path)}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise BadInput(f"{one_line(path.name)} is no safetensors file: {one_line(error, 160)}") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"{one_line(path.name)} holds more than tensors, and loading that would run its code",
            hint="save the state dict alone, best as .safetensors",
        ) from error
    except Exception as error:  # on broken bytes its reader raises whatever comes (struct.error, IndexError, ...)
        raise BadInput(f"{one_line(path.name)} is no file of weights: {_said(error)}") from error
    for wrapper in ("state_dict", "model_state_dict"):  # checkpoints of common trainers
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(each, Tensor) for each in state.values()):
        raise BadInput(f"{one_line(path.name)} holds no state dict", hint="save module.state_dict()")
    return dict(state)


def run_module(module: nn.Module, feeds: Mapping[str, np.ndarray[Any, Any]], dtype: torch.dtype) -> Any:
    """What forward returns for `feeds`, floating-point feeds and parameters in `dtype`.

    Feeds go to the parameters of forward with their names where it has them all, else in the order of
    `feeds`. The module is left in `dtype`. Raises BadInput when forward raises.
    """
    tensors = {name: _feed(array, dtype) for name, array in feeds.items()}
    module.to(dtype)
    by_name = tensors.keys() <= forward_parameters(module)
    try:
        with torch.inference_mode():
            return module(**tensors) if by_name else module(*tensors.values())
    except Exception as error:  # the user's own code may raise anything
        shapes = ", ".join(f"{one_line(name, 40)} {tuple(each.shape)}" for name, each in tensors.items())
        raise BadInput(f"the module can't run on {shapes}: {_said(error)}") from error


def forward_parameters(module: nn.Module) -> set[str]:
    """Names of forward's parameters that can be given by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name for name, each in inspect.signature(module.forward).parameters.items() if each.kind in named}


def _feed(array: np.ndarray[Any, Any], dtype: torch.dtype) -> Tensor:
    tensor = torch.from_numpy(np.array(array))  # a copy: the module may write into it
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def flattened(returned: Any) -> tuple[list[Tensor], list[str]]:
    """The tensors in what forward returned, with their names where it gives names (a dict, a ModelOutput)."""
    if isinstance(returned, Tensor):
        return [returned], []
    if isinstance(returned, Mapping):
        named = {str(name): each for name, each in returned.items() if isinstance(each, Tensor)}
        if len(named) == len(returned):
            return list(named.values()), list(named)
        returned = list(returned.values())
    if isinstance(returned, (tuple, list)):
        tensors = [tensor for each in returned if each is not None for tensor in flattened(each)[0]]
        return tensors, list(getattr(returned, "_fields", ())) if len(tensors) == len(returned) else []
    raise BadInput(f"the module returns a {type(returned).__name__}, not tensors")


def named_outputs(returned: Any, outputs: Sequence[str]) -> tuple[Tensors, str]:
    """What forward returned under the names of the graph's outputs, and how it was matched: `name` or `order`.

    Tensors of a dict or named tuple that has all the graph's names go by name; else there must be as many
    tensors as outputs, and they go in order. Raises BadInput.
    """
    tensors, names = flattened(returned)
    if set(outputs) <= set(names):
        found = dict(zip(names, tensors, strict=True))
        return {name: found[name].detach().numpy().copy() for name in outputs}, "name"
    if len(tensors) != len(outputs):
        raise BadInput(
            f"the module returns {len(tensors)} tensors, the graph has {len(outputs)} outputs",
            hint="return a dict with the graph's output names",
        )
    return {name: each.detach().numpy().copy() for name, each in zip(outputs, tensors, strict=True)}, "order"
