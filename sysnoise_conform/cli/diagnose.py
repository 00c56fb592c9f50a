"""`conform diagnose`: name the operator that diverges on a target, prove it, and hand over the reproducer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def diagnose(
    model: Annotated[Path, typer.Option("--model", "-m", help="The ONNX model.", show_default=False)],
    backend: Annotated[
        str,
        typer.Option("--backend", "-b", help="One: name[:precision][@device][+option=value...]", show_default=False),
    ],
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", "-i", help=".npz, .npy, .safetensors, a folder of these, or a folder of images."),
    ] = None,
    card: Annotated[Path | None, typer.Option("--card", help="Model card (TOML); else looked for beside it.")] = None,
    samples: Annotated[int | None, typer.Option("--samples", "-n", help="How many inputs.", min=1)] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of synthetic inputs.", min=0)] = 0,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", help="A dynamic input's size: name=1,3,640,640. Repeatable.")
    ] = None,
    bind: Annotated[
        list[str] | None, typer.Option("--input", help="Bind one input to a constant: sr=16000. Repeatable.")
    ] = None,
    deployed: Annotated[
        Path | None, typer.Option("--deployed", help="The file that ships (.onnx, .tflite, .xml), run as it is.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--map", help="A golden tensor's name in --deployed: golden=deployed.")
    ] = None,
    layout: Annotated[
        list[str] | None, typer.Option("--layout", help="A golden tensor that --deployed holds as name=NHWC.")
    ] = None,
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Look at this node (or tensor) only. Repeatable.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="What :int8 calibrates on; else inputs that are not judged.")
    ] = None,
    keep_fp32: Annotated[
        list[str] | None, typer.Option("--keep-fp32", help="A node that conversions leave in float32. Repeatable.")
    ] = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="Thresholds (TOML) in place of the defaults.")] = None,
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
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds for one compile or one run, PyTorch's too.", min=0.1)
    ] = 300.0,
    memory: Annotated[str | None, typer.Option("--memory", help="Limit of one session: 4G, 800M.")] = None,
    threads: Annotated[
        int, typer.Option("--threads", help="Threads of a runtime; 0: its own choice, within a quota of cores.", min=0)
    ] = 0,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither use nor keep golden tensors.")] = False,
    allow_linked_data: Annotated[
        bool, typer.Option("--allow-linked-data", help="Accept external data that is linked from elsewhere.")
    ] = False,
) -> None:
    """Name the operators of MODEL that BACKEND computes otherwise than PyTorch, each judged on its own inputs.

    Exit codes: 0 no operator and no output is off, 1 culprits were named or an output is off, 2 bad input or usage,
    3 the backend crashed or hit its limit, 4 I/O, 5 inconclusive, 6 the backend is unavailable, 130 interrupted.

    Examples:

    conform diagnose --model det.onnx --backend openvino:auto

    conform diagnose --model det.onnx --backend ort --inputs photos/ --samples 1 --prove
    """
    from sysnoise_conform.case import Case, Deployed, Limits
    from sysnoise_conform.cli import parse
    from sysnoise_conform.cli.examine import examine
    from sysnoise_conform.errors import UsageError
    from sysnoise_conform.runner.provenance import threads_for
    from sysnoise_conform.variant import parse_variant

    if (names or layout) and deployed is None:
        raise UsageError("--map and --layout speak of the file given with --deployed", hint="add --deployed FILE")
    case = Case(
        model=model,
        variants=(parse_variant(backend),),
        inputs=inputs,
        card=card,
        samples=samples,
        seed=seed,
        shapes={name: parse.shape(name, text) for name, text in parse.pairs(shape, "--shape").items()},
        bind=parse.pairs(bind, "--input"),
        deployed=None
        if deployed is None
        else Deployed(
            path=deployed, names=parse.pairs(names, "--map"), layouts=parse.layouts(parse.pairs(layout, "--layout"))
        ),
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
