"""Reports made by hand of real facts: every outcome, hostile names, and the odd shapes that renderers meet."""

from __future__ import annotations

import math
import random
from datetime import date
from typing import Any

from sysnoise_conform.judge import judge
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.judge.verdict import Judgement
from sysnoise_conform.outcome import (
    Crashed,
    Floor,
    Measured,
    NoOp,
    NotApplicable,
    Outcome,
    Reading,
    Result,
    RuntimeFacts,
    Seconds,
    Skipped,
    TaskFigure,
    TensorDiff,
    Unavailable,
    Unobservable,
    Unsupported,
    Worst,
)
from sysnoise_conform.report import Report

OPS = ("Conv", "Relu", "Conv", "Add", "Relu", "Resize", "Concat", "Conv", "Sigmoid", "MaxPool")


def header(
    names: list[str], *, inner: int = 0, path: str = "models/det.onnx", outputs: list[str] | None = None
) -> dict[str, Any]:
    return {
        "schema": "conform.report/1",
        "command": "conform run --model models/det.onnx --backends ort,openvino:auto --inputs photos --card det.toml",
        "model": {
            "path": path,
            "sha256": "5e8c" * 16,
            "opset": 12,
            "nodes": len(names),
            "bound": ["sr"],
            "inner_tensors": inner,
            "graph": "as given",
        },
        "layers": [
            {
                "index": at,
                "node": f"{OPS[at % len(OPS)]}_{at}",
                "op_type": OPS[at % len(OPS)],
                "domain": "",
                "tensor": name,
                "dtype": "FLOAT",
            }
            for at, name in enumerate(names)
        ],
        "outputs": outputs or ["sigmoid_0.tmp_0"],
        "golden": {"torch": "2.13.0+cpu", "cached": 8, "of": 8, "source": "store", "notes": []},
        "inputs": {
            "kind": "images",
            "samples": 8,
            "sha256": "77aa" * 16,
            "seed": 0,
            "names": ["china.jpg", "flower.jpg"],
            "notes": [],
        },
        "environment": {
            "conform": "0.1.0",
            "python": "3.11.7",
            "executable": "/usr/bin/python3",
            "platform": "Linux 6.1 x86_64",
            "cpu": "AMD EPYC 9B14",
            "cpu_flags": ["avx2", "fma", "avx512f", "avx512_bf16"],
            "cores": 2,
            "threads": 2,
            "packages": {"numpy": "2.4.0", "onnx": "1.23.2", "torch": "2.13.0", "onnxruntime": "1.31.1"},
        },
        "variants": [],
        "started": "2026-11-21T19:00:00Z",
    }


def diff(
    name: str,
    *,
    rel: float = 1e-6,
    floor: float = 4e-7,
    n: int = 4096,
    rms: float = 1.0,
    dtype: str = "FLOAT",
    **changes: Any,
) -> TensorDiff:
    """A tensor whose relative L2 error is `rel` and whose floor, relative, is `floor`."""
    golden = n * rms * rms
    error = golden * rel * rel
    facts: dict[str, Any] = {
        "name": name,
        "dtype": dtype,
        "shape": (1, 4, 32, 32),
        "samples": 8,
        "n": n,
        "finite": n,
        "sum_sq_err": error,
        "max_abs": rel * rms * 6,
        "worst": Worst(sample=2, index=(0, 1, 17, 3), golden=0.5 * rms, got=0.5 * rms + rel * rms * 6),
        "sum_sq_golden": golden,
        "sum_sq_got": golden,
        "dot": golden - error / 2,
        "max_golden": 4.0 * rms,
        "mismatches": 0 if rel == 0 else n // 2,
        "ulp_histogram": {8: n - 40, 24: 40},
        "floor": Floor(
            n=n, sum_sq=golden * floor * floor, max_abs=floor * rms * 5, rounding_sum_sq=golden * floor * floor / 9
        ),
    }
    return TensorDiff(**{**facts, **changes})


