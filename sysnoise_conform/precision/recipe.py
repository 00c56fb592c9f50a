"""All that determines a converted graph besides its model and its calibration, and where a variant says it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sysnoise_conform.errors import UsageError
from sysnoise_conform.precision.presets import PRESETS, preset_of
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import Variant

FP16, BF16, INT8 = "fp16", "bf16", "int8"
PRECISIONS = (FP16, BF16, INT8)  # of graphs; tf32 is arithmetic on a graph that stays as it is


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a graph is converted. Two variants with equal recipes share one converted graph.

    `preset` and `observer` are those of int8, "" else; `keep_fp32` names nodes (or tensors that they make).
    """

    precision: str
    preset: str = ""
    observer: str = ""
    keep_fp32: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`int8 (preset tensorrt, observer entropy, 2 nodes kept in float32)`."""
        details = [f"preset {self.preset}", f"observer {self.observer}"] if self.precision == INT8 else []
        if self.keep_fp32:
            count = len(self.keep_fp32)
            details.append(f"{count} {'node' if count == 1 else 'nodes'} kept in float32")
        return f"{self.precision} ({', '.join(details)})" if details else self.precision

    @property
    def histograms(self) -> bool:
        """Whether its ranges need more of the calibration than extremes."""
        return self.observer.startswith("percentile") or self.observer in ("entropy", "mse")

    def record(self) -> dict[str, Any]:
        """JSON, as the report carries it."""
        return {
            "precision": self.precision, "preset": self.preset or None, "observer": self.observer or None,
            "keep_fp32": list(self.keep_fp32),
        }  # fmt: skip

    def options(self, calibration: str | None = None) -> tuple[str, ...]:
        """The arguments that bring this recipe about again, beside the variant's own text."""
        kept = tuple(part for name in self.keep_fp32 for part in ("--keep-fp32", name))
        return (*kept, *(("--calibration", calibration) if calibration else ()))


def recipe_of(variant: Variant, keep_fp32: Iterable[str] = ()) -> Recipe | None:
    """The recipe that a checked variant asks for; None where its graph stays as it is."""
    kept = tuple(dict.fromkeys(keep_fp32))
    if variant.precision in (FP16, BF16):
        return Recipe(precision=variant.precision, keep_fp32=kept)
    if variant.precision != INT8:
        return None
    preset = variant.option("preset") or preset_of(variant.backend)
    observer = variant.option("observer") or PRESETS[preset].observer
    return Recipe(precision=INT8, preset=preset, observer=observer, keep_fp32=kept)


def spread(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """`--preset all`: each int8 variant that names no preset, once for every preset; the others as they are."""
    found: list[Variant] = []
    for each in variants:
        if each.precision == INT8 and each.option("preset") is None:
            found.extend(replace(each, options=(*each.options, ("preset", name))) for name in PRESETS)
        else:
            found.append(each)
    return tuple(dict.fromkeys(found))


def with_preset(variants: Sequence[Variant], preset: str) -> tuple[Variant, ...]:
    """`--preset NAME`: each int8 variant that names none gets this one; `all` spreads it over every preset.

    Raises UsageError where there is no such variant.
    """
    quantised = [each for each in variants if each.precision == INT8]
    if not quantised:
        raise _idle("--preset", ":int8", variants)
    if all(each.option("preset") is not None for each in quantised):
        raise UsageError("--preset: each :int8 names its own with +preset=", hint="leave one of the two out")
    if preset == "all":
        return spread(variants)
    return tuple(
        replace(each, options=(*each.options, ("preset", preset)))
        if each.precision == INT8 and each.option("preset") is None
        else each
        for each in variants
    )


def refuse_idle(variants: Sequence[Variant], *, calibration: bool, keep_fp32: bool) -> None:
    """Raise UsageError where calibration or nodes to keep were given, and no variant is converted by them."""
    if calibration and not any(each.precision == INT8 for each in variants):
        raise _idle("--calibration", ":int8", variants)
    if keep_fp32 and not any(each.precision in PRECISIONS for each in variants):
        raise _idle("--keep-fp32", ":int8, :fp16 and :bf16", variants)


def _idle(option: str, precisions: str, variants: Sequence[Variant]) -> UsageError:
    asked = ", ".join(one_line(each, 60) for each in variants[:4]) + (", ..." if len(variants) > 4 else "")
    first = f"{variants[0].backend}:{INT8}"
    return UsageError(
        f"{option} is of {precisions}, which none of the backends asks for ({asked})",
        hint=f"write {first}, or leave {option} out",
    )
