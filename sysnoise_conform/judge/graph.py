"""The graph that a variant ran, as the report's header has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sysnoise_conform.judge.computed import own_precisions
from sysnoise_conform.judge.conversion import declared_of, steps_of
from sysnoise_conform.judge.sentences import Place
from sysnoise_conform.report.graphs import conversion_of, graph_of


class Graph:
    """Places and readers of its tensors; whether it was converted, and the steps of outputs out of integers."""

    def __init__(self, header: Mapping[str, Any], variant: str) -> None:
        graph = graph_of(header, variant)
        layers = list(graph.get("layers", ()))
        self.places = {
            str(each["tensor"]): Place(number, len(layers), str(each.get("op_type", "")), str(each.get("node", "")))
            for number, each in enumerate(layers, start=1)
        }
        self.readers: dict[str, list[str]] = {}
        for each in layers:
            for name in each.get("reads", ()):
                self.readers.setdefault(str(name), []).append(str(each["tensor"]))
        self.random = frozenset(str(each) for each in graph.get("random", ()))
        self.own = own_precisions(graph)
        conversion = conversion_of(header, variant)
        self.converted = conversion is not None
        self.steps = steps_of(conversion)
        self.declared = declared_of(conversion)  # the share of operations that it has in integers
        self.deployed = bool(header.get("deployed"))
