"""A diagnosis as its renderers need it: each layer with its number, the introduced error that counts, its culprit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, assert_never

from sysnoise_conform.diagnose.facts import Culprit, DeployedFile, Diagnosis, Known, Layer
from sysnoise_conform.judge.departure import unit_of
from sysnoise_conform.judge.sentences import counted, looks_like, quoted
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.wording import NOTHING, number, trouble

Method = Literal["replay", "island", "explode", "cut"]

_METHODS: dict[Method, str] = {
    "replay": "on the inputs that the backend itself recorded",
    "island": "alone, on PyTorch's inputs",
    "explode": "alone, on PyTorch's inputs",
    "cut": "in a graph cut around it",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosedLayer:
    """One layer, and what a reader is told of it. `introduced` is the culprit's own error where it is one."""

    number: int  # from 1, in graph order
    of: int
    layer: Layer
    introduced: TensorDiff | None
    method: Method | None
    culprit: Culprit | None


def diagnosed_layers(diagnosis: Diagnosis) -> tuple[DiagnosedLayer, ...]:
    """Every layer in graph order."""
    culprits = {each.layer.output: each for each in diagnosis.culprits}
    rows = []
    for at, layer in enumerate(diagnosis.layers, start=1):
        culprit = culprits.get(layer.output)
        diff, method = _introduced(layer, culprit)
        rows.append(
            DiagnosedLayer(
                number=at, of=len(diagnosis.layers), layer=layer, introduced=diff, method=method, culprit=culprit
            )
        )
    return tuple(rows)


def _introduced(layer: Layer, culprit: Culprit | None) -> tuple[TensorDiff | None, Method | None]:
    if culprit is not None:
        return culprit.diff, culprit.method
    if layer.replayed is not None:
        return layer.replayed, "replay"
    if layer.island is not None:
        return layer.island, "island"
    return None, None


def relative_error(diff: TensorDiff | None) -> float | None:
    """On a chart's axis: 0 when exact, NaN where no number says how far off it is, None without a scale."""
    if diff is None or diff.empty:
        return None
    if trouble(diff):
        return math.nan
    return 0.0 if diff.exact else diff.rel_l2


def relative_unit(diff: TensorDiff | None) -> float | None:
    """What the operator alone may be off, on the same axis."""
    if diff is None or not diff.finite or diff.sum_sq_golden <= 0:
        return None
    return unit_of(diff) / math.sqrt(diff.sum_sq_golden / diff.finite)


def relative(value: float | None) -> str:
    """A relative L2 error; `exact` for none at all."""
    return "exact" if value == 0 else number(value)


def in_words(diff: TensorDiff | None) -> str:
    """`z 12,300, relative error 0.0313`, or what makes the numbers moot."""
    if diff is None:
        return "not measured"
    if diff.empty:
        return "empty: there was nothing to compare"
    moot = trouble(diff)
    if moot is not None:
        return moot
    if diff.exact:
        return "exact"
    if diff.z is None and diff.rel_l2 is None:
        return f"up to {number(diff.max_abs)}, where PyTorch has all zeros"
    return ", ".join(
        f"{name} {number(value)}"
        for name, value in (("z", diff.z), ("relative error", diff.rel_l2))
        if value is not None
    )


def parts_in_words(layer: Layer) -> str | None:
    """`worst element 14.2, worst channel (3 of dimension 1) 1.1, border 0.98, inside 1`; None where none is known."""
    flags, decided = layer.flags, layer.in_unit or layer.replayed or layer.island
    if flags is None or flags.max_z is None or decided is None or decided.ties is not None or decided.nan_mismatch:
        return None  # an answer that jumps is not so many roundings off, nor is a NaN
    said = [f"worst element {number(flags.max_z)}"]
    if flags.channel_z is not None and flags.channel is not None:
        dimension, index = flags.channel
        part = "channel" if dimension == 1 else "slice"
        said.append(f"worst {part} ({index} of dimension {dimension}) {number(flags.channel_z)}")
    if flags.border_z is not None:
        said.append(f"border {number(flags.border_z)}, inside {number(flags.interior_z)}")
    if flags.saturated:
        said.append(f"{flags.saturated:,} at the end of the type's range")
    return f"{', '.join(said)} times what {layer.arithmetic} may be off"


def arithmetic_in_words(diagnosis: Diagnosis) -> str | None:
    """In how few bits the target computes, and how that is known; None for float32."""
    found = diagnosis.computing
    if found is None:
        return None
    how = "as the runtime reports" if found.told_by == "runtime" else "as the rounding of operands tells"
    types = ", ".join(one_line(each, 40) for each in found.types)
    said = f"{found.name} in {counted(len(found.operators), 'operator')} ({types}), {how}"
    return f"{said}; their errors count in units of {found.name}"


def method_in_words(method: Method | None) -> str:
    """Where the introduced error was measured."""
    return NOTHING if method is None else _METHODS[method]


def who(layer: Layer, place: DiagnosedLayer | None) -> str:
    """`AveragePool 'pool_3' (layer 3 of 41)`; a block is named by its last node."""
    number_of = "" if place is None else f" (layer {place.number} of {place.of})"
    more = len(layer.block) - 1
    block = f", the last of a block of {counted(more + 1, 'node')}" if more > 0 else ""
    return f"{one_line(layer.op_type, 40) or 'operator'} {quoted(layer.node or layer.output)}{number_of}{block}"


