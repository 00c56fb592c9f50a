"""A folder for each culprit with what its vendor needs: the operator alone, its inputs, the answer, what came."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import onnx

from sysnoise_conform.backend import Tensors
from sysnoise_conform.compare.tensors import measure
from sysnoise_conform.diagnose import reproducer
from sysnoise_conform.diagnose.facts import Culprit
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.errors import BackendError
from sysnoise_conform.graph.explode import Explosion
from sysnoise_conform.graph.intake import write_proto
from sysnoise_conform.outcome import RuntimeFacts
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner import provenance
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant

MOST = 5  # folders; of a network in bfloat16 every operator is one


def reproduce(
    shop: Workshop, variant: Variant, used: Child, culprits: Sequence[Culprit], out: Path, *, runtime: RuntimeFacts
) -> tuple[Culprit, ...]:
    """The culprits with their folders below `out`, where the operator alone shows what it did in the graph."""
    target = shop.plan.target
    if not culprits or target.model is None:
        return tuple(culprits)
    golden = shop.goldens.sample(0)
    known = {target.name(name): declared(each) for name, each in golden.items()}
    known |= {target.name(name): array for name, array in shop.samples.feed(0).items()}
    reference = shop.goldens.islands(0, {name: declared(each) for name, each in golden.items()})
    explosion = Explosion(target.model.proto, known)
    alone = set(explosion.archipelago().nodes)
    done = []
    with ExitStack() as stack:
        child = used
        if used.dead:
            log = shop.logs / "reproducers.txt"
            child = stack.enter_context(shop.crew.member(str(variant), log, variant=variant))
        for at, culprit in enumerate(culprits):
            place = explosion.maker(target.name(culprit.layer.output))
            if at >= MOST or place not in alone or place is None or child.dead:
                done.append(culprit)
                continue
            (islands,) = explosion.islands([place])
            names = {ours: golden_name for ours, golden_name in islands.outputs.items() if golden_name in reference}
            feed = {ours: known[name] for ours, name in islands.inputs.items()}
            try:
                got = _run(shop, variant, child, islands.model, feed, f"reproducer-{at}")
                data = child.workdir / f"reproducer-{at}"
            except BackendError:
                done.append(culprit)
                continue
            ours = next((each for each, name in names.items() if name == target.name(culprit.layer.output)), None)
            if ours is None or ours not in got:
                done.append(culprit)
                continue
            diff = measure(reference[culprit.layer.output], got[ours], sample=0)
            if diff.exact:  # it goes wrong in the graph alone
                done.append(culprit)
                continue
            folder = reproducer.folder_name(at + 1, culprit.layer.op_type)
            reproducer.write(
                reproducer.Reproduction(
                    model=islands.model,
                    inputs=feed,
                    expected={each: declared(reference[name]) for each, name in names.items()},
                    got={each: got[each].copy() for each in names if each in got},
                    layer=culprit.layer,
                    diff=replace(diff, op_type=culprit.layer.op_type),
                    variant=variant,
                    runtime=runtime,
                    environment=provenance.environment(shop.threads),
                    tensors={**islands.inputs, **islands.outputs},
                ),
                out / folder,
                data=data,
            )
            done.append(replace(culprit, reproducer=folder))
    return tuple(done)


def _run(
    shop: Workshop, variant: Variant, child: Child, model: onnx.ModelProto, feed: Tensors, name: str
) -> Tensors:
    folder = child.workdir / name
    folder.mkdir()
    assert shop.plan.target.model is not None
    graph = write_proto(model, folder, "island.onnx", shop.plan.target.model.data_files)
    session = RemoteSession(
        child, variant, Target(path=graph, format="onnx", model=None), graph, feed, name=name, threads=shop.threads
    )
    return session.run(feed)

