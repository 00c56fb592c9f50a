"""A part of the graph under test: what makes one tensor, from the inputs or from PyTorch's tensors nearer to it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sysnoise_conform.backend import Optimised, Tensors
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.errors import BackendDied, BackendError
from sysnoise_conform.graph import walk
from sysnoise_conform.graph.cut import Swapped, between
from sysnoise_conform.graph.intake import write_proto
from sysnoise_conform.graph.shape_slice import shape_slice
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What makes `tensor`; `given` are PyTorch's tensors from which it starts, in place of what makes these.

    Golden names. Of those given only the ones nearest to the tensor are read.
    """

    tensor: str
    given: tuple[str, ...] = ()


def cut_out(shop: Workshop, part: Part, number: int) -> tuple[Swapped, Tensors]:
    """The part as a model (its output has the target's name) and what it is fed for one sample."""
    target = shop.plan.target
    assert target.model is not None
    golden = shop.goldens.sample(number)
    known = {target.name(name): declared(golden[name]) for name in part.given}
    cut = between(target.model.proto, known, [target.name(part.tensor)])
    feeds = {target.name(name): array for name, array in shop.samples.feed(number).items()}
    ports = {each.name for each in cut.model.graph.input}
    feed = {name: array for name, array in feeds.items() if name in ports}
    return cut, {**feed, **{ours: known[name] for ours, name in cut.inputs.items()}}


class PartSession:
    """A part, compiled in a child for the first sample's shapes."""

    def __init__(self, shop: Workshop, variant: Variant, child: Child, part: Part, name: str) -> None:
        self._shop, self._part = shop, part
        target = shop.plan.target
        assert target.model is not None
        cut, feed = cut_out(shop, part, 0)
        folder = child.workdir / name
        folder.mkdir()
        graph = write_proto(cut.model, folder, "part.onnx", target.model.data_files)
        self._session = RemoteSession(
            child, variant, Target(path=graph, format="onnx", model=None), graph, feed, name=name, threads=shop.threads
        )

    def diff(self) -> TensorDiff | None:
        """The tensor against PyTorch's over all samples; None where it is not returned."""
        shop, tensor, tally = self._shop, self._part.tensor, self._shop.tally()
        theirs = shop.plan.target.name(tensor)
        for number in range(len(shop.samples)):
            golden = shop.goldens.sample(number)
            got = self._session.run(cut_out(shop, self._part, number)[1])
            if theirs in got and tensor in golden:
                tally.compare(golden[tensor], got[theirs], number)
        return tally.diffs.get(tensor)

    def optimised(self) -> Optimised:
        """What the runtime made of the part."""
        return self._session.optimised()


def run_part(shop: Workshop, variant: Variant, child: Child, part: Part, name: str) -> TensorDiff | None:
    """The part's diff; None where the runtime refuses it. Raises BackendDied."""
    try:
        return PartSession(shop, variant, child, part, name).diff()
    except BackendDied:
        raise
    except BackendError:
        return None


def ancestors(shop: Workshop, output: str) -> set[str]:
    """Golden names of the layers that an output is computed from, itself among them."""
    target = shop.plan.target
    assert target.model is not None
    names = {target.name(each.tensor): each.tensor for each in shop.model.layers}
    makers = {name: node for node in target.model.proto.graph.node for name in node.output if name}
    found, waiting = set[str](), [target.name(output)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in makers:
            waiting.extend(walk.reads(makers[name]))
    return {names[each] for each in found if each in names}


def layers_read(shop: Workshop, tensor: str) -> list[str]:
    """Golden names of the layers that the operator reads which makes a tensor; those nearest, where it reads others."""
    target = shop.plan.target
    assert target.model is not None
    names = {target.name(each.tensor): each.tensor for each in shop.model.layers}
    makers = {name: node for node in target.model.proto.graph.node for name in node.output if name}
    maker = makers.get(target.name(tensor))
    found, done, waiting = list[str](), set[str](), sorted(walk.reads(maker)) if maker is not None else []
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        if name in names:
            found.append(names[name])
        elif name in makers:
            waiting.extend(sorted(walk.reads(makers[name])))
    return found


def data_before(shop: Workshop, tensor: str, hidden: Collection[str] = ()) -> tuple[str, ...]:
    """The layers that a tensor is computed from, in graph order, itself not among them.

    Those that are `hidden` in blocks, that tell a shape, or that PyTorch keeps none of, are computed as ever.
    """
    target = shop.plan.target
    assert target.model is not None
    proto = target.model.proto
    shapes = shape_slice(proto.graph, proto.functions)
    made = {name for node in proto.graph.node for name in node.output if name}
    there, golden = ancestors(shop, tensor) - {tensor}, shop.goldens.sample(0)
    return tuple(
        each.tensor
        for each in shop.model.layers
        if each.tensor in there and each.tensor in golden and each.tensor not in hidden
        and target.name(each.tensor) in made and target.name(each.tensor) not in shapes
    )  # fmt: skip
