"""The proof: PyTorch's answer in a culprit's place, the backend's computation behind it, and the error gone.

PyTorch's tensor repairs what came before, too, so of several culprits the last would explain everything. Their shares
are told otherwise: a culprit that is taken away answers in full on the very inputs that it is given (`infull`), and
each gets its part whatever the order in which they are taken away (`sharing`). All of that is one compile: a graph with
a switch at each culprit. Where switches disturb the runtime, as watching does, each proof is a graph of its own, in
which nothing is left of what was swapped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from sysnoise_conform.diagnose.blocks import Blocks
from sysnoise_conform.diagnose.facts import Culprit, Proof, ProofMethod
from sysnoise_conform.diagnose.infull import InFull, worst_output
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.diagnose.sharing import share_out
from sysnoise_conform.errors import BackendError, BadModel, Unsupported
from sysnoise_conform.graph.cut import swap
from sysnoise_conform.graph.intake import write_proto
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant

MOST_PROVED = 8  # culprits with a proof and a share of their own: those that are off most
DISTURBED = 0.1  # of the output's error, by which it may change when switches are there and all are off
DRIFTED = 0.01  # of it, by which it may change when the same graph runs again, after all the others

Without = Callable[[Collection[str]], float]  # the output's rel_l2 with PyTorch's tensors in the place of these


@dataclass(frozen=True, kw_only=True, slots=True)
class _Evidence:
    """The shares of the squared error by tensor, how they were found, and what swapping leaves of the error."""

    shares: dict[str, float]
    method: ProofMethod
    without: Without


def prove(
    shop: Workshop, variant: Variant, place: str, culprits: Sequence[Culprit], outputs: Sequence[TensorDiff],
    blocks: Blocks,
) -> tuple[Culprit, ...]:  # fmt: skip
    """The culprits with their shares of the worst output's squared error, and what it becomes without each.

    Where there are several, the first one's proof tells of all of them together. Culprits as they were where the graph
    under test can't be changed or the runtime refuses what it becomes: a proof that can't be had proves nothing.
    """
    output = worst_output(outputs)
    if output is None or shop.plan.target.model is None:
        return tuple(culprits)
    everybody = [each.layer.output for each in culprits]
    largest = sorted(culprits, key=lambda each: -(each.diff.rel_l2 or 0.0))[:MOST_PROVED]
    chosen = [each.layer.output for each in culprits if each in largest]
    for gather in (_by_switches, _by_graphs):
        with ExitStack() as stack:
            try:
                evidence = gather(shop, variant, place, chosen, output, stack, blocks)
                return tuple(_proved(each, everybody, chosen, evidence, output) for each in culprits)
            except (BackendError, BadModel):
                continue
    return tuple(culprits)


def unproved(shop: Workshop, outputs: Sequence[TensorDiff], culprits: Sequence[Culprit]) -> str:
    """Why no culprit has a proof though one was asked for; empty where one has."""
    if any(each.proof is not None for each in culprits):
        return ""
    if shop.plan.target.model is None:
        return "there is no proof: the deployed file can't be changed"
    if worst_output(outputs) is None:
        moot = any(each.nan_mismatch or not each.comparable for each in outputs)
        return "there is no proof: " + (
            "what is off of the outputs has no size, but NaN, Inf or another shape" if moot else "no output is off"
        )
    return "there is no proof: the runtime refuses the graph with PyTorch's answers in it"


def _proved(
    culprit: Culprit, everybody: Sequence[str], chosen: Sequence[str], evidence: _Evidence, output: TensorDiff
) -> Culprit:
    name = culprit.layer.output
    if name not in chosen and name != everybody[0]:
        return culprit
    swapped = tuple(everybody) if name == everybody[0] else (name,)
    proof = Proof(
        output=output.name,
        before_rel_l2=output.rel_l2 or 0.0,
        after_rel_l2=evidence.without(swapped),
        swapped=swapped,
        method=evidence.method,
    )
    return replace(culprit, share=evidence.shares.get(name), proof=proof)


def _by_switches(
    shop: Workshop, variant: Variant, place: str, chosen: Sequence[str], output: TensorDiff, stack: ExitStack,
    blocks: Blocks,
) -> _Evidence:  # fmt: skip
    """All in one graph. Raises Unsupported where its switches change the very error that is to be explained."""
    child = _member(shop, variant, f"{place}-proof", stack)
    full = InFull(shop, variant, child, chosen, blocks, name="switches")

    def squared(gone: frozenset[int]) -> float:
        return _relative(full.error(output.name, [chosen[each] for each in gone]), output.name) ** 2

    before, base = output.rel_l2 or 0.0, squared(frozenset())
    if abs(base**0.5 - before) > DISTURBED * before:
        raise Unsupported("switches change how the graph is computed", stage="run")
    shares = share_out(len(chosen), squared)
    if abs(squared(frozenset()) ** 0.5 - base**0.5) > DRIFTED * base**0.5:
        # An operator that keeps something from one run to the next: what a run gives tells of how many there were.
        raise Unsupported("the same graph gives another answer when it has run before", stage="run")
    graphs = _graphs(shop, variant, child, output)

    def without(names: Collection[str]) -> float:
        if not set(names) <= set(chosen):
            return graphs(names)
        return _relative(full.board.error(output.name, names), output.name)

    values = {name: value / base for name, value in zip(chosen, shares.values, strict=True)}
    return _Evidence(shares=values, method=shares.method, without=without)


def _by_graphs(
    shop: Workshop, variant: Variant, place: str, chosen: Sequence[str], output: TensorDiff, stack: ExitStack,
    _: Blocks,
) -> _Evidence:  # fmt: skip
    """A graph for each culprit; a share is then what goes when it goes alone."""
    without = _graphs(shop, variant, _member(shop, variant, f"{place}-proof-graphs", stack), output)
    before = output.rel_l2 or 0.0
    shares = {name: 1 - (without((name,)) / before) ** 2 for name in chosen}
    return _Evidence(shares=shares, method="alone", without=without)


def _member(shop: Workshop, variant: Variant, log: str, stack: ExitStack) -> Child:
    return stack.enter_context(shop.crew.member(str(variant), shop.logs / f"{log}.txt", variant=variant))


def _relative(diff: TensorDiff | None, output: str) -> float:
    if diff is None or diff.rel_l2 is None:
        raise Unsupported(f"output {one_line(output, 80)!r} was not returned", stage="run")
    return diff.rel_l2


def _graphs(shop: Workshop, variant: Variant, child: Child, output: TensorDiff) -> Without:
    known: dict[tuple[str, ...], float] = {}

    def without(names: Collection[str]) -> float:
        swapped = tuple(names)
        if swapped not in known:
            diff = _without(shop, variant, child, swapped, output.name, f"proof-{len(known)}")
            known[swapped] = _relative(diff, output.name)
        return known[swapped]

    return without


def _without(
    shop: Workshop, variant: Variant, child: Child, names: tuple[str, ...], output: str, folder_name: str
) -> TensorDiff | None:
    """The output over all samples with PyTorch's tensors in the place of `names`, which nobody computes any more."""
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
    return tally.diffs.get(output)
