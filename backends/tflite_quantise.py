"""TFLite's own reduced precisions: float16 by onnx2tf, integers by ai-edge-quantizer, on the converted file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sysnoise_conform.backends.calibrating import Samples
from sysnoise_conform.backends.litert import Home
from sysnoise_conform.backends.overheard import overheard
from sysnoise_conform.backends.tflite_convert import Converted
from sysnoise_conform.errors import BackendUnavailable, Unsupported
from sysnoise_conform.printable import one_line

HALF = "fp16"
# Our word -> the quantizer's recipe, and whether it needs samples to see the ranges of activations.
_RECIPES = {
    "dynamic_int8": ("dynamic_wi8_afp32", False),
    "weights_int8": ("weight_only_wi8_afp32", False),
    "int8": ("static_wi8_ai8", True),
    "int16x8": ("static_wi8_ai16", True),
}
_ACTIVATION_BITS = {"static_wi8_ai8": 8, "static_wi8_ai16": 16}
HINTS = (HALF, *_RECIPES)
CALIBRATED = tuple(hint for hint, (_, ranged) in _RECIPES.items() if ranged)


def reduced(converted: Converted, hint: str, samples: Samples, home: Home) -> Converted:
    """The converted model in the precision that `hint` names. Raises `Unsupported` with the quantizer's words."""
    if hint == HALF:
        path = converted.path.with_name(converted.path.name.replace("float32", "float16"))
        if not path.is_file():
            raise Unsupported("onnx2tf wrote no float16 file for this model", stage="convert")
        return replace(converted, path=path)
    quantizer, recipe = _import()
    name, _ = _RECIPES[hint]
    target = converted.path.with_name(f"model_{hint}.tflite")
    try:
        # Its summary on stdout belongs into the session's log.
        with overheard():
            tool = quantizer.Quantizer(str(converted.path))
            tool.load_quantization_recipe(getattr(recipe, name)())
            _one_scale_for_matrices(tool, name)
            ranges = tool.calibrate(_signed(converted, samples, home)) if samples.feeds else None
            tool.quantize(ranges).export_model(str(target))
    except Unsupported:
        raise
    except Exception as error:  # of many types, none of its own
        raise Unsupported(
            f"ai-edge-quantizer can't make {hint} of this model: {one_line(error)}", stage="convert"
        ) from error
    return replace(converted, path=target)


def _one_scale_for_matrices(tool: Any, recipe: str) -> None:
    """The weights of BATCH_MATMUL per tensor, where activations are integers.

    LiteRT's integer kernel of it reads one scale, which is 0 where a tensor has one for each channel: then its answer
    is zero throughout, without an error (seen with LiteRT 2.3.0 and ai-edge-quantizer 0.10.0).
    """
    if recipe not in _ACTIVATION_BITS:
        return
    from ai_edge_quantizer import qtyping

    tool.add_static_config(
        ".*", qtyping.TFLOperationName.BATCH_MATMUL, activation_num_bits=_ACTIVATION_BITS[recipe], weight_num_bits=8,
        weight_granularity=qtyping.QuantGranularity.TENSORWISE,
    )  # fmt: skip


def _signed(converted: Converted, samples: Samples, home: Home) -> dict[str, list[dict[str, np.ndarray]]]:
    """The samples by the file's signature and its names for inputs."""
    interpreter = home.module.Interpreter(model_path=str(converted.path))
    key = next(iter(interpreter.get_signature_list()))
    runner = interpreter.get_signature_runner(key)
    ports = runner.get_input_details()
    return {
        key: [
            {
                name: np.ascontiguousarray(sample[converted.inputs[detail["name"]]], dtype=np.dtype(detail["dtype"]))
                for name, detail in ports.items()
            }
            for sample in samples.feeds
        ]
    }


def to_codes(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray | None:
    """A float array as the codes of a quantised input, ties to even, limited; None where the input takes none."""
    scale, zero = detail["quantization"]
    kind = np.dtype(detail["dtype"])
    if not scale or kind.kind not in "iu" or array.dtype.kind != "f":
        return None
    limits = np.iinfo(kind)
    codes: np.ndarray = np.clip(np.rint(array.astype(np.float64) / scale) + zero, limits.min, limits.max).astype(kind)
    return codes


def from_codes(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """The float32 numbers that an output's codes stand for; anything else as it is."""
    scale, zero = detail["quantization"]
    if not scale or array.dtype.kind not in "iu":
        return array
    numbers: np.ndarray = ((array.astype(np.float64) - zero) * scale).astype(np.float32)
    return numbers


def _import() -> tuple[Any, Any]:
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError as error:
        raise BackendUnavailable(
            f"ai-edge-quantizer can't be imported: {one_line(error)}", hint="pip install 'sysnoise-conform[quantize]'"
        ) from error
    return quantizer, recipe
