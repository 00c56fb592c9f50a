"""`conform export`: an nn.Module to ONNX by torch.onnx, believed only after the golden agrees with the module."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from sysnoise_conform.backend import Tensors
from sysnoise_conform.card import WRITTEN
from sysnoise_conform.errors import BadModel, StorageError, UsageError
from sysnoise_conform.golden.executor import Executor, Mode, to_numpy
from sysnoise_conform.golden.module import flattened, forward_parameters, load_module, run_module
from sysnoise_conform.golden.plan import OLDEST_OPSET
from sysnoise_conform.golden.values import Value
from sysnoise_conform.graph.traces import without_paths
from sysnoise_conform.printable import one_line

DEFAULT_OPSET = 18
# torch.onnx's exporter has its operators from opset 18 on and its conversion to older ones mostly fails
# (torch 2.13: it warns and leaves the file at 18).
_DYNAMO_OLDEST = 18
# An export may fold constants in float32 (BatchNormalization into Conv), which moves every result by a
# rounding or two: measured 0.5 to 2 floor units. Ten are no rounding any more.
DEPARTURE = 10.0
_DTYPES = (torch.float32, torch.float64)
_SAMPLES = 3  # the first is what the exporter traces; a branch frozen by the trace shows on the others
_ONE_FILE = 1_500_000_000  # bytes of parameters; protobuf's own limit is 2 GiB


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputCheck:
    """One output of the export against the module's, on the seeded inputs.

    `floor_ratio` is rms(export - module) in float64 over rms(the module's own float32 rounding); None where
    that rounding is zero. `max_abs` is the largest difference of the float64 runs, `max_abs_float32` of the
    float32 runs; both over finite elements.
    """

    name: str
    shape: tuple[int, ...]
    max_abs: float
    max_abs_float32: float
    floor_ratio: float | None
    departs: str | None = None  # why the export is refused


@dataclass(frozen=True, slots=True)
class Expected:
    """What the module returns for one sample, in both precisions."""

    feeds: Tensors
    float32: Any
    float64: Any


def export(
    factory: str,
    *,
    out: Path,
    shapes: Mapping[str, tuple[int, ...]],
    weights: Path | None = None,
    search: Path | None = None,
    opset: int | None = None,
    seed: int = 0,
    dynamic_batch: bool = False,
    dtypes: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Export `package.module:factory` to `out`, check it, write the card `out` with the suffix .toml.

    `shapes` names the inputs in forward's order, `dtypes` those that are not float32, `arguments` are the factory's.
    The dynamo exporter is used, TorchScript's where that fails, which `notes` tells. Nothing is left at `out` unless
    the check passes. Returns the facts: sha256, exporter, opset, checks, notes, card.

    Raises UsageError (factory, shapes, opset), BadInput (weights, forward fails), BadModel (torch.onnx can't, the
    golden can't run it, or the export departs from the module), StorageError.
    """
    if not shapes:
        raise UsageError("an export needs the shape of each input", hint="--shape x=1,3,224,224")
    newest = onnx.defs.onnx_opset_version()
    if opset is not None and not OLDEST_OPSET <= opset <= newest:
        raise UsageError(f"there is no export at opset {opset}", hint=f"{OLDEST_OPSET} to {newest} can be written")
    module = load_module(factory, weights=weights, search=search, arguments=arguments)
    samples = [seeded_feeds(shapes, dtypes or {}, seed + number) for number in range(_SAMPLES)]
    feeds = samples[0]
    expected = [Expected(each, *(run_module(module, each, dtype) for dtype in _DTYPES)) for each in samples]
    module.to(torch.float32)
    names = _output_names(expected[0].float32)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out.parent) as folder:
        draft = Path(folder) / out.name
        exporter, notes = _write_onnx(
            module, feeds, draft, opset=opset or DEFAULT_OPSET, outputs=names, dynamic_batch=dynamic_batch
        )
        proto = onnx.load(draft, load_external_data=False)
        without_paths(proto)
        draft.write_bytes(proto.SerializeToString())
        checks = check(proto, Path(folder), expected)
        departing = [each for each in checks if each.departs]
        if departing:
            first = departing[0]
            raise BadModel(
                f"the export departs from its module at output {one_line(first.name, 80)!r}: {first.departs}",
                hint="nothing was written; another --opset may help",
            )
        facts = {
            "out": str(out),
            "sha256": _sha256_of(Path(folder)),
            "bytes": sum(each.stat().st_size for each in Path(folder).iterdir()),
            "factory": factory,
            "weights": str(weights) if weights else None,
            "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest() if weights else None,
            "torch": torch.__version__,
            "exporter": exporter,
            "opset": next(each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")),
            "seed": seed,
            "dynamic_batch": dynamic_batch,
            "inputs": {name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in feeds.items()},
            "outputs": [asdict(each) for each in checks],
            "notes": notes,
        }
        _deliver(Path(folder), out)
    card = _write_card(out, facts)
    if card is None:
        facts["notes"] = [*notes, f"the card {out.with_suffix('.toml').name} was there before and is left as it is"]
    return facts | {"card": str(card) if card else None}


def seeded_feeds(shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str], seed: int) -> Tensors:
    """Normal values for floats, zeros and ones for integers (valid as ids and as masks) and bools."""
    generator = np.random.default_rng(seed)
    feeds: Tensors = {}
    for name, shape in shapes.items():
        dtype = _dtype(dtypes.get(name, "float32"))
        drawn = generator.standard_normal(shape) if dtype.kind == "f" else generator.integers(0, 2, shape)
        feeds[name] = np.asarray(drawn).astype(dtype)
    return feeds


