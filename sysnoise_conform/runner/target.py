"""The graph under test: the model itself, or the file that ships."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sysnoise_conform.case import Case, Deployed
from sysnoise_conform.deployed import READERS, Checked, Interface
from sysnoise_conform.deployed import Port as DeployedPort
from sysnoise_conform.errors import BadModel, StorageError, UsageError
from sysnoise_conform.files import copy_hashed, open_regular
from sysnoise_conform.graph.intake import Model, Port, open_model
from sysnoise_conform.graph.shapes import describe
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

FORMATS = {".onnx": "onnx", ".tflite": "tflite", ".xml": "ir"}
TO_NHWC = (0, 2, 3, 1)  # axes of the golden's tensor, in the order in which the file has them


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The graph that backends get.

    One of `model` and `checked` is there: the latter for a format that only its runtime can read (tflite, ir). `names`
    maps golden tensor names to the target's; a name that is not in it is the same on both sides. `layouts` holds
    the golden names of tensors that the target has with channels last.
    """

    path: Path
    format: str
    model: Model | None
    checked: Checked | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)

    def name(self, golden: str) -> str:
        """The target's name of a golden tensor."""
        return self.names.get(golden, golden)

    def sha256(self) -> str:
        """Of the bytes of all its files."""
        if self.checked is None:
            assert self.model is not None
            return self.model.sha256
        sums = [each for _, each in self.checked.files]
        return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()

    def copy_to(self, folder: Path) -> Path:
        """A private copy of the files that were checked; returns the copy of the one to load.

        Raises BadModel where one has changed since, StorageError for a full disk.
        """
        assert self.checked is not None
        for path, digest in self.checked.files:
            _copy(path, folder / f"deployed{path.suffix.lower()}", digest)
        return folder / f"deployed{self.path.suffix.lower()}"


def _copy(path: Path, place: Path, digest: str) -> None:
    try:
        with open_regular(path, what="the deployed file", error=BadModel) as source:
            found = copy_hashed(source, place)
    except OSError as err:
        raise StorageError(
            f"can't copy {one_line(path.name, 120)!r} for a child: {one_line(err.strerror or err, 120)}",
            hint="choose another TMPDIR",
        ) from err
    if found != digest:
        raise BadModel(
            f"the deployed file {one_line(path.name, 120)!r} was changed while it was used", hint="run again"
        )


def target_of(case: Case, model: Model, feed: Mapping[str, np.ndarray]) -> Target:
    """The graph under test of a case; `feed` is one sample, for the sizes that the golden's model leaves open.

    Raises UsageError for a file of no known format, for a name that is on neither side and for an
    interface that can't take the model's inputs; BadModel from intake.
    """
    if case.deployed is None:
        return Target(path=model.path, format="onnx", model=model)
    path = case.deployed.path
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise UsageError(
            f"--deployed {one_line(path)}: not a deployable format ({one_line(path.suffix, 40) or 'no suffix'})",
            hint="give .onnx, .tflite or OpenVINO .xml; a serialised engine is native code and is never loaded",
        )
    _check_names(case.deployed, model)
    names, layouts = case.deployed.names, case.deployed.layouts
    if form == "onnx":
        shipped = open_model(path, allow_linked_data=case.allow_linked_data)
        target = Target(path=path, format=form, model=shipped, names=names, layouts=layouts)
        theirs = _onnx_interface(shipped)
        _check_types(target, model, shipped)
    else:
        checked = READERS[form](path, case.allow_linked_data)
        target = Target(path=path, format=form, model=None, checked=checked, names=names, layouts=layouts)
        theirs = checked.interface
    _check_mapped(target, theirs)
    _check_inputs(target, model, theirs, feed)
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


def _onnx_interface(shipped: Model) -> Interface:
    return Interface(
        inputs=tuple(
            DeployedPort(
                names=(each.name,),
                shape=None if each.shape is None else tuple(d if isinstance(d, int) else None for d in each.shape),
                elem_type=describe(each).partition(" ")[0],
            )
            for each in shipped.inputs
        ),
        tensors=frozenset(_tensors(shipped)),
    )


