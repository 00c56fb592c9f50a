"""Which departing layers are evidence against a runtime: they were seen in a graph other than the one that ships."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sysnoise_conform.compare.ulp import unit_roundoff
from sysnoise_conform.judge.departure import Departure, floor_units, is_unsettled, unit_of
from sysnoise_conform.outcome import TensorDiff

# Two correct runs differ by sqrt(2) units where each is one unit off. A runtime that fuses other operators where they
# are watched computes with other kernels: OpenVINO's Softplus alone is 24 roundings of 1 off where its Mish is four.
SAME_COMPUTATION = 2.0

# What becomes less than this share of itself, in floor units, in everything that is computed from it was not there in
# the computation: runtimes that fuse an activation into the operator before it show that operator's tensor as it is
# behind the activation.
LEAST_CARRIED_ON = 0.02

# What another shape, or a NaN of its own, leaves of everything that is computed from it.
FAR = 1_000.0  # floor units


def same_computation(observer_effect: Iterable[TensorDiff]) -> bool:
    """Whether the tapped graph gave the outputs of the untouched one: integers and bools alike, the rest nearly so."""
    for each in observer_effect:
        if each.exact or each.empty or is_unsettled(each):
            continue
        unit = unit_of(each)
        if not each.comparable or each.nan_mismatch or unit_roundoff(each.dtype) is None:
            return False
        if each.rmse is not None and not each.rmse <= SAME_COMPUTATION * unit:
            return False
    return True


def carried_on(
    departing: Sequence[Departure], layers: Sequence[TensorDiff], readers: Mapping[str, Sequence[str]]
) -> list[Departure]:
    """Those of the departing layers that something is computed from which is off as well.

    `readers` names the layers that read a tensor. One that could not be watched counts as off.
    """
    known = {each.name: each for each in layers}
    names = {each.diff.name for each in departing}

    def carries(name: str, number: float | None) -> bool:
        diff = known.get(name)
        if diff is None:
            return True
        units = 0.0 if diff.exact else floor_units(diff)
        if units is None or not diff.comparable or diff.nan_mismatch:
            return name in names
        return units >= (FAR if number is None else LEAST_CARRIED_ON * number)

    return [
        each for each in departing if any(carries(name, each.number) for name in readers.get(each.diff.name, ()))
    ]
