"""What can't be watched, bisected: the smallest part of the untouched graph that shows the fault.

Watching changes what a runtime fuses, and a fault of a fusion is gone then. So parts of the graph are run that end at
one tensor, which is then an output like any other and nothing before it is disturbed: the first such tensor that is off
is where the fault shows. For a runtime with levels of optimisation the level that brings it is told, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import onnx

from sysnoise_conform import registry
from sysnoise_conform.diagnose.facts import Layer
from sysnoise_conform.errors import BackendDied, BackendError
from sysnoise_conform.graph import walk
from sysnoise_conform.graph.cut import prefix
from sysnoise_conform.graph.intake import write_proto
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant

LEVEL = "opt"  # the option whose choices are levels of optimisation, least first


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The first tensor at which a part of the untouched graph is off, and the last one before it that is not."""

    tensor: str
    diff: TensorDiff
    before: str  # "" where the very first is off
    level: str = ""  # "opt=extended": the first level that shows it


Departs = Callable[[TensorDiff], bool]


def first_shown(
    shop: Workshop, variant: Variant, place: str, layers: Sequence[Layer], output: str, departs: Departs
) -> Shown | None:
    """Bisect the tensors that `output` is computed from; None where no part shows the fault."""
    model = shop.plan.target.model
    if model is None:
        return None
    order = [each.output for each in layers if each.output in _ancestors(model.proto.graph, output, shop)]
    with shop.crew.member(str(variant), shop.logs / f"{place}-bisect.txt", variant=variant) as child:
        found: dict[str, TensorDiff] = {}

        def off(tensor: str) -> bool:
            diff = _part(shop, variant, child, tensor, f"part-{len(found)}")
            if diff is not None:
                found[tensor] = diff
            return diff is not None and departs(diff)

        try:
            low, high = -1, len(order) - 1
            if high < 0 or not off(order[high]):
                return None
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if off(order[middle]) else (middle, high)
        except BackendDied:
            return None
    tensor = order[high]
    shown = Shown(tensor=tensor, diff=found[tensor], before=order[low] if low >= 0 else "")
    return replace(shown, level=_level(shop, variant, place, tensor, departs))


def _level(shop: Workshop, variant: Variant, place: str, tensor: str, departs: Departs) -> str:
    """The least level of optimisation at which the part is off; nothing where every level is, or there are none."""
    options = registry.load(variant.backend).capabilities.options
    levels = next((each.choices for each in options if each.name == LEVEL), ())
    for at, level in enumerate(levels):
        others = tuple((name, value) for name, value in variant.options if name != LEVEL)
        asked = replace(variant, options=(*others, (LEVEL, level)))
        try:
            with shop.crew.member(str(asked), shop.logs / f"{place}-level-{at}.txt", variant=asked) as child:
                diff = _part(shop, asked, child, tensor, "part")
        except BackendError:
            continue
        if diff is not None and departs(diff):
            return f"{LEVEL}={level}" if at else ""
    return ""


def _part(shop: Workshop, variant: Variant, child: Child, tensor: str, name: str) -> TensorDiff | None:
    """The diff of the part of the graph that ends at `tensor`; None where the runtime refuses it."""
    target = shop.plan.target
    assert target.model is not None
    theirs = target.name(tensor)
    part = prefix(target.model.proto, [theirs])
    wanted = {each.name for each in part.graph.input}
    folder = child.workdir / name
    folder.mkdir()
    graph = write_proto(part, folder, "part.onnx", target.model.data_files)
    tally = shop.tally()
    session: RemoteSession | None = None
    try:
        for number in range(len(shop.samples)):
            feeds = {target.name(each): array for each, array in shop.samples.feed(number).items()}
            feed = {each: array for each, array in feeds.items() if each in wanted}
            if session is None:
                session = RemoteSession(
                    child, variant, Target(path=graph, format="onnx", model=None), graph, feed, name=name,
                    threads=shop.threads,
                )  # fmt: skip
            got, golden = session.run(feed), shop.goldens.sample(number)
            if theirs in got and tensor in golden:
                tally.compare(golden[tensor], got[theirs], number)
    except BackendDied:
        raise
    except BackendError:
        return None
    return tally.diffs.get(tensor)


def _ancestors(graph: onnx.GraphProto, output: str, shop: Workshop) -> set[str]:
    """Golden names of the tensors that an output is computed from, itself among them."""
    names = {shop.plan.target.name(each.tensor): each.tensor for each in shop.model.layers}
    makers = {name: node for node in graph.node for name in node.output if name}
    found, waiting = set[str](), [shop.plan.target.name(output)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in makers:
            waiting.extend(walk.reads(makers[name]))
    return {names[each] for each in found if each in names}
