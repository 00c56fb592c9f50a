"""`conform zoo`: the models that the SysNoise paper measures, which of them are here, and their export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="The models of the SysNoise paper: what is here, what is missing, their export.", rich_markup_mode=None
)


@app.callback(invoke_without_command=True)
def zoo(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say where weights were looked for.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all members: the paper's figure, the weights on this machine, or the command that would bring them.

    Nothing is fetched: weights are looked for in $CONFORM_ZOO and in the caches of torchvision, timm and transformers.

    Example: conform zoo --verbose
    """
    if context.invoked_subcommand is None:
        from sysnoise_conform.reports import zoo_list

        typer.echo(zoo_list.as_json() if as_json else zoo_list.as_text(verbose=verbose), nl=False)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A member: resnet-18, opt-125m.", show_default=False)]) -> None:
    """Tell everything of one member: the paper's figures, doubtful ones marked, and where its weights are looked for.

    Example: conform zoo show resnet-50
    """
    from sysnoise_conform.reports import zoo_list

    typer.echo(zoo_list.of_one(name), nl=False)


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="A member: resnet-18, opt-125m.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The ONNX file to write; else NAME.onnx.", show_default=False)
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A file of weights: .safetensors, or a state dict.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Random ones, to try what the network's shape needs.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of random weights.", min=0)] = 0,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", help="Another size than the card's: x=1,3,256,256. Repeatable.")
    ] = None,
    opset: Annotated[int, typer.Option("--opset", help="The ONNX opset to write.", min=7)] = 18,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds for the export.", min=1)] = 3600.0,
) -> None:
    """Export one member to ONNX, checked against its module, with its card beside it.

    Exit codes: 0 written, 2 no weights, a library that is missing, or usage, 3 the export crashed, 4 I/O.

    Examples:

    conform zoo export resnet-18 --out resnet-18.onnx

    conform zoo export retinanet-resnet50 --random-weights --shape x=1,3,256,256
    """
    from sysnoise_conform import exporting
    from sysnoise_conform.cli import parse
    from sysnoise_conform.errors import UsageError

    if random_weights and weights is not None:
        raise UsageError("weights are given and random ones asked for", hint="leave out one of the two")
    facts = exporting.export_member(
        name,
        out=out or Path(f"{name}.onnx"),
        weights=weights,
        random_seed=seed if random_weights else None,
        shapes={key: parse.shape(key, text) for key, text in parse.pairs(shape, "--shape").items()},
        opset=opset,
        timeout_s=timeout,
    )
    for line in exporting.as_text(facts):
        typer.echo(line)
