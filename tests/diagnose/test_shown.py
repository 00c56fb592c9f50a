"""A tensor that a runtime shows otherwise than it computed it is nobody's fault, whatever else is off.

MNN computes a LeakyRelu on the memory of the Gemm before it, which is then shown as the LeakyRelu left it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from calibration.draft import Draft, Network, pictures
from calibration.measure import LastingCrew
from calibration.sets import networks
from diagnose.diagnosing import diagnosed
from diagnose.planted import plant
from diagnose.test_located import shapes

from sysnoise_conform.diagnose.facts import Diagnosis

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def crew() -> Iterator[LastingCrew]:
    with LastingCrew() as children:
        yield children


@pytest.fixture(scope="module")
def network() -> Network:
    g = Draft(1_900_000)
    x = g.op("Relu", g.conv(g.input("image", (3, 12, 12), pictures), 3, 8))
    x = g.op("Flatten", g.op("GlobalAveragePool", g.op("Relu", g.conv(x, 8, 8))))
    for _ in range(4):
        x = g.op("LeakyRelu", g.gemm(x, 8, 8, gain=2.0), alpha=0.1)
    return g.network("in_place", "in_place", [g.gemm(x, 8, 6)], 1)


def named(network: Network, fault: str, op: str, nth: int, crew: LastingCrew, folder: Path) -> Diagnosis:
    """The diagnosis of a fault at the so manieth operator of a kind, which is the one culprit."""
    tensor = [node.output[0] for node in network.model.graph.node if node.op_type == op][nth]
    made = plant(fault, network.model, tensor, shapes(network))
    assert made is not None
    found = diagnosed(network, "mnn", folder, crew, made.faulty)
    assert [each.layer.output for each in found.culprits] == [tensor], found.sentence
    return found


def test_what_is_shown_otherwise_behind_a_fault_is_not_named_with_it(
    network: Network, crew: LastingCrew, tmp_path: Path
) -> None:
    healthy = diagnosed(network, "mnn", tmp_path / "healthy", crew)
    if not any("shown otherwise" in each for each in healthy.notes):
        pytest.skip("this MNN shows every tensor as it computed it")
    assert healthy.culprits == ()

    found = named(network, "channel_shifted", "Conv", 0, crew, tmp_path)

    assert any("none is to blame" in each for each in found.notes)


@pytest.mark.parametrize(("op", "nth"), [("Gemm", 1), ("Gemm", 3), ("LeakyRelu", 0), ("LeakyRelu", 3), ("Gemm", 4)])
def test_a_fault_among_them_is_named_all_the_same(
    network: Network, op: str, nth: int, crew: LastingCrew, tmp_path: Path
) -> None:
    named(network, "channel_shifted", op, nth, crew, tmp_path)


def test_what_follows_a_nan_that_is_lost_is_not_named_for_want_of_numbers(crew: LastingCrew, tmp_path: Path) -> None:
    """MNN fuses MatMul and Add; where PyTorch has nothing but NaN, no number tells what rounding may be there."""
    encoder = next(each for each in networks("held-out", samples=1) if each.family == "encoder")
    made = plant("nan_swallowed", encoder.model, "add_24", shapes(encoder) | {"matmul_23": (1, 31, 40)})
    assert made is not None
    carrier = Network(name=encoder.name, family=encoder.family, model=made.sound, feeds=encoder.feeds)

    found = diagnosed(carrier, "mnn", tmp_path, crew, made.faulty)

    assert [each.layer.output for each in found.culprits] == ["add_24"], found.sentence
    assert {each.output: each.cumulative.finite for each in found.layers if each.cumulative}["add_55"] == 0
