"""Which tensors OpenVINO still computes as such: its executed layers tell which of the model's operators each holds."""

from __future__ import annotations

from typing import Any

from sysnoise_conform.backend import Optimised


def operators(model: Any) -> list[tuple[str, list[tuple[set[str], set[str]]]]]:
    """The model's operators in order: name, and for each output its tensor names and the operators that read it."""
    found = []
    for op in model.get_ordered_ops():
        outputs = [
            (set(port.get_names()), {each.get_node().get_friendly_name() for each in port.get_target_inputs()})
            for port in op.outputs()
        ]
        found.append((op.get_friendly_name(), outputs))
    return found


def optimised(compiled: Any, model: list[tuple[str, list[tuple[set[str], set[str]]]]]) -> Optimised:
    """The tensors that pass from one executed layer to another; `model` is `operators` of what was compiled.

    A layer lists the operators that it holds in `originalLayersNames`, with commas between names that may hold some.
    """
    known = {name for name, _ in model}
    layer_of: dict[str, int] = {}
    for at, op in enumerate(compiled.get_runtime_model().get_ordered_ops()):
        info = op.get_rt_info()
        if "originalLayersNames" not in info:
            continue
        for name in _names(info["originalLayersNames"].value, known):
            layer_of.setdefault(name, at)
    made: set[str] = set()
    for name, outputs in model:
        if name not in layer_of:
            continue
        for tensors, readers in outputs:
            if any(layer_of.get(reader) != layer_of[name] for reader in readers):
                made |= tensors
    return Optimised(tensors=tuple(sorted(made)))


def _names(text: str, known: set[str]) -> list[str]:
    """The known names in a list that has commas between them."""
    parts, found = text.split(","), []
    while parts:
        length = next((n for n in range(len(parts), 0, -1) if ",".join(parts[:n]) in known), 0)
        if length:
            found.append(",".join(parts[:length]))
        parts = parts[max(1, length) :]
    return found
