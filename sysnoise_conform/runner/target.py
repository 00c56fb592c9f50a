"""The graph under test: the model itself, or the file that ships."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sysnoise_conform.case import Case, Deployed
from sysnoise_conform.errors import BadModel, UsageError
from sysnoise_conform.files import read_regular
from sysnoise_conform.graph.intake import Model, Port, open_model
from sysnoise_conform.graph.shapes import describe
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

LIMIT_BYTES = 64 << 30

FORMATS = {".onnx": "onnx", ".tflite": "tflite", ".xml": "ir"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The graph that backends get.

    `model` is None for a format that only its runtime can read (tflite, ir). `names` maps golden
    tensor names to the target's; a name that is not in it is the same on both sides. `layouts` holds
    the golden names of tensors that the target has with channels last.
    """

    path: Path
    format: str
    model: Model | None
    names: Mapping[str, str] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)

    def name(self, golden: str) -> str:
        """The target's name of a golden tensor."""
        return self.names.get(golden, golden)

    def sha256(self) -> str:
        """Of the bytes of all its files."""
        if self.model is not None:
            return self.model.sha256
        digest = hashlib.sha256()
        for each in self._files():
            digest.update(_read(each))
        return digest.hexdigest()

    def copy_to(self, folder: Path) -> Path:
        """A private copy of the files; returns the copy of the one to load."""
        for each in self._files():
            (folder / f"deployed{each.suffix.lower()}").write_bytes(_read(each))
        return folder / f"deployed{self.path.suffix.lower()}"

    def _files(self) -> tuple[Path, ...]:
        """The file, and for OpenVINO's IR the weights that lie beside it under the same name."""
        return (self.path, self.path.with_suffix(".bin")) if self.format == "ir" else (self.path,)


def _read(path: Path) -> bytes:
    return read_regular(path, what="the deployed file", error=BadModel, limit=LIMIT_BYTES)


def target_of(case: Case, model: Model) -> Target:
    """The graph under test of a case.

    Raises UsageError for a file of no known format, for a name that is on neither side and for an
    interface that can't take the model's inputs; BadModel from intake.
    """
    if case.deployed is None:
        return Target(path=model.path, format="onnx", model=model)
    path = case.deployed.path
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise UsageError(
            f"--deployed {one_line(path)}: not a deployable format ({path.suffix or 'no suffix'})",
            hint="give .onnx, .tflite or OpenVINO .xml; a serialised engine is native code and is never loaded",
        )
    _check_names(case.deployed, model)
    shipped = open_model(path, allow_linked_data=case.allow_linked_data) if form == "onnx" else None
    target = Target(path=path, format=form, model=shipped, names=case.deployed.names, layouts=case.deployed.layouts)
    if shipped is None:
        _read(path)  # that it can be opened is known now, not after the first child has started
    else:
        _check_interface(target, model, shipped)
    return target


def _tensors(model: Model) -> set[str]:
    return {each.tensor for each in model.layers} | {each.name for each in (*model.inputs, *model.outputs)}


def _check_names(deployed: Deployed, model: Model) -> None:
    """`--map` and `--layout` speak of tensors of the golden's model."""
    known = _tensors(model)
    for option, names in (("--map", deployed.names), ("--layout", deployed.layouts)):
        for golden in names:
            if golden not in known:
                raise UsageError(
                    f"{option} {one_line(golden)}=…: the model has no tensor of that name", hint=nearest(golden, known)
                )
    theirs = list(deployed.names.values())
    for name in theirs:
        if theirs.count(name) > 1:
            raise UsageError(f"--map gives {one_line(name)!r} to two tensors", hint="a tensor has one counterpart")


def _check_interface(target: Target, model: Model, shipped: Model) -> None:
    known = _tensors(shipped)
    for golden, name in target.names.items():
        if name not in known:
            raise UsageError(
                f"--map {one_line(golden)}={one_line(name)}: no such tensor in {one_line(target.path.name)}",
                hint=nearest(name, known),
            )
    inputs = {each.name: each for each in shipped.inputs}
    for port in model.inputs:
        theirs = inputs.get(target.name(port.name))
        if theirs is None:
            raise UsageError(
                f"{one_line(target.path.name)} has no input {one_line(target.name(port.name))!r}",
                hint=f"its inputs: {', '.join(one_line(each) for each in inputs)}; bring them together with --map",
            )
        if not _takes(theirs, port):
            raise UsageError(
                f"input {one_line(theirs.name)!r} of {one_line(target.path.name)} is {describe(theirs)}, "
                f"the model's {one_line(port.name)!r} is {describe(port)}",
                hint="give the file that was made from this model",
            )


def _takes(theirs: Port, ours: Port) -> bool:
    """Whether a feed for `ours` can be one for `theirs`: the type, and the rank where both are known."""
    if theirs.elem_type != ours.elem_type:
        return False
    return theirs.shape is None or ours.shape is None or len(theirs.shape) == len(ours.shape)
