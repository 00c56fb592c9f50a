"""`diagnosis.json`: what a diagnosis found, for programs, stable, described by `schema/diagnosis.json`."""

from __future__ import annotations

import json
import math
from typing import Any

from sysnoise_conform.diagnose.facts import Computing, Culprit, Diagnosis, Flags, Layer, Proof, Ranked
from sysnoise_conform.outcome import Reading, TensorDiff
from sysnoise_conform.report.records import encode
from sysnoise_conform.reports import diagnosis_design
from sysnoise_conform.reports.diagnosis_rows import reading_in_words, withheld_in_words
from sysnoise_conform.reports.summary import conversion, numbers

SCHEMA = "conform.diagnosis/1"
_LAYERS = '\n  "layers": []'  # no name can hold this: a quote in a name is escaped


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The diagnosis as one JSON object. A number that is not finite is null, beside `exact` or `nan_mismatch`."""
    effect = diagnosis.observer_effect
    return {
        "schema": SCHEMA,
        "variant": diagnosis.variant,
        "model": diagnosis.model,
        "deployed": None
        if diagnosis.deployed is None
        else {"file": diagnosis.deployed.file, "sha256": diagnosis.deployed.sha256},
        "command": diagnosis.command or None,
        "conversion": conversion(diagnosis.conversion, diagnosis.variant),
        "verdict": diagnosis.verdict,
        "sentence": diagnosis.sentence,
        "observer_effect": {
            "rel_l2": _finite(effect.rel_l2),
            "floor_ratio": _finite(effect.floor_ratio),
            "tapped": effect.tapped,
            "boundaries": effect.boundaries,
        },
        "arithmetic": None if diagnosis.computing is None else _computing(diagnosis.computing),
        "coverage": _finite(diagnosis.coverage),
        "culprits": [_culprit(each) for each in diagnosis.culprits],
        "reproducers": {
            "written": sum(bool(each.reproducer) for each in diagnosis.culprits),
            "withheld": diagnosis.withheld,
            "more": withheld_in_words(diagnosis),
        },
        "ranking": [_ranked(each) for each in diagnosis.ranking],
        "design": None if diagnosis.design is None else diagnosis_design.as_json(diagnosis.design),
        "outputs": [_output(each) for each in diagnosis.outputs],
        "layers": [_layer(each) for each in diagnosis.layers],
        "unobservable": [{"tensor": each.tensor, "why": each.why} for each in diagnosis.unobservable],
        "runtime": encode(diagnosis.runtime),
        "environment": encode(diagnosis.environment),
        "golden": encode(diagnosis.golden),
        "notes": list(diagnosis.notes),
        "seconds": {str(name): _finite(value) for name, value in diagnosis.seconds.items()},
    }


def render(diagnosis: Diagnosis) -> str:
    """`as_json` as text, a layer a line: strict (no NaN), ASCII only, so that no name can steer a terminal."""
    found = as_json(diagnosis)
    layers = ",\n".join(f"    {_dumped(each)}" for each in found["layers"])
    text = _dumped({**found, "layers": []}, indent=2)
    if layers:
        text = text.replace(_LAYERS, f'\n  "layers": [\n{layers}\n  ]', 1)
    return text.replace("\x7f", "\\u007f") + "\n"


def _dumped(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=True)


def _culprit(found: Culprit) -> dict[str, Any]:
    layer, metrics = found.layer, numbers(found.diff)
    return {
        "node": layer.node,
        "op_type": layer.op_type,
        "output": layer.output,
        "index": layer.index,
        "attributes": layer.attributes,
        "block": list(layer.block),
        "arithmetic": layer.arithmetic,
        "introduced_z": metrics["z"],
        "introduced_rel_l2": metrics["rel_l2"],
        "floor_ratio": metrics["floor_ratio"],
        "max_abs": metrics["max_abs"],
        "nan_mismatch": found.diff.nan_mismatch,
        "worst": _worst(found.diff),
        "cumulative_before": _finite(found.cumulative_before),
        "cumulative_rel_l2": _relative(layer.cumulative),
        "kind": found.kind,
        "reading": reading_in_words(found),
        "readings": [_reading(each) for each in found.readings],
        "words": found.words,
        "method": found.method,
        "share": _finite(found.share),
        "optimiser": None
        if found.optimiser is None
        else {"level": found.optimiser.level, "passes": list(found.optimiser.passes)},
        "proof": None if found.proof is None else _proof(found.proof),
        "owner": found.owner,
        "reproducer": found.reproducer or None,
        "no_reproducer": found.no_reproducer or None,
        "known": [
            {"case": each.case, "about": each.about, "deviates": each.deviates, "when": each.when or None}
            for each in found.known
        ],
    }


def _layer(layer: Layer) -> dict[str, Any]:
    """A layer, with the keys that say nothing left out: there are thousands of them."""
    told: dict[str, Any] = {"index": layer.index, "node": layer.node, "op_type": layer.op_type, "output": layer.output}
    for name, diff in (("replay", layer.replayed), ("island", layer.island)):
        told[f"{name}_z"] = None if diff is None else numbers(diff)["z"]
        told[f"{name}_rel_l2"] = _relative(diff)
    told["cumulative_rel_l2"] = _relative(layer.cumulative)
    diffs = (layer.replayed, layer.island, layer.cumulative)
    broken = max((each.nan_mismatch for each in diffs if each is not None), default=0)
    if broken:
        told["nan_mismatch"] = broken
    if layer.in_unit is not None:
        told["arithmetic"] = layer.arithmetic
    if layer.flags is not None:
        told |= _flags(layer.flags)
    decided = layer.in_unit or layer.replayed or layer.island
    if decided is not None and decided.ties is not None:
        told["ties"], told["flips"] = decided.ties, decided.mismatches
    if layer.block:
        told["block"] = list(layer.block)
    if layer.not_runnable:
        told["not_runnable"] = layer.not_runnable
    return told


def _flags(flags: Flags) -> dict[str, Any]:
    """In units of the layer's arithmetic; what the tensor has no part for, or nothing of, is left out."""
    told: dict[str, Any] = {}
    for name in ("rms_z", "max_z", "channel_z", "border_z", "interior_z"):
        value = _finite(getattr(flags, name))
        if value is not None:
            told[name] = float(f"{value:.4g}")
    if flags.channel is not None:
        told["channel"] = {"dimension": flags.channel[0], "index": flags.channel[1]}
    if flags.saturated:
        told["saturated"] = flags.saturated
    if flags.finding:
        told["finding"] = flags.finding
    return told


