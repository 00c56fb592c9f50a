"""The proof: PyTorch's answer in a culprit's place, the backend's computation behind it, and the error gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sysnoise_conform.diagnose.facts import Culprit, Proof
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.errors import BackendError
from sysnoise_conform.graph.cut import swap
from sysnoise_conform.graph.intake import write_proto
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant

MOST_PROVED = 8  # each culprit is a compile of its own


def prove(
    shop: Workshop, variant: Variant, place: str, culprits: Sequence[Culprit], outputs: Sequence[TensorDiff]
) -> tuple[Culprit, ...]:
    """The culprits with what the worst output's error becomes without each, and without all of them.

    A culprit's own proof swaps it alone; with several, `share` is that of it alone, and the last proof in the list
    of swapped tensors tells of all together.
    """
    output = max(outputs, key=lambda each: each.rel_l2 or 0.0)
    before = output.rel_l2 or 0.0
    if not before or shop.plan.target.model is None:
        return tuple(culprits)
    proved = list(culprits)
    with shop.crew.member(str(variant), shop.logs / f"{place}-proof.txt", variant=variant) as child:
        try:
            for at, culprit in enumerate(culprits[:MOST_PROVED]):
                names = (culprit.layer.output,)
                after = _error_without(shop, variant, child, names, output.name, f"proof-{at}")
                proved[at] = replace(
                    culprit,
                    share=float(np.clip(1 - (after / before) ** 2, 0.0, 1.0)),
                    proof=Proof(output=output.name, before_rel_l2=before, after_rel_l2=after, swapped=names),
                )
            if len(culprits) > 1:
                everybody = tuple(each.layer.output for each in culprits)
                after = _error_without(shop, variant, child, everybody, output.name, "proof-all")
                together = Proof(output=output.name, before_rel_l2=before, after_rel_l2=after, swapped=everybody)
                proved[0] = replace(proved[0], proof=together)
        except BackendError:  # a proof that can't be had proves nothing, for or against
            return tuple(proved)
    return tuple(proved)


def _error_without(
    shop: Workshop, variant: Variant, child: Child, names: tuple[str, ...], output: str, folder_name: str
) -> float:
    """The output's rel_l2 over all samples with PyTorch's tensors in the place of `names`."""
    target = shop.plan.target
    assert target.model is not None
    tally = shop.tally()
    session: RemoteSession | None = None
    for number in range(len(shop.samples)):
        golden = shop.goldens.sample(number)
        given = {target.name(name): declared(golden[name]) for name in names}
        swapped = swap(target.model.proto, given)
        feed = {target.name(name): array for name, array in shop.samples.feed(number).items()}
        feed |= {ours: given[name] for ours, name in swapped.inputs.items()}
        if session is None:
            folder = child.workdir / folder_name
            folder.mkdir()
            graph = write_proto(swapped.model, folder, "swapped.onnx", target.model.data_files)
            session = RemoteSession(
                child, variant, Target(path=graph, format="onnx", model=None), graph, feed, name=folder_name,
                threads=shop.threads,
            )  # fmt: skip
        got = session.run(feed)
        ours = target.name(output)
        if ours in got:
            tally.compare(golden[output], got[ours], number)
    diff = tally.diffs.get(output)
    return 0.0 if diff is None or diff.rel_l2 is None else diff.rel_l2