def _check_mapped(target: Target, theirs: Interface) -> None:
    """`--map` names tensors that the file has."""
    for golden, name in target.names.items():
        if name not in theirs.tensors and not any(name in each.names for each in theirs.inputs):
            raise UsageError(
                f"--map {one_line(golden)}={one_line(name)}: no such tensor in {one_line(target.path.name)}",
                hint=nearest(name, theirs.tensors),
            )


def _check_types(target: Target, model: Model, shipped: Model) -> None:
    """A shipped ONNX file takes what the model takes; other formats declare types of their own making."""
    inputs = {each.name: each for each in shipped.inputs}
    for port in model.inputs:
        found = inputs.get(target.name(port.name))
        if found is not None and found.elem_type != port.elem_type:
            raise _other_input(target, port, one_line(found.name), describe(found))


def _other_input(target: Target, port: Port, name: str, theirs: str) -> UsageError:
    return UsageError(
        f"input {name!r} of {one_line(target.path.name)} is {theirs}, "
        f"the model's {one_line(port.name)!r} is {describe(port)}",
        hint="give the file that was made from this model",
    )


def _check_inputs(target: Target, model: Model, theirs: Interface, feed: Mapping[str, np.ndarray]) -> None:
    """Each input of the model is one of the file, of a shape that fits in the declared layout; the file has no more."""
    left = list(theirs.inputs)
    shown = ", ".join(one_line(each.names[0], 80) for each in theirs.inputs if each.names) or "none"
    for port in model.inputs:
        name = target.name(port.name)
        found = next((each for each in left if name in each.names), None)
        if found is None:
            raise UsageError(
                f"{one_line(target.path.name)} has no input {one_line(name)!r}",
                hint=f"its inputs: {shown}; bring them together with --map",
            )
        left.remove(found)
        if port.name in feed:
            _check_shape(target, port, found, feed[port.name].shape)
    if left:
        name = one_line(left[0].names[0], 80) if left[0].names else "without a name"
        raise UsageError(
            f"{one_line(target.path.name)} takes an input {name!r} that the model does not have",
            hint="bring the names together with --map, or give the file that was made from this model",
        )


def _check_shape(target: Target, port: Port, found: DeployedPort, shape: tuple[int, ...]) -> None:
    """What is fed, in the layout that `--layout` declares, against the file's own sizes."""
    layout = target.layouts.get(port.name)
    orders: dict[str | None, tuple[int, ...]] = {None: tuple(range(len(shape)))}
    if len(shape) == 4:
        orders["NHWC"] = TO_NHWC
    elif layout is not None:
        raise UsageError(
            f"--layout {one_line(port.name)}={layout} speaks of 4 dimensions, the input has {len(shape)}",
            hint="give --layout only for image-like tensors",
        )
    fits = [each for each, order in orders.items() if _fits(tuple(shape[axis] for axis in order), found.shape)]
    if layout in fits:
        return
    name = one_line(port.name)
    if fits:
        hint = f"if the file has channels last, say --layout {name}=NHWC" if layout is None else "leave --layout out"
        declared = "" if layout is None else f" with --layout {name}={layout}"
        raise UsageError(
            f"input {one_line(found.names[0])!r} of {one_line(target.path.name)} is {found},"
            f" which {list(shape)} does not fit{declared}",
            hint=hint,
        )
    raise UsageError(
        f"input {one_line(found.names[0])!r} of {one_line(target.path.name)} is {found}, the samples are {list(shape)}",
        hint="give the file that was made from this model, or samples and a --shape of its size",
    )


def _fits(shape: tuple[int, ...], declared: tuple[int | None, ...] | None) -> bool:
    if declared is None or (shape == () and declared == (1,)):  # TFLite files have no rank-0 inputs
        return True
    return len(shape) == len(declared) and all(d in (None, s) for d, s in zip(declared, shape, strict=True))
