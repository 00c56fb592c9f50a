"""`conform report`: a report in another form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    source: Annotated[
        Path, typer.Argument(metavar="REPORT", help="A report's folder, or its report.jsonl.", show_default=False)
    ],
    form: Annotated[str, typer.Option("--format", "-f", help="terminal, html, markdown, junit, summary.")] = "terminal",
    policy: Annotated[Path | None, typer.Option("--policy", help="Thresholds (TOML) in place of the defaults.")] = None,
) -> None:
    """Print REPORT as FORMAT to stdout; the exit code is 0 whatever the verdict (`conform judge` gates).

    Examples:

    conform report conform-out --format markdown

    conform report conform-out --format html > report.html
    """
    from sysnoise_conform.judge import judge
    from sysnoise_conform.judge.policy import load_policy
    from sysnoise_conform.report import Report
    from sysnoise_conform.reports import render

    facts = Report.read(source)
    typer.echo(render(form, facts, judge(facts, load_policy(policy))), nl=False)
