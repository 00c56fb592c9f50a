"""The report's first line: what was asked, of which model, on which inputs, where."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.case import Case
from sysnoise_conform.graph import walk
from sysnoise_conform.graph.chance import is_random
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.inputs import Samples
from sysnoise_conform.printable import one_line
from sysnoise_conform.report import elem_type_name
from sysnoise_conform.runner import provenance
from sysnoise_conform.runner.original import MODULE
from sysnoise_conform.runner.plan import Plan


def header_of(
    case: Case, model: Model, samples: Samples, plan: Plan, *, card: Card | None, command: str, started: datetime
) -> dict[str, Any]:
    """The header as JSON; its keys are those of reports/schema/report.json."""
    return {
        "command": command,
        "started": started.isoformat(timespec="seconds"),
        "model": {
            "path": str(case.model),
            "sha256": model.sha256,
            "opset": model.opset,
            "nodes": model.node_count,
            "graph": "bound" if model.bound else "as given",
            "bound": list(model.bound),
            "inner_tensors": model.inner_tensors,
        },
        "deployed": None if case.deployed is None else _deployed(case, plan),
        **graph_of(model),
        "outputs": [port.name for port in model.outputs],
        "inputs": {
            "kind": samples.kind,
            "samples": len(samples),
            "sha256": samples.sha256,
            "nonfinite": _nonfinite(samples),
            "seed": case.seed,
            "names": list(samples.names),
            "notes": list(samples.notes),
            "chosen": list(samples.chosen),
        },
        "card": None if card is None else card.name,
        "environment": provenance.environment(case.limits.threads),
        "variants": ([MODULE] if case.torch_module else []) + [str(each) for each in case.variants],
    }


def graph_of(model: Model, aside: Collection[str] = ()) -> dict[str, Any]:
    """`layers` in graph order, but for the tensors `aside`, and which operators are `random`."""
    reads = _reads(model, aside)
    return {
        "layers": [
            {
                "index": each.index, "node": each.node, "op_type": each.op_type, "domain": each.domain,
                "tensor": each.tensor, "dtype": elem_type_name(each.elem_type), "reads": reads.get(each.tensor, []),
            }
            for each in model.layers
            if each.tensor not in aside
        ],
        "random": [one_line(each.name or each.op_type) for each in model.proto.graph.node if is_random(each)],
    }


def _reads(model: Model, aside: Collection[str]) -> dict[str, list[str]]:
    """Which layers' tensors the maker of each layer's tensor reads; through tensors `aside`, those before them."""
    layers = {each.tensor for each in model.layers}
    found: dict[str, set[str]] = {}
    for node in model.proto.graph.node:
        direct = walk.reads(node) & layers
        through = set[str]().union(*(found.get(each, ()) for each in direct if each in aside))
        for name in node.output:
            if name in layers:
                found[name] = {each for each in direct if each not in aside} | through
    return {name: sorted(each) for name, each in found.items()}


def _nonfinite(samples: Samples) -> int:
    """NaN and Inf in all feeds: what they make of the outputs is nobody's fault."""
    arrays = (array for number in range(len(samples)) for array in samples.feed(number).values())
    return sum(int(np.count_nonzero(~np.isfinite(array))) for array in arrays if array.dtype.kind in "fc")


def _deployed(case: Case, plan: Plan) -> dict[str, Any]:
    assert case.deployed is not None
    return {
        "path": str(case.deployed.path),
        "format": plan.target.format,
        "sha256": plan.target.sha256(),
        "names": dict(case.deployed.names),
        "layouts": dict(case.deployed.layouts),
    }
