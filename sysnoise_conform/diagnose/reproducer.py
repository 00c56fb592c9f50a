"""A culprit as a folder to send to a runtime's makers: one small model, its arrays, a script, a text for their tracker.

Nothing here trusts a name of the model: its inputs and outputs get plain names (`input_0`, `output_0`), which are those
of the arrays and of the script too, and README.md tells which tensors they are.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from sysnoise_conform.diagnose import issue, script
from sysnoise_conform.diagnose.facts import Layer, Owner
from sysnoise_conform.diagnose.limits import Limits, limits
from sysnoise_conform.diagnose.plain_model import Arrays, Plain
from sysnoise_conform.diagnose.subject import CONVERTED, Subject
from sysnoise_conform.outcome import RuntimeFacts, TensorDiff
from sysnoise_conform.report.folder import atomic_write, storage_errors
from sysnoise_conform.variant import Variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """What a reproducer is made of.

    `made` is the operator or block alone, in plain names, with what the runtime answered; `diff` its introduced error.
    `tensors` says which tensor of the whole model an input or output is, where that has another name there.
    `converted` is what the runtime really ran, where a converter made it of the model. `owner` has to mend it.
    """

    made: Plain
    layer: Layer
    diff: TensorDiff
    variant: Variant
    runtime: RuntimeFacts
    environment: Mapping[str, Any]
    tensors: Mapping[str, str] = field(default_factory=dict)
    converted: bytes | None = None
    owner: Owner | None = "runtime"


def folder_name(number: int, op_type: str) -> str:
    """`culprit-1-averagepool`; an operator that ONNX does not define is called `operator`."""
    known = op_type in _operators()
    return f"culprit-{number}-{re.sub('[^a-z0-9]', '', op_type.lower()) if known else 'operator'}"


def write(reproduction: Reproduction, folder: Path) -> Path:
    """Make `folder` and write the reproducer into it; the folder is returned. Raises StorageError."""
    made = reproduction.made
    op_type = reproduction.layer.op_type if reproduction.layer.op_type in _operators() else "operator"
    subject = Subject(
        op_type=op_type,
        variant=reproduction.variant,
        runtime=reproduction.runtime,
        environment=reproduction.environment,
        limits=_limits(made, reproduction.diff),
        tensors=reproduction.tensors,
    )
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "model.onnx", made.model.SerializeToString())
    if reproduction.converted is not None:
        atomic_write(folder / CONVERTED[reproduction.variant.backend], reproduction.converted)
    atomic_write(folder / "inputs.npz", _npz(made.inputs))
    atomic_write(folder / "expected.npz", _npz(made.expected))
    atomic_write(folder / "repro.py", script.text(made, subject))
    report = issue.text(made, subject, reproduction.layer, reproduction.diff, reproduction.owner)
    atomic_write(folder / "README.md", report)
    return folder


@lru_cache(maxsize=1)
def _operators() -> frozenset[str]:
    return frozenset(each.name for each in onnx.defs.get_all_schemas() if each.name.isidentifier())


def _limits(made: Plain, diff: TensorDiff) -> dict[str, Limits]:
    """For each output the errors from which on the difference counts as there."""
    return {name: limits(made.expected[name], made.got.get(name), diff) for name in made.expected}


def _npz(arrays: Mapping[str, Arrays]) -> bytes:
    stream = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(stream, **named)
    return stream.getvalue()
