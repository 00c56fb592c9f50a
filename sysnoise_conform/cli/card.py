"""`conform card`: what a model says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysnoise_conform.cli import options

app = typer.Typer(help="The card that says what a model is for.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def card() -> None:
    """The card that says what a model is for."""


@app.command()
def init(
    model: options.Model,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The card to write; else beside the model.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a card that is there.")] = False,
    allow_linked_data: options.AllowLinkedData = False,
) -> None:
    """Draft MODEL's card from its inputs and outputs; what they do not tell is named, and stands there as comments.

    Exit codes: 0 written, 2 bad model or usage, or a card is there already, 4 I/O.

    Example: conform card init --model det.onnx --out draft.toml
    """
    import os

    from sysnoise_conform.drafting import draft
    from sysnoise_conform.errors import UsageError
    from sysnoise_conform.graph.intake import open_model
    from sysnoise_conform.printable import one_line
    from sysnoise_conform.report.folder import atomic_write

    place = out or model.with_suffix(".toml")
    if os.path.lexists(place) and not force:
        raise UsageError(f"{one_line(place, 200)!r} is there already", hint="write elsewhere with --out, or --force")
    found = draft(open_model(model, allow_linked_data=allow_linked_data))
    atomic_write(place, found.text)
    typer.echo(f"wrote {one_line(place, 200)}")
    for each in found.unknown:
        typer.echo(f"not known: {each}")
