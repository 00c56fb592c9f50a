"""`conform run`: execute a model on its targets, compare with the golden, say whether they conform."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysnoise_conform.cli import options


def run(
    model: options.Model,
    backends: Annotated[
        str,
        typer.Option(
            "--backends", "-b", help="Comma-separated: name[:precision][@device][+option=value...]", show_default=False
        ),
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
    torch: Annotated[
        str | None, typer.Option("--torch", help="The original nn.Module, package.module:factory, run beside.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights for --torch: .safetensors, or a state dict.")
    ] = None,
    calibration: options.Calibration = None,
    keep_fp32: options.KeepFp32 = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="Of every :int8 that names none with +preset=; all: each of them.")
    ] = None,
    policy: options.Policy = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the report; what a former run left there is removed first.")
    ] = Path("conform-out"),
    timeout: options.Timeout = 300.0,
    memory: options.Memory = None,
    threads: options.Threads = 0,
    no_layers: Annotated[bool, typer.Option("--no-layers", help="Compare outputs only.")] = False,
    no_cache: options.NoCache = False,
    allow_linked_data: options.AllowLinkedData = False,
) -> None:
    """Run MODEL on each backend and compare every layer and output with PyTorch.

    Exit codes: 0 conforms, 1 the gate failed, 2 bad input or usage, 3 a backend crashed or hit its limit, 4 I/O,
    5 inconclusive, 6 a backend is unavailable, 130 interrupted.

    Examples:

    conform run --model det.onnx --backends ort,openvino,tflite

    conform run --model det.onnx --backends openvino:auto --inputs photos/ --card det.toml --samples 8
    """
    from sysnoise_conform.case import Case, Limits
    from sysnoise_conform.cli import conclude, parse
    from sysnoise_conform.errors import UsageError
    from sysnoise_conform.precision.recipe import with_preset
    from sysnoise_conform.report.folder import clear
    from sysnoise_conform.runner.provenance import threads_for
    from sysnoise_conform.variant import parse_variants

    clear(out)  # the first act: whatever goes wrong below, no former run's verdict is left to be believed
    if weights is not None and torch is None:
        raise UsageError("--weights goes with --torch", hint="add --torch package.module:factory")
    case = Case(
        model=model,
        variants=with_preset(parse_variants(backends), preset) if preset else parse_variants(backends),
        inputs=inputs,
        card=card,
        samples=samples,
        seed=seed,
        shapes={name: parse.shape(name, text) for name, text in parse.pairs(shape, "--shape").items()},
        bind=parse.pairs(bind, "--input"),
        deployed=options.deployed_of(deployed, names, layout),
        torch_module=torch,
        weights=weights,
        calibration=calibration,
        keep_fp32=tuple(keep_fp32 or ()),
        limits=Limits(timeout_s=timeout, memory_bytes=parse.size(memory, "--memory"), threads=threads_for(threads)),
        layers=not no_layers,
        cache=not no_cache,
        allow_linked_data=allow_linked_data,
    )
    raise typer.Exit(conclude.run_and_conclude(case, out, policy))
