"""What a run will do, decided before anything is started: one cell per variant, graphs shared between them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import onnx

from sysnoise_conform import registry
from sysnoise_conform.case import Case
from sysnoise_conform.errors import BadModel, UsageError
from sysnoise_conform.files import read_regular
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.graph.tap import observable
from sysnoise_conform.outcome import NotApplicable, Outcome, Unobservable, Unsupported
from sysnoise_conform.printable import one_line
from sysnoise_conform.report.folder import log_stem
from sysnoise_conform.variant import Variant, nearest

# All inner tensors of one chunk are alive at once in the runtime and in the arena.
TAP_BUDGET_BYTES = 1 << 30

DEPLOYED_LIMIT_BYTES = 64 << 30

FORMATS = {".onnx": "onnx", ".tflite": "tflite", ".xml": "ir"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The graph that backends get: the model itself, or the file that ships.

    `model` is None for a format that only its runtime can read (tflite, ir). `names` maps golden
    tensor names to the target's; a name that is not in it is the same on both sides.
    """

    path: Path
    format: str
    model: Model | None
    names: Mapping[str, str] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)

    def name(self, golden: str) -> str:
        """The target's name of a golden tensor."""
        return self.names.get(golden, golden)

    def _files(self) -> tuple[Path, ...]:
        """The file, and for OpenVINO's IR the weights that lie beside it under the same name."""
        weights = self.path.with_suffix(".bin")
        return (self.path, weights) if self.format == "ir" else (self.path,)

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


def _read(path: Path) -> bytes:
    return read_regular(path, what="the deployed file", error=BadModel, limit=DEPLOYED_LIMIT_BYTES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One variant to run, or the outcome that is known without running it."""

    variant: Variant
    place: str  # the stem of its log files
    known: Outcome | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The cells, and which inner tensors every cell is asked for."""

    target: Target
    cells: tuple[Cell, ...]
    taps: tuple[tuple[str, ...], ...]  # golden names, in chunks that fit the budget together
    unobservable: tuple[Unobservable, ...]


def target_of(case: Case, model: Model) -> Target:
    """The graph under test. Raises UsageError for a file that is no known format, BadModel from intake."""
    if case.deployed is None:
        return Target(path=model.path, format="onnx", model=model)
    path = case.deployed.path
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise UsageError(
            f"--deployed {one_line(path)}: not a deployable format ({path.suffix or 'no suffix'})",
            hint="give .onnx, .tflite or OpenVINO .xml; a serialised engine is native code and is never loaded",
        )
    shipped = open_model(path, allow_linked_data=case.allow_linked_data) if form == "onnx" else None
    if shipped is not None:
        known = {each.tensor for each in shipped.layers} | {p.name for p in (*shipped.inputs, *shipped.outputs)}
        for golden, name in case.deployed.names.items():
            if name not in known:
                raise UsageError(
                    f"--map {one_line(golden)}={one_line(name)}: no such tensor in {one_line(path.name)}",
                    hint=nearest(name, known),
                )
    return Target(
        path=path, format=form, model=shipped, names=case.deployed.names, layouts=case.deployed.layouts
    )


def check_variants(case: Case) -> None:
    """Names, devices and options of all variants, before any file is opened. Raises UsageError."""
    for variant in case.variants:
        registry.check(variant)


def known_outcome(variant: Variant, target: Target) -> Outcome | None:
    """What can be said of a variant without running it."""
    capabilities = registry.load(variant.backend).capabilities
    if target.format not in capabilities.formats:
        return NotApplicable(why=f"{variant.backend} does not run .{target.format} files")
    if variant.precision in {"tf32", "fp16", "bf16", "int8"}:
        return Unsupported(
            stage="plan",
            why=f"this version does not rewrite graphs to {variant.precision}; "
            "convert the model yourself and give it with --deployed",
        )
    return None


def places(variants: Sequence[Variant]) -> list[str]:
    """A file name's stem for each variant: `openvino-auto`; numbered where two would be the same."""
    stems = [log_stem(str(each)) for each in variants]
    return [
        stem if stems.count(stem) == 1 else f"{stem}-{stems[: index + 1].count(stem)}"
        for index, stem in enumerate(stems)
    ]


def _sizes(model: Model, feed: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Bytes of the inner tensors whose shape ONNX's own inference finds from the shapes of `feed`."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model.proto)
    for port in bare.graph.input:
        if port.name in feed:
            del port.type.tensor_type.shape.dim[:]
            for size in feed[port.name].shape:
                port.type.tensor_type.shape.dim.add().dim_value = size
    try:
        found = onnx.shape_inference.infer_shapes(bare, data_prop=True)
    except Exception:  # inference is a convenience here: without it everything is one chunk
        return {}
    sizes = {}
    for info in found.graph.value_info:
        dims = info.type.tensor_type.shape.dim
        if all(each.HasField("dim_value") for each in dims):
            sizes[info.name] = prod(each.dim_value for each in dims) * 4
    return sizes


def chunks(names: Sequence[str], sizes: Mapping[str, int], budget: int) -> tuple[tuple[str, ...], ...]:
    """`names` in graph order, cut where the sum of `sizes` would exceed `budget` bytes."""
    parts: list[list[str]] = []
    room = 0
    for name in names:
        size = sizes.get(name, 0)
        if not parts or size > room:
            parts.append([])
            room = budget
        parts[-1].append(name)
        room -= size
    return tuple(tuple(each) for each in parts)


def make_plan(case: Case, model: Model, feed: Mapping[str, np.ndarray]) -> Plan:
    """The plan of a run; `feed` is one sample, for the sizes of the inner tensors."""
    target = target_of(case, model)
    cells = tuple(
        Cell(variant=each, place=place, known=known_outcome(each, target))
        for each, place in zip(case.variants, places(case.variants), strict=True)
    )
    if not case.layers:
        why = "outputs only, as asked by --no-layers"
        return Plan(
            target=target, cells=cells, taps=(),
            unobservable=tuple(Unobservable(tensor=each.tensor, why=why) for each in model.layers),
        )
    names, hidden = observable(model)
    if target.model is not None and target.model is not model:
        there = {each.tensor for each in target.model.layers}
        hidden = [
            *hidden,
            *(Unobservable(tensor=n, why="the deployed file has no tensor of this name") for n in names
              if target.name(n) not in there),
        ]
        names = [n for n in names if target.name(n) in there]
    elif target.model is None:
        known = {target.name(each): each for each in names}
        names = list(known.values())
    budget = TAP_BUDGET_BYTES
    # A model whose inner tensors can't all be large is not worth an inference over its shapes.
    sizes = _sizes(model, feed) if len(names) > 1 else {}
    return Plan(target=target, cells=cells, taps=chunks(names, sizes, budget), unobservable=tuple(hidden))
