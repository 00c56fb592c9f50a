"""A folder for each culprit with what its vendor needs: the operator alone, its inputs, the answer, what came."""

from __future__ import annotations

import math
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
from sysnoise_conform.outcome import RuntimeFacts, TensorDiff
from sysnoise_conform.printable import one_line
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
MOST = 5  # folders, unless told otherwise; of a network in bfloat16 every operator is one
TRIED = 2  # times as many operators are tried: some go wrong in the whole graph alone


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
    parts: Mapping[str, Part], blocks: Blocks, most: int = MOST,
) -> tuple[Culprit, ...]:  # fmt: skip
    """The culprits with their folders below `out`: the operator alone, or the smallest part that shows the fault.

    Of more than `most`, those that are furthest off by themselves; the others say that, and how to get theirs.
    """
    if not culprits:
        return ()
    if shop.plan.target.model is None:
        return tuple(replace(each, no_reproducer="the deployed file can't be taken apart") for each in culprits)
    done: dict[int, Culprit] = {}
    with ExitStack() as stack:
        child = used
        if used.dead and most:
            log = shop.logs / "reproducers.txt"
            child = stack.enter_context(shop.crew.member(str(variant), log, variant=variant))
        bench = _Bench(shop, variant, child, out, runtime=runtime, blocks=blocks)
        for at in furthest_off(culprits)[: TRIED * most]:
            if sum(bool(each.reproducer) for each in done.values()) == most or child.dead:
                break
            culprit = culprits[at]
            done[at] = bench.handed_over(culprit, parts.get(culprit.layer.output), at)
        dead = child.dead
    why = (
        "the runtime took its process down while others were made" if dead
        else f"it is not among the {most} furthest off; --node or --reproducers gets it"
    )  # fmt: skip
    return tuple(
        done.get(at, replace(each, no_reproducer=why, withheld=not dead)) for at, each in enumerate(culprits)
    )


def furthest_off(culprits: Sequence[Culprit]) -> list[int]:
    """The places of the culprits by introduced error, the largest first.

    What no number measures is before all others, and what has no rounding to count in is next: it is off at all.
    """

    def size(at: int) -> tuple[float, float, int]:
        found = culprits[at].layer.in_unit or culprits[at].diff
        moot = not found.comparable or bool(found.nan_mismatch)
        z = math.inf if moot or found.z is None else found.z
        return -z, -math.inf if moot else -_relative(found), at

    return sorted(range(len(culprits)), key=size)


def _relative(diff: TensorDiff) -> float:
    return diff.mismatches / diff.n if diff.rel_l2 is None and diff.n else diff.rel_l2 or 0.0


class _Bench:
    """Where operators are taken out of one graph, run alone, and written down."""

    def __init__(
        self, shop: Workshop, variant: Variant, child: Child, out: Path, *, runtime: RuntimeFacts, blocks: Blocks
    ) -> None:
        self._shop, self._variant, self._child, self._out, self._runtime = shop, variant, child, out, runtime
        target = shop.plan.target
        assert target.model is not None
        self._golden = shop.goldens.sample(0)
        self._known = {target.name(name): declared(each) for name, each in self._golden.items()}
        self._known |= {target.name(name): array for name, array in shop.samples.feed(0).items()}
        fed = {name: declared(each) for name, each in self._golden.items() if name not in blocks.hidden}
        self._reference = shop.goldens.islands(0, fed, blocks.hidden)
        self._explosion = Explosion(target.model.proto, self._known, blocks.taken)
        self._alone = set(self._explosion.archipelago().nodes)

    def handed_over(self, culprit: Culprit, part: Part | None, at: int) -> Culprit:
        """The culprit with its folder, or with why it has none."""
        shop, name = self._shop, culprit.layer.output
        piece = self._piece(name, part)
        if piece is None:
            return replace(culprit, no_reproducer="it can't be taken out of the graph alone")
        names = {ours: _golden_name(shop, theirs) for ours, theirs in piece.outputs.items()}
        names = {ours: each for ours, each in names.items() if each in piece.reference}
        expected = {ours: _answer(piece.reference[each]) for ours, each in names.items()}
        try:
            made, got, converted = _alone(
                shop, self._variant, self._child, piece.model, piece.feed, expected, f"reproducer-{at}"
            )
        except BackendError as error:
            return replace(culprit, no_reproducer=f"alone it does not run: {one_line(error, 160)}")
        ours = next((new for new, old in made.tensors.items() if names.get(old) == name), None)
        if ours is None or ours not in got:
            return replace(culprit, no_reproducer="alone it does not show this output")
        diff = measure(piece.reference[name], got[ours], sample=0)
        if diff.exact:
            return replace(culprit, no_reproducer="alone it is right, to the bit: it goes wrong in the graph only")
        folder = reproducer.folder_name(at + 1, culprit.layer.op_type)
        reproducer.write(
            reproducer.Reproduction(
                made=made,
                layer=culprit.layer,
                diff=replace(diff, op_type=culprit.layer.op_type),
                variant=self._variant,
                runtime=self._runtime,
                environment=provenance.environment(shop.threads),
                tensors={**piece.inputs, **piece.outputs},
                converted=converted,
                owner=culprit.owner,
            ),
            self._out / folder,
        )
        return replace(culprit, reproducer=folder)

    def _piece(self, output: str, part: Part | None) -> _Piece | None:
        target = self._shop.plan.target
        if part is not None:
            cut, feed = cut_out(self._shop, part, 0)
            name = target.name(part.tensor)
            return _Piece(
                model=cut.model, inputs=cut.inputs, outputs={name: name}, feed=feed, reference=self._golden
            )
        place = self._explosion.maker(target.name(output))
        if place is None or place not in self._alone:
            return None
        (islands,) = self._explosion.islands([place])
        feed = {ours: self._known[name] for ours, name in islands.inputs.items()}
        return _Piece(
            model=islands.model, inputs=islands.inputs, outputs=islands.outputs, feed=feed, reference=self._reference
        )


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
