"""`conform backends`: what is here, or why not and the command that fixes it."""

from __future__ import annotations

from typing import Annotated

import typer


def backends(
    names: Annotated[list[str] | None, typer.Argument(help="Only these backends.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the backends: version, devices, default precision on this host, or what is missing.

    Exit code 0, or 6 when a backend that was asked for by name is not available.

    Examples:

    conform backends

    conform backends trt
    """
    from sysnoise_conform import survey

    found = survey.survey(names or None)
    typer.echo(survey.as_json(found) if as_json else survey.as_text(found))
    if names and any(not each.available for each in found):
        raise typer.Exit(6)
