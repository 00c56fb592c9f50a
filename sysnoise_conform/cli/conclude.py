"""From a case to an exit code: measure, judge, show. The three meet only in the report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sysnoise_conform.case import Case

if TYPE_CHECKING:
    from sysnoise_conform.judge.policy import Policy


def command_line() -> str:
    """The exact command, ready to paste."""
    return shlex.join(["conform", *sys.argv[1:]])


def run_and_conclude(case: Case, out: Path, policy: Path | None) -> int:
    """Run `case`, judge it by `policy`, write every file of the report to `out`, print it; the exit code."""
    from sysnoise_conform import runner

    with runner.crew_for(case) as crew:  # the children import their runtimes while this process imports its own
        from sysnoise_conform.cli.probed import remark
        from sysnoise_conform.judge.policy import load_policy
        from sysnoise_conform.reports.progress import progress

        chosen = load_policy(policy)  # before anything runs: a mistyped policy must not cost a run
        with progress() as watch:
            runner.run(
                case, out, command=command_line(), watch=watch, crew=crew, idle=_import_the_rest, remark=remark
            )
    return conclude(out, chosen)


def _import_the_rest() -> None:
    """What `conclude` needs, at a moment when there is nothing to do but to wait for children."""
    import polars  # noqa: F401

    from sysnoise_conform import judge  # noqa: F401
    from sysnoise_conform.reports import publish, terminal  # noqa: F401


def conclude(folder: Path, policy: Policy) -> int:
    """Judge the report in `folder`, write its renderings beside it, print the tables and the verdict."""
    from sysnoise_conform.judge import judge
    from sysnoise_conform.report import Report
    from sysnoise_conform.reports import publish, terminal

    report = Report.read(folder)
    judgement = judge(report, policy)
    publish.publish(folder, report, judgement)
    terminal.show(report, judgement)
    return judgement.exit_code
