"""What `conform probe` knew of the targets of a run, held against the run's model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sysnoise_conform.case import Case

if TYPE_CHECKING:
    from sysnoise_conform.report import Report


def remarks(case: Case, report: Report) -> dict[str, tuple[str, ...]]:
    """Sentences by variant; empty for a target that was never probed on this host, in this version.

    They are remarks, never a reason to fail: a model that can't be read again has none.
    """
    from sysnoise_conform.probe.place import any_kept

    if case.deployed is not None or not any_kept():
        return {}
    from sysnoise_conform.errors import ConformError
    from sysnoise_conform.graph.intake import open_model
    from sysnoise_conform.outcome import Measured
    from sysnoise_conform.probe import findings, kept

    probed = {}
    for result in report.results:
        if isinstance(result.outcome, Measured):
            facts = result.outcome.runtime
            found = kept.read(kept.Key(runtime=facts.name, version=facts.version, variant=result.variant))
            if found is not None:
                probed[result.variant] = found.results
    if not probed:
        return {}
    try:
        nodes = findings.nodes_in(open_model(case.model, allow_linked_data=case.allow_linked_data))
    except ConformError:
        return {}
    return {
        variant: findings.sentences(findings.among(nodes, results), variant) for variant, results in probed.items()
    }
