"""What a runtime computed in, as it was read back, held against what was asked: for a run and a diagnosis alike."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from sysnoise_conform.errors import UsageError
from sysnoise_conform.outcome import RuntimeFacts
from sysnoise_conform.precision.presets import PRESETS, preset_of
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import Variant, parse_variant

_WORDS = re.compile(r"\b(fp64|fp32|tf32|fp16|bf16|int16|int8|fp8|f32|f16|i8|u8)\b")
_STORED = re.compile(r"\(?\b\w+ weights\)?")  # `fp32 (int8 weights)`: how they are kept is no arithmetic
_SAME = {"f32": "fp32", "f16": "fp16", "i8": "int8", "u8": "int8"}
_WIDER = {"fp16": ("tf32", "fp32", "fp64"), "bf16": ("fp16", "tf32", "fp32", "fp64")}
_NAMES = {
    "fp64": "float64", "fp32": "float32", "tf32": "TF32", "fp16": "float16", "bf16": "bfloat16", "int16": "int16",
    "int8": "int8", "fp8": "float8",
}  # fmt: skip
_OWN = {
    "DOUBLE": "float64", "FLOAT": "float32", "FLOAT16": "float16", "BFLOAT16": "bfloat16", "INT8": "int8",
    "UINT8": "int8",
}  # fmt: skip


def precisions(runtime: RuntimeFacts) -> list[str]:
    """The formats that a runtime says it computed in; none where it does not report them."""
    if not is_reported(runtime):
        return []
    text = _STORED.sub("", runtime.effective_precision.lower())
    return list(dict.fromkeys(_SAME.get(each, each) for each in _WORDS.findall(text)))


def is_reported(runtime: RuntimeFacts) -> bool:
    """Whether it tells what it computed in, and not what it was asked for."""
    text = runtime.effective_precision.lower()
    return bool(text) and "not report" not in text and "not read back" not in text


def rounds_less(asked: str | None) -> bool:
    """Whether there is a wider float format than the one asked for, which a runtime may have kept."""
    return asked in _WIDER


def kept(runtime: RuntimeFacts) -> str:
    """That the runtime computed most of what it computed in a wider format than was asked for; else empty."""
    wider = _WIDER.get(runtime.asked_precision or "", ())
    if "emulated" in runtime.effective_precision or not _share(runtime, wider) > 0.5:
        return ""
    return (
        f"{one_line(runtime.name, 40)} keeps more precision than {runtime.asked_precision}: "
        f"it ran in {one_line(runtime.effective_precision, 80)}"
    )


def _share(runtime: RuntimeFacts, wanted: Collection[str]) -> float:
    """How much was computed in one of these formats: of operations, else of layers, else by what is named first."""
    known = runtime.shares.get("flops") or runtime.shares.get("layers")
    if known:
        return sum(share for word, share in known.items() if word in wanted)
    return float(precisions(runtime)[:1] != [] and precisions(runtime)[0] in wanted)


def not_integers(runtime: RuntimeFacts, variant: str, declared: float | None, least: float) -> str:
    """That int8 was asked for and floats were computed, and the cure where one is known; else empty.

    `declared` is the share of operations that the graph has in integers, `least` how much of these the runtime must
    compute so. Where either side has no count of operations, it is enough that one layer is in integers.
    """
    used = precisions(runtime)
    if runtime.asked_precision != "int8" or not used:
        return ""
    name, said = one_line(runtime.name, 40), one_line(runtime.effective_precision, 80)
    done = in_integers(runtime, declared)
    if "int8" not in used:
        found = f"asked for int8 and got {said}: {name} ran no layer of the graph in integers"
    elif done is not None and done < least:
        counted = one_line(runtime.options.get("operations") or said, 80)
        found = (
            f"asked for int8 and got {counted} by operations: of those that the graph has in integers {name} "
            f"computes {_percent(done)} so (limit {_percent(least)})"
        )
    else:
        return ""
    cure = _cure(_asked(variant))
    return f"{found}; {cure}" if cure else found


def in_integers(runtime: RuntimeFacts, declared: float | None) -> float | None:
    """Of the operations that the graph has in integers, the share that was computed so; None where it is not known."""
    known = runtime.shares.get("flops")
    if runtime.asked_precision != "int8" or not known or not declared:
        return None
    return min(1.0, known.get("int8", 0.0) / declared)


def partly(runtime: RuntimeFacts, declared: float | None) -> str:
    """That part of what the graph has in integers was computed in floats; else empty."""
    done = in_integers(runtime, declared)
    if done is None or done > 0.995:
        return ""
    return (
        f"of the operations that the graph has in integers {one_line(runtime.name, 40)} computes {_percent(done)} so, "
        "the others in float"
    )


def _cure(variant: Variant) -> str:
    """What runs a model in integers on this backend, as it was measured: docs/runtimes.md, docs/precision.md."""
    if variant.backend == "tflite":
        return (
            "tflite+hint=int8+calibration=/path/to/samples is LiteRT in integers, quantised by a recipe of its own"
        )
    preset = variant.option("preset") or preset_of(variant.backend)
    if variant.backend == "openvino" and preset in PRESETS and PRESETS[preset].weights == "uint8":
        return (
            "OpenVINO has integer kernels of convolutions for int8 weights with zero point 0 alone, the preset "
            f"{preset} has uint8: +preset=openvino has int8"
        )
    if variant.backend != "ort":
        return ""
    if variant.option("opt") in ("disable", "basic"):
        return f"it has its integer kernels from +opt=extended on, not with +opt={variant.option('opt')}"
    if preset in PRESETS and PRESETS[preset].activations == "int8":
        return "+preset=ort_per_channel quantises activations to uint8, for which it has more integer kernels"
    return ""


def off_precision(runtime: RuntimeFacts, own: frozenset[str], variant: str, *, deployed: bool = False) -> str:
    """That the runtime computed in another precision than the model's own, who wanted that, and how to pin it."""
    asked = _asked(variant)
    name, said = one_line(runtime.name, 40), one_line(runtime.effective_precision, 80)
    if asked.knob and not is_reported(runtime):
        return f"{name} was asked for {one_line(asked.knob, 80)} and does not report what it ran in"
    words = (_SAME.get(each, each) for each in _WORDS.findall(runtime.effective_precision.lower()))
    strange = [each for each in dict.fromkeys(_NAMES[word] for word in words) if each not in own]
    if not own or not strange:
        return ""
    if runtime.asked_precision == "auto":
        pinned = variant.replace(":auto", "", 1)
        chosen = " and ".join(strange)
        return f"{name} chose {chosen} by itself on this host: pin it with {one_line(pinned, 80)} (no :auto)"
    if asked.knob:
        return f"{name} ran in {said}, as {one_line(asked.knob, 80)} asks"
    if deployed:
        return f"{name} ran the deployed file in {said}"
    if not is_reported(runtime):
        return ""
    if runtime.asked_precision is not None:
        return f"{name} ran in {said}" if "%" in said else ""
    return f"{name} reports that it ran in {said}, though the model's own types were asked for"


