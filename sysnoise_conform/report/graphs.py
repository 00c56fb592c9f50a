"""Which graph a variant ran: the model's own, or the converted one that the header describes beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def conversion_of(header: Mapping[str, Any], variant: str) -> Mapping[str, Any] | None:
    """The header's record of the conversion that a variant ran on; None where it ran the model as it is."""
    for each in header.get("conversions") or ():
        if variant in (each.get("variants") or ()):
            found: Mapping[str, Any] = each
            return found
    return None


def graph_of(header: Mapping[str, Any], variant: str) -> Mapping[str, Any]:
    """What holds the `layers` and the `random` operators of a variant's graph."""
    return conversion_of(header, variant) or header
