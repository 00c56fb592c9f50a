"""A folder for each culprit with what its vendor needs: the operator alone, its inputs, the answer, what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from sysnoise_conform.backend import Tensors
from sysnoise_conform.compare.tensors import measure
from sysnoise_conform.diagnose import reproducer
from sysnoise_conform.diagnose.blocks import Blocks
from sysnoise_conform.diagnose.facts import Culprit
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.diagnose.part import Part, cut_out
from sysnoise_conform.diagnose.plain_model import Plain, plain_model, storable, with_weights
from sysnoise_conform.errors import BackendError, StorageError
from sysnoise_conform.files import read_regular
from sysnoise_conform.graph.explode import Explosion
from sysnoise_conform.graph.intake import write_proto
from sysnoise_conform.outcome import RuntimeFacts
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner import provenance
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenSample, GoldenTensor
from sysnoise_conform.variant import Variant

# What the backends' converters call the file that they write, and that the runtime loads; by `+hint=` where it matters.
_WRITTEN = {"tflite": "model_float32.tflite", "mnn": "model.mnn"}
_HINTED = {"fp16": "model_float16.tflite"}
_LARGEST = 1 << 31  # bytes that the converters' formats hold
MOST = 5  # folders; of a network in bfloat16 every operator is one


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    """What goes into a folder: a model that shows a culprit's fault, its names, and what is right."""

    model: onnx.ModelProto
    inputs: Mapping[str, str]  # its own names -> those of the graph under test
    outputs: Mapping[str, str]
    feed: Tensors
    reference: GoldenSample


def reproduce(
    shop: Workshop, variant: Variant, used: Child, culprits: Sequence[Culprit], out: Path, *, runtime: RuntimeFacts,
    parts: Mapping[str, Part], blocks: Blocks,
) -> tuple[Culprit, ...]:  # fmt: skip
    """The culprits with their folders below `out`: the operator alone, or the smallest part that shows the fault."""
    target = shop.plan.target
    if not culprits or target.model is None:
        return tuple(culprits)
    golden = shop.goldens.sample(0)
    known = {target.name(name): declared(each) for name, each in golden.items()}
    known |= {target.name(name): array for name, array in shop.samples.feed(0).items()}
    fed = {name: declared(each) for name, each in golden.items() if name not in blocks.hidden}
    reference = shop.goldens.islands(0, fed, blocks.hidden)
    explosion = Explosion(target.model.proto, known, blocks.taken)
    alone = set(explosion.archipelago().nodes)
    done = []
    with ExitStack() as stack:
        child = used
        if used.dead:
            log = shop.logs / "reproducers.txt"
            child = stack.enter_context(shop.crew.member(str(variant), log, variant=variant))
        for at, culprit in enumerate(culprits):
            place = explosion.maker(target.name(culprit.layer.output))
            part = parts.get(culprit.layer.output)
            if at >= MOST or place is None or child.dead or (part is None and place not in alone):
                done.append(culprit)
                continue
            if part is None:
                (islands,) = explosion.islands([place])
                feed = {ours: known[name] for ours, name in islands.inputs.items()}
                piece = _Piece(
                    model=islands.model, inputs=islands.inputs, outputs=islands.outputs, feed=feed, reference=reference
                )
            else:
                cut, feed = cut_out(shop, part, 0)
                name = target.name(part.tensor)
                piece = _Piece(model=cut.model, inputs=cut.inputs, outputs={name: name}, feed=feed, reference=golden)
            names = {ours: _golden_name(shop, theirs) for ours, theirs in piece.outputs.items()}
            names = {ours: name for ours, name in names.items() if name in piece.reference}
            expected = {ours: _answer(piece.reference[name]) for ours, name in names.items()}
            try:
                made, got, converted = _alone(
                    shop, variant, child, piece.model, piece.feed, expected, f"reproducer-{at}"
                )
            except BackendError:
                done.append(culprit)
                continue
            ours = next((new for new, old in made.tensors.items() if names.get(old) == culprit.layer.output), None)
            if ours is None or ours not in got:
                done.append(culprit)
                continue
            diff = measure(piece.reference[culprit.layer.output], got[ours], sample=0)
            if diff.exact:  # it goes wrong in the graph alone
                done.append(culprit)
                continue
            folder = reproducer.folder_name(at + 1, culprit.layer.op_type)
            reproducer.write(
                reproducer.Reproduction(
                    made=made,
                    layer=culprit.layer,
                    diff=replace(diff, op_type=culprit.layer.op_type),
                    variant=variant,
                    runtime=runtime,
                    environment=provenance.environment(shop.threads),
                    tensors={**piece.inputs, **piece.outputs},
                    converted=converted,
                    owner=culprit.owner,
                ),
                out / folder,
            )
            done.append(replace(culprit, reproducer=folder))
    return tuple(done)


def _golden_name(shop: Workshop, theirs: str) -> str:
    target = shop.plan.target
    return next((golden for golden, name in target.names.items() if name == theirs), theirs)


def _answer(golden: GoldenTensor) -> np.ndarray:
    """In float64, where the declared type can hold it."""
    rounded = declared(golden)
    if golden.data.dtype != np.float64:
        return rounded
    return np.where(np.isfinite(rounded.astype(np.float64)), golden.data, rounded.astype(np.float64))


def _alone(
    shop: Workshop, variant: Variant, child: Child, model: onnx.ModelProto, feed: Tensors, expected: Tensors, name: str
) -> tuple[Plain, Tensors, bytes | None]:
    """The operator in plain names, what the runtime answers to it, and what a converter made of it."""
    folder = child.workdir / name
    folder.mkdir()
    assert shop.plan.target.model is not None
    write_proto(model, folder, "island.onnx", shop.plan.target.model.data_files)
    made = plain_model(with_weights(model, folder), feed, expected)
    graph = folder / "plain.onnx"
    graph.write_bytes(made.model.SerializeToString())
    fed = {new: feed[old] for new, old in made.tensors.items() if old in feed}
    session = RemoteSession(
        child, variant, Target(path=graph, format="onnx", model=None), graph, fed, name=name, threads=shop.threads
    )
    got = {each: array.copy() for each, array in session.run(fed).items() if each in made.expected}
    stored = {each: storable(array) for each, array in got.items()}
    return replace(made, got=stored), got, _converted(variant, folder)


def _converted(variant: Variant, folder: Path) -> bytes | None:
    """The one file below the session's folder that the runtime loaded in the model's place."""
    name, hint = _WRITTEN.get(variant.backend), variant.option("hint")
    if variant.backend == "tflite" and hint is not None:
        name = _HINTED.get(hint, f"model_{hint}.tflite")
    found = [] if name is None else list(folder.rglob(name))
    if len(found) != 1:
        return None
    return read_regular(found[0], what="the converted operator", error=StorageError, limit=_LARGEST)