def usual_for(runtime: RuntimeFacts, variant: str, formats: Mapping[str, Collection[str]]) -> list[str]:
    """Of names for sizes of errors, with the formats that have them, those that may be told of this runtime.

    None where somebody asked for another arithmetic, or the runtime tells its own and that is another.
    """
    if _asked(variant).knob:
        return []
    used = precisions(runtime)
    return [name for name, words in formats.items() if not used or any(each in used for each in words)]


def own_integers(variant: str) -> str:
    """The knob by which a runtime makes integers of a float model by a recipe of its own, as it is written; else "".

    Of such a run there is no graph that PyTorch could compute as well, so no rounding that it could be held to.
    """
    asked = _asked(variant)
    knobs = {name: asked.option(name) or "" for name in ("hint", "weights")}
    return "".join(f"+{name}={one_line(value, 40)}" for name, value in knobs.items() if "int" in value)


def builds_apart(runtime: RuntimeFacts) -> str:
    """How far engines of separate builds of the same graph differ (`+rebuilds=3`): what no verdict is finer than."""
    spread = runtime.options.get("rebuild_spread")
    if not isinstance(spread, Mapping) or not spread:
        return ""
    try:
        worst, much = max(((name, float(each)) for name, each in spread.items()), key=lambda each: each[1])
    except (TypeError, ValueError):  # a report that somebody has edited
        return ""
    count = one_line(runtime.options.get("rebuilds", "several"), 10)
    return f"{count} builds of the same graph differ by up to {much:.2g} of the values of {one_line(repr(worst), 60)}"


def own_as_floats(runtime: RuntimeFacts, variant: str) -> str:
    """That a knob asks for integer arithmetic and floats are what was computed; else empty."""
    knob = own_integers(variant)
    if not knob or "weights" in knob:  # weights in integers are for storing
        return ""
    used = precisions(runtime)
    if not used or any(each in ("int8", "int16") for each in used):
        return ""
    name, said = one_line(runtime.name, 40), one_line(runtime.effective_precision, 80)
    return f"{knob} asks for integers and got {said}: {name} ran no layer in integers"


def _asked(variant: str) -> Variant:
    """The variant of a report, which somebody may have edited: of a text that is none, its name alone."""
    try:
        return parse_variant(variant)
    except UsageError:
        return Variant(backend=variant)


def own_precisions(header: Mapping[str, Any]) -> frozenset[str]:
    """The float formats that the model itself computes in."""
    return frozenset(_OWN[each["dtype"]] for each in header.get("layers", ()) if each.get("dtype") in _OWN)


def _percent(share: float) -> str:
    """A share in per cent; never 0 or 100 for what is neither."""
    rounded = round(100 * share)
    if rounded == 0 and share > 0:
        return "less than 1 %"
    return "more than 99 %" if rounded == 100 and share < 1 else f"{rounded} %"
