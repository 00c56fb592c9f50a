"""The page of what is located counts a fault that the runtime undoes, or that never arrives, as none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from calibration.measure import LastingCrew

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from calibration.sets import networks
from locating.planting import Place, Subject, shapes_of

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def crew() -> Iterator[LastingCrew]:
    with LastingCrew() as children:
        yield children


def test_a_nan_that_does_not_arrive_in_the_runtime_is_no_fault(crew: LastingCrew) -> None:
    network = next(each for each in networks("held-out", samples=1) if each.family == "mobile")
    subject = Subject(network, "mnn", crew, shapes_of(network))
    assert subject.healthy().outcome == "clean"

    lost = subject.planted(Place(fault="nan_swallowed", tensor="relu_55"))  # MNN's Add of 15 numbers hides it
    beside = subject.planted(Place(fault="nan_swallowed", tensor="conv_39"))  # its Relu of one hides it, too

    assert (lost.outcome, "fault_arriving" in lost.said) == ("without_effect", True), lost
    assert (beside.outcome, beside.said) == ("located", "and relu_40, wrong without the fault"), beside
