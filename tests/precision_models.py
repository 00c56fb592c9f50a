"""Models, their calibration and their conversions for the tests of precision, without a child process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from sysnoise_conform.golden.executor import Executor, Mode, to_numpy
from sysnoise_conform.golden.observing import observer_of
from sysnoise_conform.golden.service import fed_tensors
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.precision.calibration import ranges_of
from sysnoise_conform.precision.convert import Converted, convert
from sysnoise_conform.precision.observed import Ranges, merged
from sysnoise_conform.precision.presets import PRESETS
from sysnoise_conform.precision.recipe import Recipe

Feed = dict[str, np.ndarray]


def opened(proto: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Model:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return open_model(path)


def calibrated(model: Model, feeds: Sequence[Feed]) -> Ranges:
    observer = observer_of(model.proto, fed_tensors(model.proto.graph), model.path.parent)
    answers = [observer.observe(each, histograms=True) for each in feeds]
    return merged([ranges_of(each["names"], each["tensors"]) for each in answers])


def int8(preset: str = "ort", observer: str = "", keep: tuple[str, ...] = ()) -> Recipe:
    return Recipe(
        precision="int8", preset=preset, observer=observer or PRESETS[preset].observer, keep_fp32=keep
    )


def converted(
    model: Model, recipe: Recipe | str, feeds: Sequence[Feed] | None = None, *, ranges: Ranges | None = None
) -> Converted:
    """Converted, checked by onnx with types and shapes; on `ranges`, or those of `feeds`."""
    ranges = ranges if feeds is None else calibrated(model, feeds)
    found = convert(model, Recipe(precision=recipe) if isinstance(recipe, str) else recipe, ranges)
    onnx.checker.check_model(found.proto, full_check=True)
    return found


def golden(proto: onnx.ModelProto, feed: Feed, mode: Mode = Mode.FLOAT64) -> dict[str, np.ndarray]:
    results = Executor(proto, mode).run(feed)
    return {name: to_numpy(value, declared=False) for name, value in results.items()}  # type: ignore[arg-type]


def relative(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(found, np.float64) - truth) / np.linalg.norm(truth))


def ops(proto: onnx.ModelProto) -> list[str]:
    return [each.op_type for each in proto.graph.node]
