"""`conform policy`: the default thresholds as a file to start from."""

from __future__ import annotations

import typer


def policy() -> None:
    """Print the default policy as TOML, each key with its meaning; save it, change it, give it with --policy.

    Example: conform policy > conform.toml
    """
    from sysnoise_conform.judge.policy import default_toml

    typer.echo(default_toml(), nl=False)