def cumulative_in_words(culprit: Culprit) -> str:
    """`7.33e-07 in what it reads, 0.0313 after it`."""
    after = culprit.layer.cumulative
    if after is None:
        said = "not measured"
    elif after.rel_l2 is None and not after.exact:
        said = trouble(after) or f"up to {number(after.max_abs)}"
    else:
        said = trouble(after) or relative(0.0 if after.exact else after.rel_l2)
    return f"{relative(culprit.cumulative_before)} in what it reads, {said} after it"


def share_in_words(culprit: Culprit) -> str | None:
    """How much of the output's error it carries; None where that was not measured."""
    if culprit.share is None or not math.isfinite(culprit.share):
        return None
    if culprit.share < 0:
        return f"it makes up for {-culprit.share:.1%} of the output's squared error, which others bring"
    return f"{math.floor(1000 * culprit.share) / 10:g} % of the output's squared error is gone with it"


def deployed_in_words(file: DeployedFile) -> str:
    """The file that ships, by its name and what it holds."""
    return f"{one_line(file.file, 120)} (sha256 {file.sha256[:12]})"


def owner_in_words(culprit: Culprit, diagnosis: Diagnosis) -> str:
    """Who has to mend it."""
    match culprit.owner:
        case "file":
            return "whoever made the deployed file: PyTorch computes the same of it"
        case "runtime":
            return f"{one_line(diagnosis.runtime.name, 60)}: the deployed file has the model's operator there"
        case None:
            return "the deployed file or its runtime: PyTorch can't compute the file, so nobody can tell"
        case _:
            assert_never(culprit.owner)


_UNREAD = "none of the known patterns explains this error"
# What a culprit is called by without a reading.
_KINDS = {
    "shape": "another shape than PyTorch's",
    "dtype": "another type than PyTorch's",
    "nan_hidden": "a number where PyTorch has NaN or Inf",
    "nan_made": "NaN or Inf where PyTorch has a number",
    "one_channel": "an error in one channel that the whole tensor hides",
    "border": "an error at the border that the whole tensor hides",
    "size_of_bfloat16": f"unknown: {_UNREAD}; only its size is usual for bfloat16",
    "size_of_float16_or_tf32": f"unknown: {_UNREAD}; only its size is usual for float16 and TF32",
}
_SIZES = ("size_of_bfloat16", "size_of_float16_or_tf32")


def kind_in_words(culprit: Culprit) -> str:
    """Where there is room for a word or two. The size alone reads as nothing."""
    return "unknown" if culprit.kind in _SIZES else culprit.kind.replace("_", " ")


def reading_in_words(culprit: Culprit) -> str:
    """The pattern of its error, and the share that the pattern leaves unexplained."""
    if not culprit.readings:
        return _KINDS.get(culprit.kind, f"unknown: {_UNREAD}")
    first = culprit.readings[0]
    left = f", which leaves {first.residual:.0%} of the error" if math.isfinite(first.residual) else ""
    return f"{looks_like((first,))}{left}"


def proof_in_words(culprit: Culprit) -> str | None:
    """What the output gained when PyTorch's answer was fed in the culprit's place; None where nobody tried."""
    proof = culprit.proof
    if proof is None:
        return None

    return (
        f"output {quoted(proof.output)} is {relative(proof.before_rel_l2)} off, and {relative(proof.after_rel_l2)} "
        f"with PyTorch's answer in place of {counted(len(proof.swapped), 'tensor')}"
    )


def withheld_in_words(diagnosis: Diagnosis) -> str | None:
    """How many reproducers were not written, and how to get them; None where all were that could be."""
    if not diagnosis.withheld:
        return None
    written = sum(bool(each.reproducer) for each in diagnosis.culprits)
    return (
        f"{written} written, for the operators furthest off, and {diagnosis.withheld} not: "
        f"--reproducers {len(diagnosis.culprits)} writes all, --node NAME that of one"
    )


def known_in_words(known: Known) -> str:
    """`averagepool-ceil (ceil_mode=1): off by 2.5 when this target was probed`."""
    when = f" {one_line(known.when, 100)}" if known.when else ""
    said = f"{one_line(known.case, 80)} ({one_line(known.about, 160)})"
    return f"{said}: {one_line(known.deviates, 200)}{when} when this target was probed"


def observed_in_words(diagnosis: Diagnosis) -> str:
    """How far watching changed the outputs."""
    effect = diagnosis.observer_effect
    if not effect.tapped:
        return "no tensor was watched"
    watching = f"watching {counted(effect.tapped, 'tensor')}"
    if effect.boundaries is not None:
        plural = "y" if effect.boundaries == 1 else "ies"
        watching = f"watched at {effect.boundaries:,} fusion boundar{plural}, which"
    if effect.rel_l2 is None and effect.floor_ratio is None:
        return f"{watching}: what it changed at the outputs was not measured"
    if effect.rel_l2 == 0:
        return f"{watching} changed no output, not by a bit"
    parts = [f"{number(effect.rel_l2)} relative L2"] if effect.rel_l2 is not None else []
    parts += [f"{number(effect.floor_ratio)} × the noise floor"] if effect.floor_ratio is not None else []
    return f"{watching} moved the outputs by {', '.join(parts)}"


def coverage_in_words(diagnosis: Diagnosis) -> str:
    """The share of layers whose introduced error is known."""
    total = len(diagnosis.layers)
    if not total:
        return "no layers depend on an input"
    known = sum(each.replayed is not None or each.island is not None for each in diagnosis.layers)
    alone = sum(bool(each.not_runnable) for each in diagnosis.layers)
    share = math.floor(1000 * known / total) / 10  # rounded down: 100 % means all
    said = f"the introduced error is known of {known} of {counted(total, 'layer')} ({share:g} %)"
    return f"{said}; {alone} do not run alone" if alone else said
