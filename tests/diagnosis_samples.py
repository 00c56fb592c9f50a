"""Diagnoses made by hand: one culprit, several, accumulated rounding, clean, nothing to be seen, hostile names."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import report_samples
from report_samples import HOSTILE, OPS, broken_numbers, diff, header, names_of, runtime

from sysnoise_conform.diagnose.facts import (
    Culprit,
    Diagnosis,
    Known,
    Layer,
    ObserverEffect,
    Optimiser,
    Proof,
    Ranked,
)
from sysnoise_conform.outcome import Floor, Reading, RuntimeFacts, TensorDiff, Unobservable

ENVIRONMENT: dict[str, Any] = header([])["environment"]
GOLDEN = {"torch": "2.13.0+cpu", "cached": 8, "of": 8, "source": "store", "notes": []}


def alone(name: str, *, z: float, rounding: float = 6e-8, **changes: Any) -> TensorDiff:
    """One operator's own error: `z` times what it may be off, which is `rounding` of its answer."""
    n = changes.get("n", 4096)
    floor = Floor(
        n=n, sum_sq=n * (0.8 * rounding) ** 2, max_abs=4 * rounding, sigma_sq=n * rounding**2, sigma_runs=8,
        sigma_max=5 * rounding,
    )  # fmt: skip
    return replace(diff(name, rel=z * rounding, **changes), floor=floor)


def layers_of(
    names: list[str], *, seed: int = 0, guilty: dict[int, float] | None = None, level: float = 0.7
) -> tuple[Layer, ...]:
    """Layers that are `level` off by themselves, the guilty ones as far as is said; what is cumulative grows."""
    draw, total, layers = random.Random(seed), 6e-8, []
    for at, name in enumerate(names):
        z = (guilty or {}).get(at, level * math.exp(draw.gauss(0, 0.3)))
        total = math.hypot(total, z * 6e-8) * 1.01
        op_type = OPS[at % len(OPS)]
        watched = draw.random() > 0.04 or at in (guilty or {})
        layers.append(
            Layer(
                index=at,
                node=f"{op_type}_{at}",
                op_type=op_type,
                output=name,
                attributes="kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1" if "Pool" in op_type else "",
                replayed=alone(name, z=z) if watched else None,
                island=alone(name, z=z * 0.98) if draw.random() > 0.1 else None,
                cumulative=diff(name, rel=total) if watched else None,
                not_runnable="" if op_type != "Resize" else "OpenVINO makes no graph of Resize alone",
            )
        )
    return tuple(layers)


def diagnosis(verdict: str, sentence: str, layers: tuple[Layer, ...], **changes: Any) -> Diagnosis:
    facts: dict[str, Any] = {
        "variant": "openvino:auto",
        "model": "models/det.onnx",
        "runtime": runtime("OpenVINO", "bf16", "auto"),
        "verdict": verdict,
        "sentence": sentence,
        "observer_effect": ObserverEffect(rel_l2=1.2e-7, floor_ratio=0.42, tapped=len(layers)),
        "outputs": (diff("sigmoid_0.tmp_0", rel=3e-4),),
        "layers": layers,
        "environment": ENVIRONMENT,
        "golden": GOLDEN,
        "seconds": {"tapped": 4.2, "replay": 8.1, "islands": 3.3, "total": 17.4},
    }
    return Diagnosis(**{**facts, **changes})


def culprit_at(layers: tuple[Layer, ...], at: int, *, number: int = 1, **changes: Any) -> Culprit:
    layer = layers[at]
    assert layer.replayed is not None
    facts: dict[str, Any] = {
        "layer": layer,
        "method": "replay",
        "diff": layer.replayed,
        "kind": "border",
        "readings": (Reading(kind="border", residual=0.02, value="5 of 9 elements"),),
        "words": "it divides by the size of the whole window where padding is counted in",
        "cumulative_before": 2.1e-7,
        "reproducer": f"culprit-{number}-{layer.op_type.lower()}",
    }
    return Culprit(**{**facts, **changes})


def one_culprit(count: int = 120) -> Diagnosis:
    layers = layers_of(names_of(count), guilty={39: 51_000.0})
    proof = Proof(output="sigmoid_0.tmp_0", before_rel_l2=3.1e-4, after_rel_l2=2.2e-7, swapped=(layers[39].output,))
    known = Known(case="maxpool-ceil", about="ceil_mode=1", deviates="off by 3", when="where the last window is a part")
    return diagnosis(
        "culprits",
        "MaxPool 'MaxPool_39' (layer 40 of 120) is 51,000 times as far off as its own arithmetic may be",
        layers,
        culprits=(culprit_at(layers, 39, proof=proof, share=0.9998, known=(known,)),),
        notes=("3 layers were replayed in 2 parts",),
    )


def several_culprits() -> Diagnosis:
    layers = layers_of(names_of(60), guilty={9: 900.0, 20: 4_000.0, 42: 120.0})
    block = replace(layers[42], block=("Conv_40", "Relu_41", layers[42].node))
    layers = (*layers[:42], block, *layers[43:])
    culprits = (
        culprit_at(layers, 9, share=-0.2),
        culprit_at(
            layers, 20, number=2, method="explode", kind="bfloat16", words="",
            readings=(Reading(kind="bfloat16", residual=0.04),), diff=alone(layers[20].output, z=4_000),
        ),
        culprit_at(layers, 42, number=3, method="cut", kind="unknown", readings=(), words="", reproducer="",
                   optimiser=Optimiser(level="opt=basic", passes=("ConvMulFusion",))),
    )  # fmt: skip
    return diagnosis(
        "culprits", "3 operators diverge, MaxPool 'MaxPool_9' before all others", layers, culprits=culprits,
        observer_effect=ObserverEffect(rel_l2=1.2e-7, floor_ratio=0.42, tapped=41, boundaries=41),
    )  # fmt: skip


