"""A planted fault is located at the exact operator, no innocent one is named, and a healthy runtime has no culprit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from calibration.draft import Draft, Network
from calibration.measure import LastingCrew
from calibration.sets import networks
from diagnose.deep import pooled
from diagnose.diagnosing import diagnosed
from diagnose.planted import FAULTS, fits, operands_in_bfloat16, plant

from sysnoise_conform.golden.executor import Executor, Mode, Value

pytestmark = pytest.mark.usefixtures("own_cache")
RUNTIMES = ("ort", "openvino", "mnn")
SLICE = {each.family: each for each in networks("slice", samples=2)}


@pytest.fixture(scope="module")
def crew() -> Iterator[LastingCrew]:
    with LastingCrew() as children:
        yield children


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    found = {name: array.shape for name, array in network.feeds[0].items()}

    def listen(_: object, __: object, name: str, value: Value) -> None:
        found[name] = tuple(value.data.shape)

    Executor(network.model, Mode.FLOAT64).run(network.feeds[0], listen=listen)
    return found


def places(network: Network, fault: str) -> list[str]:
    """Two tensors at which the fault can be: early and late."""
    made = [
        name for name, shape in shapes(network).items() if name not in network.feeds[0]
        and len(shape) == 4 and min(shape[-2:]) > 2 and fits(fault, network.model, name, shape)
    ]  # fmt: skip
    return [made[0], made[-1]] if len(made) > 1 else made


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("fault", [each for each in FAULTS if each != "pool_in_ceil_mode"])
def test_a_planted_fault_is_located_at_the_exact_operator(
    fault: str, backend: str, crew: LastingCrew, tmp_path: Path
) -> None:
    network = SLICE["unet"]
    known = shapes(network)
    tried = places(network, fault)
    assert tried
    for at, tensor in enumerate(tried):
        made = plant(fault, network.model, tensor, known)
        assert made is not None
        carrier = replace(network, model=made.sound)
        found = diagnosed(carrier, backend, tmp_path / str(at), crew, made.faulty)

        assert [each.layer.output for each in found.culprits] == [tensor], found.sentence
        assert found.verdict == "culprits"
        assert found.culprits[0].words in found.sentence


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("network", SLICE.values(), ids=SLICE)
def test_a_healthy_runtime_has_no_culprit(network: Network, backend: str, crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(network, backend, tmp_path, crew)

    assert found.verdict == "clean", found.sentence
    assert found.culprits == ()
    assert found.coverage == 1


@pytest.mark.parametrize("backend", RUNTIMES)
def test_the_arithmetic_of_a_dot_product_is_told(backend: str, crew: LastingCrew, tmp_path: Path) -> None:
    network = SLICE["unet"]
    tensor = [node.output[0] for node in network.model.graph.node if node.op_type == "Conv"][1]

    found = diagnosed(network, backend, tmp_path, crew, operands_in_bfloat16(network.model, tensor))

    (culprit,) = found.culprits
    assert (culprit.layer.output, culprit.kind) == (tensor, "bfloat16")
    assert culprit.readings[0].residual < 0.1


def test_two_faults_are_two_culprits_in_graph_order(crew: LastingCrew, tmp_path: Path) -> None:
    network = SLICE["unet"]
    known = shapes(network)
    first, _ = places(network, "border_lost")
    faulty = FAULTS["border_lost"](network.model, first, known[first])
    assert faulty is not None
    weights = places(network, "weights_scaled")[-1]
    faulty = FAULTS["weights_scaled"](faulty, weights, known[weights])

    found = diagnosed(network, "ort", tmp_path, crew, faulty, prove=True)

    assert [each.layer.output for each in found.culprits] == [first, weights]
    together = found.culprits[0].proof
    assert together is not None
    assert set(together.swapped) == {first, weights}
    assert together.after_rel_l2 < 1e-5 < together.before_rel_l2


def test_without_replay_islands_alone_locate_it(crew: LastingCrew, tmp_path: Path) -> None:
    network = SLICE["unet"]
    known = shapes(network)
    tensor = places(network, "pixel_brighter")[-1]

    found = diagnosed(
        network, "ort", tmp_path, crew, FAULTS["pixel_brighter"](network.model, tensor, known[tensor]), replay=False
    )

    assert [(each.layer.output, each.method) for each in found.culprits] == [(tensor, "explode")]


def test_what_reads_like_a_scale_is_told_with_its_proof_and_its_reproducer(crew: LastingCrew, tmp_path: Path) -> None:
    network = SLICE["unet"]
    tensor = places(network, "weights_scaled")[0]

    found = diagnosed(
        network, "ort", tmp_path, crew, FAULTS["weights_scaled"](network.model, tensor, shapes(network)[tensor]),
        prove=True,
    )  # fmt: skip

    (culprit,) = found.culprits
    assert culprit.kind == "scale"
    assert culprit.readings[0].value.startswith("1.002")
    assert culprit.proof is not None
    assert culprit.proof.after_rel_l2 < culprit.proof.before_rel_l2 / 10
    assert culprit.share is not None
    assert culprit.share > 0.99
    assert (tmp_path / "out" / culprit.reproducer / "repro.py").is_file()


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_pool_by_another_rule_is_located_though_every_size_behind_it_is_another(
    backend: str, crew: LastingCrew, tmp_path: Path
) -> None:
    g = Draft(1_700_000)
    network = g.network("pooled", "pooled", pooled(g, size=47, width=8), 1)
    pools = [node.output[0] for node in network.model.graph.node if node.op_type in ("MaxPool", "AveragePool")]
    for at, tensor in enumerate((pools[0], pools[-1])):
        made = plant("pool_in_ceil_mode", network.model, tensor, shapes(network))
        assert made is not None
        found = diagnosed(network, backend, tmp_path / str(at), crew, made.faulty)

        assert [each.layer.output for each in found.culprits] == [tensor], found.sentence
        assert found.culprits[0].kind == "attribute"  # ceil_mode gives the shape, and the numbers in it
