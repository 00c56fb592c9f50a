"""Which arithmetic a culprit computes in: its output against the same operator on operands of fewer bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sysnoise_conform.compare.arithmetic import ARITHMETICS
from sysnoise_conform.diagnose.facts import Culprit
from sysnoise_conform.diagnose.grids import on_grids
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.outcome import Reading
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.workshop import Workshop

# What an operator's operands are rounded to. TF32 and float16 have as many bits, and differ in what is too large or too
# small for the latter: where neither is there, TF32 is said, unless the result was kept in float16.
ROUNDED = ("tf32", "float16", "bfloat16")
FORMATS = (*ROUNDED, "int8")
CLEARLY = 0.8  # of what another format leaves
EXPLAINS = 0.5  # of the error's rms may be left, as in compare.readings

# Kinds that say no more than how large an error is.
UNREAD = ("unknown", "size_of_bfloat16", "size_of_float16_or_tf32")


def read_arithmetic(shop: Workshop, seen: Seen, culprits: Sequence[Culprit]) -> tuple[Culprit, ...]:
    """The culprits; those that no reading explains with the format that their operands were rounded to, if one does."""
    open_ones = {
        each.layer.output
        for each in culprits
        if each.kind in UNREAD and each.method == "replay" and each.layer.in_unit is None
    }
    best: dict[str, Reading] = {}
    errors: dict[str, float] = {}
    for recording in seen.first if open_ones else ():
        recorded = recording.tensors
        wanted = [name for name in recording.own if name in open_ones and recorded[name].dtype.kind == "f"]
        if not wanted:
            continue
        with shop.goldens.replayed(0, recorded) as exact:
            whole = {name: _rms(recorded[name] - exact[name].data) for name in wanted if name in exact}
        errors |= {name: error for name, error in whole.items() if error}
        for form in ROUNDED:
            with shop.goldens.replayed(0, recorded, operands=form) as narrow:
                for name, error in whole.items():
                    if name not in narrow or not error or not _finite_alike(recorded[name], narrow[name].data):
                        continue
                    left = _rms(recorded[name] - narrow[name].data) / error
                    known = best[name].residual if name in best else 1.0
                    if left < min(EXPLAINS, known if _kept_in(form, recorded[name]) else CLEARLY * known):
                        best[name] = Reading(kind=form, residual=left, value="of its operands")
    best |= on_grids(shop, seen, {name: error for name, error in errors.items() if name not in best})
    return tuple(
        replace(each, kind=best[each.layer.output].kind, readings=(best[each.layer.output], *each.readings))
        if each.layer.output in best else each
        for each in culprits
    )  # fmt: skip


def in_one_format(culprits: Sequence[Culprit]) -> bool:
    """Whether several operators are culprits for nothing but the one format in which they compute."""
    kinds = {each.kind for each in culprits}
    return len(culprits) > 1 and len(kinds) == 1 and kinds <= set(FORMATS)


def in_few_bits(culprits: Sequence[Culprit]) -> bool:
    """Whether several operators are culprits for nothing but the few bits in which they compute."""
    narrow = {*FORMATS, *UNREAD} - {"unknown"}
    return len(culprits) > 1 and all(each.kind in narrow for each in culprits)


def in_one_sentence(sentence: str, variant: str, culprits: Sequence[Culprit]) -> str:
    """The verdict's sentence, shorter where all culprits compute in one format: that is one finding, not many."""
    if not in_one_format(culprits):
        return sentence
    types = ", ".join(sorted({one_line(each.layer.op_type, 40) for each in culprits}))
    first = culprits[0].layer
    said = f"{variant}: {len(culprits)} operators ({types}) compute in {culprits[0].kind}, from"
    said += f" {one_line(first.node or first.output, 80)!r} on"
    _, semicolon, rest = sentence.partition("; ")
    return said + semicolon + rest


def _kept_in(form: str, got: np.ndarray) -> bool:
    return ARITHMETICS[form].holds(got)


def _finite_alike(got: np.ndarray, predicted: np.ndarray) -> bool:
    return got.shape == predicted.shape and np.array_equal(np.isfinite(got), np.isfinite(predicted))


def _rms(error: np.ndarray) -> float:
    finite = error[np.isfinite(error)]
    return float(np.sqrt(np.mean(np.square(finite, dtype=np.float64)))) if finite.size else 0.0