def accumulated_rounding() -> Diagnosis:
    layers = layers_of(names_of(60), level=1.4)
    ranking = tuple(
        Ranked(
            node=layers[at].node, op_type=layers[at].op_type, output=layers[at].output,
            introduced_rel_l2=8.4e-8, gain=40.0 / (1 + at), without=3e-4 / (2 + at),
        )
        for at in range(15)
    )  # fmt: skip
    sentence = "no operator is further off than its arithmetic may be; their rounding adds up at the output"
    return diagnosis("accumulated_rounding", sentence, layers, ranking=ranking)


def clean() -> Diagnosis:
    outputs = (diff("sigmoid_0.tmp_0", rel=3e-7),)
    return diagnosis(
        "clean", "the outputs conform, and so does every operator", layers_of(names_of(30)), outputs=outputs
    )


def unobservable() -> Diagnosis:
    layers = tuple(
        replace(each, replayed=None, island=None, cumulative=None, not_runnable="the delegate takes the whole graph")
        for each in layers_of(names_of(20))
    )
    hidden = tuple(Unobservable(tensor=each.output, why="inside one delegate node") for each in layers)
    return diagnosis(
        "unobservable", "the outputs depart inside a region of 20 layers that can't be seen", layers,
        unobservable=hidden, observer_effect=ObserverEffect(rel_l2=None, floor_ratio=None, tapped=0),
    )  # fmt: skip


def converted(name: str = "sigmoid_0.tmp_0") -> Diagnosis:
    """Of a quantised graph; `name` is its output's."""
    report, _ = report_samples.converted(name=name)
    (made,) = report.header["conversions"]
    return diagnosis(
        "clean", "the outputs conform, and so does every operator", layers_of(names_of(30)),
        variant="ort:int8", command="conform diagnose --model models/det.onnx --backend ort:int8",
        conversion={**made, "commands": [f"conform diagnose --model models/det.onnx --keep-fp32 '{name}'"]},
    )  # fmt: skip


def hostile() -> Diagnosis:
    """A model, a runtime and messages that are all hostile."""
    nasty = " ".join(HOSTILE.values())
    said = " ".join(each for name, each in HOSTILE.items() if name != "long")  # a command line is never shortened
    layers = tuple(
        Layer(
            index=at, node=nasty, op_type=nasty, output=name, attributes=nasty, block=(nasty, nasty),
            replayed=alone(name, z=900.0), cumulative=diff(name, rel=1e-3), not_runnable=nasty,
        )
        for at, name in enumerate(HOSTILE.values())
    )  # fmt: skip
    readings = (Reading(kind=nasty, residual=0.5, value=nasty),)
    proof = Proof(output=nasty, before_rel_l2=1e-3, after_rel_l2=1e-7, swapped=(nasty,), method="orders")
    optimiser = Optimiser(level=nasty, passes=(nasty, nasty))
    return diagnosis(
        "culprits", nasty, layers,
        variant=nasty, model=nasty, command=said,
        conversion={**(converted(said).conversion or {}), "variants": [nasty]},
        runtime=RuntimeFacts(
            name=nasty, version=nasty, device=nasty, effective_precision=nasty, options={nasty: nasty}, python=nasty
        ),
        outputs=tuple(diff(each) for each in HOSTILE.values()),
        culprits=tuple(
            culprit_at(layers, at, kind=nasty, readings=readings, words=nasty, proof=proof, reproducer=nasty,
                       optimiser=optimiser)
            for at in range(len(layers))
        ),
        ranking=(Ranked(node=nasty, op_type=nasty, output=nasty, introduced_rel_l2=1e-7, gain=None, without=None),),
        unobservable=(Unobservable(tensor=nasty, why=nasty),),
        notes=(nasty,),
        environment={**ENVIRONMENT, "cpu": nasty, nasty: nasty},
        golden={"torch": nasty, "notes": [nasty]},
        seconds={nasty: 1.0, "total": 2.0},
    )  # fmt: skip


def broken() -> Diagnosis:
    """NaN, Inf, another shape and answers that are all zero."""
    names = names_of(5)
    diffs = (
        broken_numbers(),
        alone(names[1], z=1.0, shape_got=(1, 8), finite=0),
        alone(names[2], z=1.0, rms=0.0, sum_sq_golden=0.0, sum_sq_err=1e-9),
        alone(names[3], z=math.inf),
        alone(names[4], z=0.0, mismatches=0),
    )
    layers = tuple(
        Layer(index=at, node="", op_type="Conv", output=name, replayed=each, cumulative=each)
        for at, (name, each) in enumerate(zip(names, diffs, strict=True))
    )
    return diagnosis(
        "culprits", "Conv makes NaN", layers,
        culprits=tuple(
            culprit_at(layers, at, readings=(), kind="unknown", words="", cumulative_before=math.inf) for at in range(5)
        ),
        observer_effect=ObserverEffect(rel_l2=math.nan, floor_ratio=math.inf, tapped=5),
        seconds={"total": math.nan},
    )  # fmt: skip


def empty() -> Diagnosis:
    return diagnosis(
        "clean", "", (), outputs=(), observer_effect=ObserverEffect(rel_l2=0.0, floor_ratio=0.0, tapped=0), seconds={},
        environment={}, golden={},
    )  # fmt: skip


EVERY = {
    "one culprit": one_culprit(),
    "several culprits": several_culprits(),
    "accumulated rounding": accumulated_rounding(),
    "clean": clean(),
    "unobservable": unobservable(),
    "converted": converted(),
    "hostile": hostile(),
    "broken": broken(),
    "empty": empty(),
}
