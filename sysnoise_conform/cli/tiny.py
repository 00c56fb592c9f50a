"""`conform tiny`: the models that come with the project, with their data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tiny(
    name: Annotated[
        str | None, typer.Argument(help="One of them; without a name they are listed.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the model and its data; else its name.")
    ] = None,
) -> None:
    """Put the model NAME into a folder: ONNX, safetensors, card, and the data it is judged on, which are drawn here.

    Examples:

    conform tiny

    conform tiny tiny-cls --out tiny-cls
    """
    from sysnoise_conform.errors import UsageError
    from sysnoise_conform.models.tiny import held_out

    if name is None:
        if out is not None:
            raise UsageError("--out is the folder of one model", hint=f"name it: {', '.join(held_out.NAMES)}")
        for line in held_out.listed():
            typer.echo(line)
        return
    for line in held_out.delivered(name, out or Path(name)):
        typer.echo(line)
