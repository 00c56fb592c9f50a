"""`conform run`: execute a model on its targets, compare with the golden, say whether they conform."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[Path, typer.Option("--model", "-m", help="The ONNX model.", show_default=False)],
    backends: Annotated[
        str,
        typer.Option(
            "--backends", "-b", help="Comma-separated: name[:precision][@device][+option=value...]", show_default=False
        ),
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
    torch: Annotated[
        str | None, typer.Option("--torch", help="The original nn.Module, package.module:factory, run beside.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights for --torch: .safetensors, or a state dict.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="What :int8 calibrates on; else inputs that are not judged.")
    ] = None,
    keep_fp32: Annotated[
        list[str] | None, typer.Option("--keep-fp32", help="A node that conversions leave in float32. Repeatable.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="Of every :int8 that names none with +preset=; all: each of them.")
    ] = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="Thresholds (TOML) in place of the defaults.")] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the report; what a former run left there is removed first.")
    ] = Path("conform-out"),
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds for one compile or one run, PyTorch's too.", min=0.1)
    ] = 300.0,
    memory: Annotated[str | None, typer.Option("--memory", help="Limit of one session: 4G, 800M.")] = None,
    threads: Annotated[
        int, typer.Option("--threads", help="Threads of a runtime; 0: its own choice, within a quota of cores.", min=0)
    ] = 0,
    no_layers: Annotated[bool, typer.Option("--no-layers", help="Compare outputs only.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither use nor keep golden tensors.")] = False,
    allow_linked_data: Annotated[
        bool, typer.Option("--allow-linked-data", help="Accept external data that is linked from elsewhere.")
    ] = False,
) -> None:
    """Run MODEL on each backend and compare every layer and output with PyTorch.

    Exit codes: 0 conforms, 1 the gate failed, 2 bad input or usage, 3 a backend crashed or hit its limit, 4 I/O,
    5 inconclusive, 6 a backend is unavailable, 130 interrupted.

    Examples:

    conform run --model det.onnx --backends ort,openvino,tflite

    conform run --model det.onnx --backends openvino:auto --inputs photos/ --card det.toml --samples 8
    """
    from sysnoise_conform.case import Case, Deployed, Limits
    from sysnoise_conform.cli import conclude, parse
    from sysnoise_conform.errors import UsageError
    from sysnoise_conform.precision.recipe import with_preset
    from sysnoise_conform.report.folder import clear
    from sysnoise_conform.runner.provenance import threads_for
    from sysnoise_conform.variant import parse_variants

    clear(out)  # the first act: whatever goes wrong below, no former run's verdict is left to be believed
    if (names or layout) and deployed is None:
        raise UsageError("--map and --layout speak of the file given with --deployed", hint="add --deployed FILE")
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
        deployed=None
        if deployed is None
        else Deployed(
            path=deployed, names=parse.pairs(names, "--map"), layouts=parse.layouts(parse.pairs(layout, "--layout"))
        ),
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