def runtime(name: str = "ort", precision: str = "fp32", asked: str | None = None) -> RuntimeFacts:
    return RuntimeFacts(
        name=name,
        version="1.31.1",
        device="cpu",
        effective_precision=precision,
        options={"opt": "all", "threads": 2},
        asked_precision=asked,
    )


def names_of(count: int) -> list[str]:
    return [
        *(
            f"/backbone/stage{at // 40}/block{at // 8 % 5}/{OPS[at % len(OPS)]}_{at}_output_0"
            for at in range(count - 1)
        ),
        "sigmoid_0.tmp_0",
    ][:count]


def measured(
    names: list[str],
    *,
    level: float = 1.4,
    seed: int = 0,
    depart: int | None = None,
    jump: float = 3000.0,
    hidden: float = 0.03,
    facts: RuntimeFacts | None = None,
    rels: list[float] | None = None,
    **changes: Any,
) -> Measured:
    """Error that grows along the graph, `level` floors high, and `jump` times higher from layer `depart` on."""
    draw = random.Random(seed)
    weather = random.Random(7)  # the floor is the golden's own: the same for every variant
    layers, lost = [], []
    for at, name in enumerate(names):
        floor = 8e-8 * (1 + at) ** 0.5 * math.exp(weather.gauss(0, 0.35))
        rel = floor * level * math.exp(draw.gauss(0, 0.15)) * (jump if depart is not None and at >= depart else 1)
        if rels is not None:
            rel = rels[at]
        if draw.random() < hidden and at != depart and at + 1 < len(names):
            lost.append(Unobservable(tensor=name, why="fused into the Conv before it"))
        else:
            layers.append(diff(name, rel=rel, floor=floor))
    outputs = (layers[-1],) if layers else (diff("sigmoid_0.tmp_0"),)
    known: dict[str, Any] = {
        "runtime": facts or runtime(),
        "outputs": outputs,
        "layers": tuple(layers),
        "unobservable": tuple(lost),
        "observer_effect": (diff(outputs[0].name, rel=1e-7),),
        "seconds": Seconds(compile=0.84, run=2.31, total=4.02),
        "peak_rss_mb": 312.4,
    }
    return Measured(**{**known, **changes})


def judged(report: Report) -> Judgement:
    return judge(report, Policy(), today=date(2026, 11, 21))


OUTCOMES: dict[str, Outcome] = {
    "no_op": NoOp(same_as="ort"),
    "skipped": Skipped(why="tensorrt is not part of this run"),
    "not_applicable": NotApplicable(why="the model has no Resize", node="Resize_9"),
    "unsupported": Unsupported(stage="convert", why="no converter for this operator", node="Det_1", op="Det"),
    "crashed": Crashed(stage="run", cause="crash", why="the child ended", signal="SIGSEGV", runtime=runtime("mnn")),
    "unavailable": Unavailable(why="TensorRT is not installed", cure="pip install tensorrt"),
}


def every_outcome(layers: int = 120) -> tuple[Report, Judgement]:
    """One variant per kind of outcome; `openvino:auto` fails from layer 34 on."""
    names = names_of(layers)
    auto = measured(
        names,
        seed=2,
        depart=layers * 2 // 7,
        facts=runtime("openvino", "bf16", "auto"),
        tasks=(TaskFigure(name="box_flips", value=3, of=41, about="boxes that one side has and the other has not"),),
        notes=("the tapped graph was refused as a whole; its layers were measured in 2 parts",),
    )
    last = auto.outputs[0]
    auto = measured(
        names,
        seed=2,
        depart=layers * 2 // 7,
        facts=auto.runtime,
        tasks=auto.tasks,
        notes=auto.notes,
        outputs=(diff(last.name, rel=last.rel_l2 or 0, readings=(Reading(kind="bfloat16", residual=0.04),)),),
    )
    results = [
        Result(variant="ort", outcome=measured(names), log="logs/00-ort.txt"),
        Result(variant="openvino:auto", outcome=auto, log="logs/01-openvino.txt"),
        *(Result(variant=f"backend{at}", outcome=outcome) for at, outcome in enumerate(OUTCOMES.values())),
    ]
    report = Report(
        header=header(names, inner=12), results=tuple(results), footer={"results": len(results), "seconds": 12.5}
    )
    return report, judged(report)


HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;",
    "ansi": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "markup": "[red]not red[/red][/]",
    "csv": '=cmd|"/C calc"!A0,"b\n',
    "bidi": "a\u202eexe.gnp\u2066\u2069\u200b",
    "nul": "nul\x00\x0b\x7f\x85end",
    "nonchar": "x\ufffe\uffff\ud800y",
    "long": "n" * 10_000,
    "markdown": "a|b`c`[x](javascript:alert(1)) @team #1 <!-- --> ``` https://example.com",
    "xml": "]]></testsuite><!DOCTYPE x>",
    "path": "../../etc/passwd",
}


def hostile() -> tuple[Report, Judgement]:
    """A model, runtimes and messages that are all hostile."""
    names = list(HOSTILE.values())
    nasty = " ".join(HOSTILE.values())
    outcome = measured(
        names,
        depart=1,
        hidden=0.0,
        facts=RuntimeFacts(name=nasty, version=nasty, device=nasty, effective_precision=nasty, options={nasty: nasty}),
        outputs=tuple(diff(each, readings=(Reading(kind=nasty, residual=0.5, value=nasty),)) for each in names),
        unobservable=(Unobservable(tensor=nasty, why=nasty),),
        missing_outputs=(Unobservable(tensor=nasty, why=nasty),),
        nondeterministic=(nasty,),
        tasks=(TaskFigure(name=nasty, value=1, about=nasty),),
        notes=(nasty,),
        observer_effect=(diff(nasty),),
    )
    head = header(names, path=nasty, outputs=names)
    head["command"] = nasty.replace(HOSTILE["long"], "")
    head["environment"]["cpu"] = nasty
    for layer in head["layers"]:
        layer["node"] = layer["op_type"] = nasty
    results = [
        Result(variant="ort", outcome=outcome, log=nasty),
        Result(variant="a", outcome=NoOp(same_as=nasty)),
        Result(variant="b", outcome=Skipped(why=nasty)),
        Result(variant="c", outcome=NotApplicable(why=nasty, node=nasty)),
        Result(variant="d", outcome=Unsupported(stage=nasty, why=nasty, node=nasty, op=nasty)),
        Result(variant="e", outcome=Crashed(stage=nasty, cause=nasty, why=nasty, signal=nasty)),
        Result(variant="f", outcome=Unavailable(why=nasty, cure=nasty)),
    ]
    report = Report(header=head, results=tuple(results), footer={})
    return report, judged(report)


def single(outcome: Outcome, names: list[str]) -> tuple[Report, Judgement]:
    report = Report(header=header(names), results=(Result(variant="ort", outcome=outcome),), footer={})
    return report, judged(report)


def shipped() -> tuple[Report, Judgement]:
    """A run on the file that really ships."""
    names = names_of(3)
    deployed = {"path": "det[1].tflite", "format": "tflite", "sha256": "c0de" * 16, "names": {}, "layouts": {}}
    report = Report(
        header={**header(names), "deployed": deployed},
        results=(Result(variant="tflite", outcome=measured(names)),),
        footer={},
    )
    return report, judged(report)


def spoiled() -> tuple[Report, Judgement]:
    """A model that makes NaN of everything, with a backend that agrees."""
    nan = {"rel": 0.0, "finite": 0, "nan_golden": 4096, "nan_got": 4096, "sum_sq_err": 0.0, "max_abs": 0.0}
    return single(measured([], outputs=(diff("sigmoid_0.tmp_0", **nan),), observer_effect=()), [])


def nothing() -> tuple[Report, Judgement]:
    report = Report(header=header([]), results=(), footer={})
    return report, judged(report)


