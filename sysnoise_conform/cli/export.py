"""`conform export`: a PyTorch module to ONNX, checked against the module."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    module: Annotated[str, typer.Option("--torch", help="package.module:factory.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The ONNX file to write.", show_default=False)],
    shape: Annotated[list[str] | None, typer.Option("--shape", help="An input: name=1,3,224,224. Repeatable.")] = None,
    dtype: Annotated[
        list[str] | None, typer.Option("--dtype", help="An input that is not float32: ids=int64. Repeatable.")
    ] = None,
    dynamic_batch: Annotated[bool, typer.Option("--dynamic-batch", help="Leave the first axis open.")] = False,
    weights: Annotated[Path | None, typer.Option("--weights", help=".safetensors, or a state dict.")] = None,
    opset: Annotated[int, typer.Option("--opset", help="The ONNX opset to write.", min=7)] = 18,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the inputs of the check.", min=0)] = 0,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds for the export.", min=1)] = 600.0,
) -> None:
    """Export MODULE with torch.onnx.export, check the file against the module, write a model card beside it.

    Example: conform export --torch my_package.nets:resnet --shape x=1,3,224,224 --out resnet.onnx
    """
    from sysnoise_conform import exporting
    from sysnoise_conform.cli import parse

    shapes = {name: parse.shape(name, text) for name, text in parse.pairs(shape, "--shape").items()}
    facts = exporting.export(
        module, out=out, shapes=shapes, weights=weights, opset=opset, seed=seed, timeout_s=timeout,
        dtypes=parse.pairs(dtype, "--dtype"), dynamic_batch=dynamic_batch,
    )
    for line in exporting.as_text(facts):
        typer.echo(line)