def _computing(found: Computing) -> dict[str, Any]:
    return {
        "name": found.name,
        "told_by": found.told_by,
        "chosen": found.chosen,
        "operators": list(found.operators),
        "types": list(found.types),
    }


def _output(diff: TensorDiff) -> dict[str, Any]:
    return {
        "name": diff.name,
        "dtype": diff.dtype,
        "shape": list(diff.shape),
        "exact": diff.exact,
        **{name: numbers(diff)[name] for name in ("rel_l2", "max_abs", "floor_ratio", "z")},
        "nan_mismatch": diff.nan_mismatch,
    }


def _relative(diff: TensorDiff | None) -> float | None:
    if diff is None:
        return None
    return 0.0 if diff.exact else numbers(diff)["rel_l2"]


def _worst(diff: TensorDiff) -> dict[str, Any] | None:
    if diff.worst is None:
        return None
    worst = diff.worst
    return {
        "sample": worst.sample,
        "index": list(worst.index),
        "golden": _finite(worst.golden),
        "got": _finite(worst.got),
    }


def _reading(found: Reading) -> dict[str, Any]:
    return {"kind": found.kind, "residual": _finite(found.residual), "value": found.value}


def _proof(proof: Proof) -> dict[str, Any]:
    return {
        "output": proof.output,
        "before_rel_l2": _finite(proof.before_rel_l2),
        "after_rel_l2": _finite(proof.after_rel_l2),
        "swapped": list(proof.swapped),
        "method": proof.method,
    }


def _ranked(each: Ranked) -> dict[str, Any]:
    return {
        "node": each.node,
        "op_type": each.op_type,
        "output": each.output,
        "introduced_rel_l2": _finite(each.introduced_rel_l2),
        "gain": _finite(each.gain),
        "without": _finite(each.without),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
