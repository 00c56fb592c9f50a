"""Verdicts as data: what the judge says of a run, of a variant, of a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

# The gate failed, crashed, unavailable, inconclusive: of several, the first wins, so that a measured
# failure is never masked by an accident.
PRECEDENCE = (1, 3, 6, 5)


Owner = Literal["implementation", "design", "model"]


class Verdict(Enum):
    """PASS and EXPECTED let a release go; STALE is an expected deviation that no longer occurs."""

    PASS = "PASS"  # noqa: S105 - not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    EXPECTED = "EXPECTED"
    STALE = "STALE"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One tensor that departs. `number` is in floor units, None where there is no such unit.

    `owner` is who has to mend it: `implementation` the runtime, `design` the conversion, `model` the model itself.
    """

    tensor: str
    op_type: str
    node: str
    number: float | None
    reading: str
    sentence: str
    owner: Owner = "implementation"


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantVerdict:
    """One variant's verdict. Findings: the first departure, then outputs, then other layers in graph order."""

    variant: str
    verdict: Verdict
    exit_code: int
    sentence: str
    findings: tuple[Finding, ...] = ()
    first_departure: str | None = None  # tensor
    worst: str | None = None  # the layer furthest off, in floor units
    owners: tuple[Owner, ...] = ()  # of what fails it, the first to be told first

    @property
    def departing(self) -> frozenset[str]:
        """The tensors that depart. Of the others a reading says nothing: rounding looks like nothing."""
        return frozenset(each.tensor for each in self.findings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """The verdict on a run, its exit code, and every code that applied."""

    verdict: Verdict
    exit_code: int
    exit_codes: tuple[int, ...]
    sentence: str
    variants: tuple[VariantVerdict, ...]