def broken_numbers() -> TensorDiff:
    """NaN where the golden has numbers, and nothing finite to compare."""
    return TensorDiff(
        name="sigmoid_0.tmp_0",
        dtype="FLOAT",
        shape=(1, 4),
        samples=1,
        n=4,
        finite=0,
        nan_got=4,
        nan_mismatch=4,
        first_nonfinite=(0, 0, 2),
        max_abs=math.nan,
        floor=Floor(n=4, sum_sq=1e-12, max_abs=1e-6),
    )


def odd() -> dict[str, tuple[Report, Judgement]]:
    """Reports at the edges."""
    one, few, many = names_of(1), names_of(6), names_of(300)
    twenty = Report(
        header=header(many),
        results=tuple(
            Result(variant=f"ort+opt={at}", outcome=measured(many, seed=at, depart=150 if at % 3 == 0 else None))
            for at in range(20)
        ),
        footer={},
    )
    return {
        "nothing ran": nothing(),
        "no layers": single(measured([], observer_effect=()), []),
        "all exact": single(measured(few, hidden=0, rels=[0.0] * 6), few),
        "one layer": single(measured(one), one),
        "NaN": single(
            measured(
                few,
                hidden=0,
                outputs=(broken_numbers(),),
                layers=(*measured(few, hidden=0).layers[:-1], broken_numbers()),
            ),
            few,
        ),
        "another shape": single(
            measured(few, hidden=0, outputs=(diff("sigmoid_0.tmp_0", shape_got=(1, 8), finite=0),)), few
        ),
        "infinite": single(measured(few, hidden=0, rels=[1e-7, 1e-30, 1e30, math.inf, 0.0, 1e-7]), few),
        "nothing observable": single(
            measured(few, layers=(), unobservable=tuple(Unobservable(tensor=each, why="a black box") for each in few)),
            few,
        ),
        "twenty variants": (twenty, judged(twenty)),
    }


def converted(*, name: str = "sigmoid_0.tmp_0") -> tuple[Report, Judgement]:
    """A quantised variant beside the model as it is; `name` is the output's."""
    names = [*names_of(5)[:-1], name]
    head = header(names, outputs=[name])
    codes = [f"{each}_QuantizeLinear_Output" for each in names]
    graph = header(codes)["layers"]
    head["conversions"] = [
        {
            "variants": ["ort:int8"],
            "commands": ["conform run --model models/det.onnx --backends ort:int8+preset=ort+observer=minmax"],
            "recipe": "int8 (preset ort, observer minmax)",
            "sha256": "c0de" * 16,
            "opset": 13,
            "nodes": 15,
            "layers": graph,
            "random": [],
            "steps": {name: 0.01},
            "in_integers": 1.0,
            "codes": dict(zip(names, codes, strict=True)),
            "record": {
                "recipe": {"precision": "int8", "preset": "ort", "observer": "minmax", "keep_fp32": [name]},
                "opset": 13, "opset_before": 12, "converted": 4,
                "kept": [{"node": name, "op_type": "Conv", "why": "asked for"}],
                "weights": [], "activations": [], "notes": [f"{name} stays as it is"],
            },
            "calibration": {
                "origin": "split", "kind": "images", "samples": 16, "sha256": "ca1b" * 16,
                "names": [f"{name}{at}" for at in range(16)], "judged_too": [],
            },
        }
    ]  # fmt: skip
    quantised = measured(
        codes,
        hidden=0.0,
        facts=runtime(precision="int8 80 %, fp32 20 %", asked="int8"),
        outputs=(diff(name),),
        design=tuple(diff(each, rel=0.04, floor=0.0) for each in names),
        total=(diff(name, rel=0.041),),
        observer_effect=(diff(name, rel=1e-7),),
    )
    report = Report(
        header=head,
        results=(Result(variant="ort", outcome=measured(names)), Result(variant="ort:int8", outcome=quantised)),
        footer={},
    )
    return report, judged(report)
