"""Culprits that a probe of the target met before: its corpus has a case of their kind, and the target got it wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sysnoise_conform.diagnose.facts import Culprit, Known
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.outcome import RuntimeFacts
from sysnoise_conform.probe.place import any_kept


def recognised(
    culprits: Sequence[Culprit], model: Model | None, variant: str, runtime: RuntimeFacts
) -> tuple[Culprit, ...]:
    """The culprits, with what is known of their kind; `model` is the graph that the target gets.

    Nothing is known of a target that was never probed on this host, in this version.
    """
    if not culprits or model is None or not any_kept():
        return tuple(culprits)
    from sysnoise_conform.probe import findings, kept

    found = kept.read(kept.Key(runtime=runtime.name, version=runtime.version, variant=variant))
    if found is None:
        return tuple(culprits)
    nodes = {name: node for node in findings.nodes_in(model) for name in node.outputs}
    done = []
    for culprit in culprits:
        node = None if culprit.owner == "file" else nodes.get(culprit.layer.output)
        matches = () if node is None else findings.of_node(node, found.results)
        known = tuple(
            Known(case=case.name, about=case.about, deviates=findings.deviation(result), when=case.when)
            for case, result in matches
        )
        done.append(replace(culprit, known=known))
    return tuple(done)
