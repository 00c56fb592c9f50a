"""From a case to a diagnosis on disk and on the terminal, and its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from sysnoise_conform.case import Case
from sysnoise_conform.cli.conclude import command_line
from sysnoise_conform.diagnose.blocks import Granularity
from sysnoise_conform.diagnose.facts import VerdictWord


def examine(
    case: Case, out: Path, policy: Path | None, *, replay: bool, prove: bool, only: Sequence[str],
    granularity: Granularity | None = None, win_back: int = 0, reproducers: int,
) -> int:  # fmt: skip
    """Diagnose `case`, write and print what was found; the exit code."""
    from sysnoise_conform import runner
    from sysnoise_conform.report.folder import begin_diagnosis
    from sysnoise_conform.reports import diagnosis_publish, diagnosis_terminal

    begin_diagnosis(out)  # the first act: whatever goes wrong below, no former verdict is left to be believed
    with runner.crew_for(case) as crew:
        from sysnoise_conform.diagnose.course import diagnose
        from sysnoise_conform.judge.policy import load_policy
        from sysnoise_conform.reports.progress import progress

        chosen = load_policy(policy)
        with progress() as watch:
            found = diagnose(
                case, out, crew=crew, watch=watch, policy=chosen, replay=replay, prove=prove, only=only,
                granularity=granularity, win_back=win_back, reproducers=reproducers, command=command_line(),
            )  # fmt: skip
    diagnosis_publish.publish(out, found)
    diagnosis_terminal.show(found)
    return exit_code(found.verdict)


def exit_code(verdict: VerdictWord) -> int:
    """0 for what conforms, 1 for what does not, 5 where nobody can tell."""
    match verdict:
        case "clean":
            return 0
        case "culprits" | "accumulated_rounding" | "not_integers":
            return 1
        case "unobservable":
            return 5
        case _:
            assert_never(verdict)
