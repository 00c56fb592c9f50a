"""`conform diagnose`: name the operator that diverges on a target, prove it, and hand over the reproducer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sysnoise_conform.cli import options


def diagnose(
    model: options.Model,
    backend: Annotated[
        str,
        typer.Option("--backend", "-b", help="One: name[:precision][@device][+option=value...]", show_default=False),
    ],
    inputs: options.Inputs = None,
    card: options.Card = None,
    samples: options.Samples = None,
    seed: options.SyntheticSeed = 0,
    shape: options.Shape = None,
    bind: options.Bind = None,
    deployed: options.DeployedFile = None,
    names: options.Names = None,
    layout: options.Layouts = None,
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Look at this node (or tensor) only. Repeatable.")
    ] = None,
    calibration: options.Calibration = None,
    keep_fp32: options.KeepFp32 = None,
    policy: options.Policy = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the diagnosis; a former one's files are removed first.")
    ] = Path("conform-diagnosis"),
    prove: Annotated[
        bool, typer.Option("--prove", help="Put PyTorch's answer in each culprit's place and measure what is left.")
    ] = False,
    islands_only: Annotated[
        bool, typer.Option("--islands-only", help="Try operators alone only: quicker, and without PyTorch once stored.")
    ] = False,
    granularity: Annotated[
        Literal["op", "block"] | None,
        typer.Option(
            "--granularity", help="Judge single operators, or blocks from DQ to Q as integer kernels compute them.",
            show_default="block where the graph has Q and DQ",
        ),
    ] = None,
    win_back: Annotated[
        int, typer.Option("--win-back", help="Of :int8, :fp16: costly layers to leave in float32 in turn.", min=0)
    ] = 5,
    reproducers: Annotated[
        int, typer.Option("--reproducers", help="Folders to write at most, for the operators furthest off.", min=0)
    ] = 5,
    timeout: options.Timeout = 300.0,
    memory: options.Memory = None,
    threads: options.Threads = 0,
    no_cache: options.NoCache = False,
    allow_linked_data: options.AllowLinkedData = False,
) -> None:
    """Name the operators of MODEL that BACKEND computes otherwise than PyTorch, each judged on its own inputs.

    Exit codes: 0 no operator and no output is off, 1 culprits were named or an output is off, 2 bad input or usage,
    3 the backend crashed or hit its limit, 4 I/O, 5 inconclusive, 6 the backend is unavailable, 130 interrupted.

    Examples:

    conform diagnose --model det.onnx --backend openvino:auto

    conform diagnose --model det.onnx --backend ort --inputs photos/ --samples 1 --prove
    """
    from sysnoise_conform.case import Case, Limits
    from sysnoise_conform.cli import parse
    from sysnoise_conform.cli.examine import examine
    from sysnoise_conform.runner.provenance import threads_for
    from sysnoise_conform.variant import parse_variant

    case = Case(
        model=model,
        variants=(parse_variant(backend),),
        inputs=inputs,
        card=card,
        samples=samples,
        seed=seed,
        shapes={name: parse.shape(name, text) for name, text in parse.pairs(shape, "--shape").items()},
        bind=parse.pairs(bind, "--input"),
        deployed=options.deployed_of(deployed, names, layout),
        calibration=calibration,
        keep_fp32=tuple(keep_fp32 or ()),
        limits=Limits(timeout_s=timeout, memory_bytes=parse.size(memory, "--memory"), threads=threads_for(threads)),
        cache=not no_cache,
        allow_linked_data=allow_linked_data,
    )
    raise typer.Exit(
        examine(
            case, out, policy, replay=not islands_only, prove=prove, only=node or (), granularity=granularity,
            win_back=win_back, reproducers=reproducers,
        )
    )
