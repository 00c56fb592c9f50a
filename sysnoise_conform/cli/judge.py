"""`conform judge`: verdicts from a report alone, under another policy; no runtime is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def judge(
    report: Annotated[Path, typer.Argument(help="A report's folder, or its report.jsonl.", show_default=False)],
    policy: Annotated[Path | None, typer.Option("--policy", help="Thresholds (TOML) in place of the defaults.")] = None,
) -> None:
    """Judge REPORT again, without running anything; nothing in its folder is changed.

    Exit codes are those of `conform run`.

    Examples:

    conform judge conform-out

    conform judge conform-out --policy strict.toml
    """
    from sysnoise_conform.judge import judge as judged
    from sysnoise_conform.judge.policy import load_policy
    from sysnoise_conform.report import Report
    from sysnoise_conform.reports import terminal

    chosen = load_policy(policy)
    facts = Report.read(report)
    judgement = judged(facts, chosen)
    terminal.show(facts, judgement)
    raise typer.Exit(judgement.exit_code)
