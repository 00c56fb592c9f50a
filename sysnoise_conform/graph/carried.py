"""The bodies of If, Loop, Scan and SequenceMap take and give as many values as their node passes."""

from __future__ import annotations

from collections.abc import Callable

from onnx import GraphProto, NodeProto

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.walk import attribute_of, named


def check_bodies(node: NodeProto, version: int) -> None:
    """Raise BadModel where a body's inputs or outputs are too many or too few for its node.

    `version` is the opset in which the node is read.
    """
    rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if rule is not None:
        rule(node, version)


def _body(node: NodeProto, name: str) -> GraphProto | None:
    attribute = attribute_of(node, name)
    return attribute.g if attribute is not None and not attribute.ref_attr_name else None


def _check(node: NodeProto, what: str, got: int, wanted: int, *, more: bool = False) -> None:
    if got == wanted or (more and got > wanted):
        return
    raise BadModel(f"a body of {named(node)} has {got} {what}; the node needs {wanted}{' or more' if more else ''}")


def _if(node: NodeProto, version: int) -> None:
    for name in ("then_branch", "else_branch"):
        body = _body(node, name)
        if body is not None:
            _check(node, "inputs", len(body.input), 0)
            _check(node, "outputs", len(body.output), len(node.output), more=True)


def _loop(node: NodeProto, version: int) -> None:
    body = _body(node, "body")
    if body is not None:  # trip count and condition become iteration number and condition; a condition comes out
        _check(node, "inputs", len(body.input), len(node.input))
        _check(node, "outputs", len(body.output), 1 + max(len(node.output), len(node.input) - 2), more=True)


def _scan(node: NodeProto, version: int) -> None:
    body, scanned = _body(node, "body"), attribute_of(node, "num_scan_inputs")
    if body is None or scanned is None or scanned.ref_attr_name:
        return
    fed = len(node.input) - (version < 9)  # the first form has the lengths of the sequences in front
    if not 1 <= scanned.i <= fed:
        raise BadModel(f"{named(node)} has num_scan_inputs {scanned.i}, and {fed} inputs to scan or carry")
    _check(node, "inputs", len(body.input), fed)
    _check(node, "outputs", len(body.output), max(len(node.output), fed - scanned.i), more=True)


def _sequence_map(node: NodeProto, version: int) -> None:
    body = _body(node, "body")
    if body is not None:
        _check(node, "inputs", len(body.input), len(node.input))
        _check(node, "outputs", len(body.output), len(node.output), more=True)


_RULES: dict[str, Callable[[NodeProto, int], None]] = {
    "If": _if,
    "Loop": _loop,
    "Scan": _scan,
    "SequenceMap": _sequence_map,
}
