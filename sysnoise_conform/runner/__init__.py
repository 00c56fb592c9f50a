"""Carries a case out and writes the facts: header, one result per variant, footer.

The parent of everything: it never loads a runtime, nor torch. Children are started before what it needs itself is
imported; an interrupt ends them all and leaves a report without a footer, which is never green.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sysnoise_conform import interruption
from sysnoise_conform.case import Case
from sysnoise_conform.runner import foresight
from sysnoise_conform.runner.crew import Crew

if TYPE_CHECKING:
    from sysnoise_conform.runner.workshop import Remark, Watch


@contextmanager
def crew_for(case: Case) -> Iterator[Crew]:
    """The children of a run, coming up from here on; they end with the block, and at once when we are interrupted."""
    with Crew(case.limits) as crew, interruption.at_once(crew.dismiss):
        crew.recruit(case.variants)
        foresight.begin(case, crew)
        yield crew


def run(
    case: Case, out: Path, *, command: str, watch: Watch, crew: Crew, idle: Callable[[], None] | None = None,
    remark: Remark | None = None,
) -> None:  # fmt: skip
    """Measure every variant of `case` and write `out`/report.jsonl.

    `crew` is `crew_for(case)`, or one of the caller's own that keeps children alive between runs. `idle` is called
    once, when all that is left is to wait for children. `remark` tells what is known of a target and this graph before.

    Raises UsageError, BadModel, BadInput, UnsupportedOperator for what was asked wrongly or what the
    golden refuses too, StorageError for `out` or the store; what a runtime does is an outcome.
    """
    from sysnoise_conform.runner.carry import carry_out
    from sysnoise_conform.runner.workshop import nothing_known

    carry_out(case, out, command=command, watch=watch, crew=crew, idle=idle, remark=remark or nothing_known)