def _dtype(text: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(text)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "fiub":
        raise UsageError(f"{one_line(text, 40)!r} is no type of an input", hint="write float32, int64 or bool")
    return dtype


def _output_names(returned: Any) -> list[str]:
    tensors, names = flattened(returned)
    if names:
        return names
    return ["output"] if len(tensors) == 1 else [f"output_{number}" for number in range(len(tensors))]


def _write_onnx(
    module: nn.Module, feeds: Tensors, draft: Path, *, opset: int, outputs: list[str], dynamic_batch: bool
) -> tuple[str, list[str]]:
    """Write `draft`; which exporter did it, and what there is to say about it."""
    notes: list[str] = []
    if opset >= _DYNAMO_OLDEST:
        try:
            _export_with(module, feeds, draft, opset, outputs, dynamic_batch, dynamo=True)
            return "dynamo", notes
        except Exception as error:  # torch.onnx raises what the exported code raises
            notes.append(f"the dynamo exporter failed ({_said(error)}): exported through TorchScript")
    else:
        notes.append(f"the dynamo exporter writes opset {_DYNAMO_OLDEST} or newer: exported through TorchScript")
    try:
        _export_with(module, feeds, draft, opset, outputs, dynamic_batch, dynamo=False)
    except Exception as error:  # torch.onnx raises what the exported code raises
        raise BadModel(
            f"torch.onnx can't export this module at opset {opset}: {_said(error)}", hint="; ".join(notes)
        ) from error
    return "torchscript", notes


def _said(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {one_line(lines[0] if lines else '', 160)}"


def _export_with(
    module: nn.Module, feeds: Tensors, draft: Path, opset: int, outputs: list[str], dynamic_batch: bool, *, dynamo: bool
) -> None:
    # torch.export takes an extent of 1 for a constant: a batch that shall vary is shown as 2.
    widened = {name: np.concatenate([array, array]) if dynamic_batch else array for name, array in feeds.items()}
    tensors = {name: torch.from_numpy(array.copy()) for name, array in widened.items()}
    by_name = tensors.keys() <= forward_parameters(module)
    options: dict[str, Any] = {"external_data": sum(each.nbytes for each in module.parameters()) > _ONE_FILE}
    if dynamo and dynamic_batch:
        batch = [{0: torch.export.Dim("batch")} for _ in tensors]
        options["dynamic_shapes"] = dict(zip(tensors, batch, strict=True)) if by_name else tuple(batch)
    elif dynamic_batch:
        options["dynamic_axes"] = {name: {0: "batch"} for name in [*tensors, *outputs]}
    torch.onnx.export(
        module,
        () if by_name else tuple(tensors.values()),
        draft,
        kwargs=tensors if by_name else None,
        input_names=list(tensors),
        output_names=outputs,
        opset_version=opset,
        dynamo=dynamo,
        verbose=False,
        **options,
    )
    written = [each.version for each in onnx.load(draft, load_external_data=False).opset_import if not each.domain]
    if written != [opset]:
        raise BadModel(f"it wrote opset {written}, not {opset}")


def check(proto: onnx.ModelProto, base_dir: Path, expected: Sequence[Expected]) -> tuple[OutputCheck, ...]:
    """Each output of the graph, run by the golden, against the module's in the same precision: the worst sample."""
    executors = [Executor(proto, mode, base_dir=base_dir) for mode in (Mode.FLOAT32, Mode.FLOAT64)]
    names = [each.name for each in proto.graph.output]
    found: list[list[OutputCheck]] = []
    for sample in expected:
        ours32, ours64 = (each.run(sample.feeds) for each in executors)
        theirs32, theirs64 = flattened(sample.float32)[0], flattened(sample.float64)[0]
        if len(names) != len(theirs64):
            raise BadModel(f"the export has {len(names)} outputs, the module returns {len(theirs64)} tensors")
        found.append([
            _check_one(name, ours64[name], ours32[name], module32.numpy(), module64.numpy())
            for name, module32, module64 in zip(names, theirs32, theirs64, strict=True)
        ])  # fmt: skip
    return tuple(max(each, key=_badness) for each in zip(*found, strict=True))


def _badness(found: OutputCheck) -> tuple[bool, float, float]:
    return found.departs is not None, found.floor_ratio or 0.0, found.max_abs


def _check_one(
    name: str, ours64: Any, ours32: Any, module32: np.ndarray[Any, Any], module64: np.ndarray[Any, Any]
) -> OutputCheck:
    if not isinstance(ours64, Value):
        raise BadModel(f"the export's output {one_line(name, 80)!r} is no tensor")
    export64 = to_numpy(ours64, declared=False).astype(np.float64)
    export32 = to_numpy(ours32, declared=False).astype(np.float64)
    single, double = module32.astype(np.float64), module64.astype(np.float64)
    if export64.shape != double.shape:
        return OutputCheck(
            name=name, shape=export64.shape, max_abs=math.inf, max_abs_float32=math.inf, floor_ratio=None,
            departs=f"its shape is {export64.shape}, the module's is {double.shape}",
        )  # fmt: skip
    finite = np.isfinite(double) & np.isfinite(export64)
    odd = int(np.count_nonzero(~finite & ~np.equal(double, export64) & ~(np.isnan(double) & np.isnan(export64))))
    error = _rms((export64 - double)[finite])
    floor = max(_rms((single - double)[finite]), _rms((double.astype(np.float32) - double)[finite]))
    ratio = error / floor if floor > 0 else None
    departs = None
    if odd:
        departs = f"{odd} elements are NaN or infinite on one side only"
    elif ratio is None and error > 0:
        departs = "its values are others, where the module's are exact in float32"
    elif ratio is not None and not ratio <= DEPARTURE:
        departs = f"{ratio:.3g} times the module's own float32 rounding"
    return OutputCheck(
        name=name,
        shape=export64.shape,
        max_abs=_max_abs((export64 - double)[finite]),
        max_abs_float32=_max_abs((export32 - single)[finite & np.isfinite(single) & np.isfinite(export32)]),
        floor_ratio=ratio,
        departs=departs,
    )


def _rms(values: np.ndarray[Any, Any]) -> float:
    return math.sqrt(float(np.mean(np.square(values)))) if values.size else 0.0


def _max_abs(values: np.ndarray[Any, Any]) -> float:
    return float(np.max(np.abs(values))) if values.size else 0.0


def _sha256_of(folder: Path) -> str:
    """Of the .onnx file, then its external data: the order in which a model's hash is taken everywhere."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir(), key=lambda each: (each.suffix != ".onnx", each.name)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _deliver(folder: Path, out: Path) -> None:
    """Move what was written to its place, external data first, each by an atomic rename."""
    try:
        for path in sorted(folder.iterdir(), key=lambda each: each.name == out.name):
            os.replace(path, out.parent / path.name)
    except OSError as error:
        raise StorageError(f"can't write {one_line(out)}: {error.strerror}") from error


def _write_card(out: Path, facts: Mapping[str, Any]) -> Path | None:
    """The model card beside the export; None where somebody else's card is there already."""
    path = out.with_suffix(".toml")
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(WRITTEN):
        return None
    lines = [
        WRITTEN,
        f"name = {_quoted(out.stem)}",
        "",
        "[weights]",
        f"factory = {_quoted(facts['factory'])}",
        *([f"sha256 = {_quoted(facts['weights_sha256'])}"] if facts["weights_sha256"] else []),
        "",
        "[export]",
        f"sha256 = {_quoted(facts['sha256'])}",
        f"torch = {_quoted(facts['torch'])}",
        f"exporter = {_quoted(facts['exporter'])}",
        f"opset = {facts['opset']}",
        f"seed = {facts['seed']}",
        f"dynamic_batch = {'true' if facts['dynamic_batch'] else 'false'}",
        "",
        "[export.inputs]",
        *(f"{_quoted(name)} = {json.dumps(each['shape'])}" for name, each in facts["inputs"].items()),
        "",
        "[export.floor_ratio] # rms(export - module) in float64, over the rms of the module's own float32 rounding",
        *(
            f"{_quoted(each['name'])} = {0.0 if each['floor_ratio'] is None else each['floor_ratio']!r}"
            for each in facts["outputs"]
        ),
        "",
    ]
    try:
        path.write_text("\n".join(lines), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"can't write {one_line(path)}: {error.strerror}") from error
    return path


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a part of TOML's, but for lone surrogates."""
    return json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")


