"""Which nodes of a model are of a kind that a target got wrong, as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from sysnoise_conform.graph.intake import Model
from sysnoise_conform.printable import one_line
from sysnoise_conform.probe.case import ProbeCase
from sysnoise_conform.probe.corpus import corpus
from sysnoise_conform.probe.kept import Key, read
from sysnoise_conform.probe.node import Node, nodes_of
from sysnoise_conform.probe.result import Agrees, Crashed, Deviates, Result, Shows, Unsupported

_NAMED = 3  # nodes that a sentence names


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Finding:
    """Nodes that are of a case's kind, and what the target made of that case.

    `certain` where the attributes alone make it; else it takes the data that `case.when` tells.
    """

    case: ProbeCase
    result: Deviates | Crashed
    nodes: tuple[str, ...]

    @property
    def certain(self) -> bool:
        """Whether the attributes alone make it."""
        return not self.case.when


def findings(model: Model, variant: str, runtime: str, version: str) -> tuple[Finding, ...]:
    """What the stored results of that target say of `model`; nothing where there are none.

    A runtime that refuses a kind, or is off by no more than another precision would be, is none: a run tells that.
    """
    kept = read(Key(runtime=runtime, version=version, variant=variant))
    return () if kept is None else among(nodes_in(model), kept.results)


def nodes_in(model: Model) -> tuple[Node, ...]:
    """The nodes of the main graph."""
    types = {each.name: each.elem_type for each in model.inputs}
    types |= {each.tensor: each.elem_type for each in model.layers}
    return tuple(nodes_of(model.proto.graph, model.opset, types))


def among(nodes: Sequence[Node], results: Mapping[str, Result]) -> tuple[Finding, ...]:
    """The findings, those that are certain first. A node counts once, for the case that it fits first."""
    found: list[Finding] = []
    told: set[tuple[int, bool]] = set()  # what is uncertain is told of every kind of data
    for case in sorted(corpus(), key=lambda each: bool(each.when)):
        result = results.get(case.name)
        if result is None or not _wrong(result):
            continue
        uncertain = bool(case.when)
        fits = [index for index, node in enumerate(nodes) if (index, uncertain) not in told and case.matches(node)]
        if not uncertain:
            told.update((index, False) for index in fits)
        if fits:
            assert isinstance(result, Deviates | Crashed)
            found.append(Finding(case=case, result=result, nodes=tuple(nodes[index].name for index in fits)))
    return tuple(found)


def of_node(node: Node, results: Mapping[str, Result]) -> tuple[tuple[ProbeCase, Deviates | Crashed], ...]:
    """The cases of a node's kind that the target got wrong, slightly too: what the attributes alone make goes first.

    Of cases that differ in nothing but the opset the first stands for all.
    """
    found: dict[tuple[str, str], tuple[ProbeCase, Deviates | Crashed]] = {}
    for case in sorted(corpus(), key=lambda each: bool(each.when)):
        result = results.get(case.name)
        if isinstance(result, Deviates | Crashed) and case.matches(node):
            found.setdefault((case.about, case.when), (case, result))
    return tuple(found.values())


def deviation(result: Deviates | Crashed) -> str:
    """What the target made of a case: `off by 2.5`, `it crashed`."""
    match result:
        case Crashed():
            return "it crashed"
        case Deviates():
            return amount(result)
        case _:
            assert_never(result)


def _wrong(result: Result) -> bool:
    match result:
        case Deviates():
            return result.shows is not Shows.SMALL
        case Crashed():
            return True
        case Agrees() | Unsupported():
            return False
        case _:
            assert_never(result)


def sentences(found: Sequence[Finding], backend: str) -> tuple[str, ...]:
    """One line for each finding; those that take certain data share the last one."""
    lines = [_sentence(each, backend) for each in found if each.certain]
    rest: dict[str, dict[str, None]] = {}
    for each in found:
        if not each.certain:
            rest.setdefault(each.case.when, {})[each.case.op_type] = None
    if rest:
        parts = [f"{', '.join(operators)} {when}" for when, operators in rest.items()]
        lines.append(f"with certain data alone {backend} differs: {'; '.join(parts)}")
    return tuple(lines)


def _sentence(finding: Finding, backend: str) -> str:
    count, case = len(finding.nodes), finding.case
    names = ", ".join(one_line(each, 60) for each in finding.nodes[:_NAMED])
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    one = "node is" if count == 1 else "nodes are"
    match finding.result:
        case Crashed():
            what = f"that {backend} crashed on ({case.about})"
        case Deviates():
            what = f"that {backend} gets wrong ({case.about}: {amount(finding.result)})"
        case _:
            assert_never(finding.result)
    return f"{count} {case.op_type} {one} of a kind {what}: {names}{more}"


def amount(result: Deviates) -> str:
    """How much a deviation is, in a few words."""
    match result.shows:
        case Shows.SHAPE | Shows.TYPE | Shows.NO_ERROR:
            return result.detail or result.shows.value
        case Shows.NONFINITE:
            return f"{result.beyond} of {result.of} NaN or infinity on one side only"
        case Shows.VALUES | Shows.SMALL:
            return f"off by {result.max_abs:.3g}" if result.max_abs is not None else result.detail or "other values"
        case Shows.UNSTEADY:
            return result.detail or result.shows.value
        case _:
            assert_never(result.shows)
