"""`conform env`: environments of their own for runtimes whose pins clash with everybody else's."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="Give a backend a Python environment of its own.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def create(
    backend: Annotated[
        str,
        typer.Argument(help="tflite, ort, openvino, mnn; dali and compressai for noises.", show_default=False),
    ],
) -> None:
    """Make a virtual environment under the cache and fill it with BACKEND's packages, or a picture library's.

    Example: conform env create tflite
    """
    from sysnoise_conform import environments

    typer.echo(environments.create(backend, announce=lambda words: typer.echo(words, err=True)))


@app.command("list")
def list_() -> None:
    """List the interpreter that each backend would use: this one, its own, or one that the config names.

    Example: conform env list
    """
    from sysnoise_conform import environments

    for line in environments.listing():
        typer.echo(line)
