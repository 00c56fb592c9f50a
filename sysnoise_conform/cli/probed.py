"""What `conform probe` knew of the target of a run, held against the graph that it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sysnoise_conform.graph.intake import Model
    from sysnoise_conform.outcome import RuntimeFacts


def remark(model: Model, variant: str, runtime: RuntimeFacts) -> tuple[str, ...]:
    """Sentences; none for a target that was never probed on this host, in this version.

    They are remarks, never a reason to fail.
    """
    from sysnoise_conform.probe.place import any_kept

    if not any_kept():
        return ()
    from sysnoise_conform.probe import findings

    return findings.sentences(findings.findings(model, variant, runtime.name, runtime.version), variant)
