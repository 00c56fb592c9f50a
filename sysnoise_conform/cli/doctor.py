"""`conform doctor`: one text to paste into a bug report."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Print environment, backends, devices, cache and versions as one text that can be pasted.

    Example: conform doctor
    """
    from sysnoise_conform import survey

    typer.echo(survey.doctor())
