"""A slice of the calibration: on networks that no limit was made from, nobody healthy fails and no fault gets by."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from calibration.draft import Network
from calibration.faults import KINDS, planted
from calibration.measure import LastingCrew, measured, write
from calibration.sets import TABLES, networks
from calibration.work import RUNTIMES, choose, plant_and_run

from sysnoise_conform.judge import VariantVerdict, Verdict, judge
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.report import Report

pytestmark = pytest.mark.usefixtures("own_cache")
CONVERTED = ("unet", "encoder")  # by onnx2tf, too, which takes seconds each time
SLICE = {each.family: each for each in networks("slice")}


@pytest.fixture(scope="module")
def crew() -> Iterator[LastingCrew]:
    with LastingCrew() as children:
        yield children


def verdicts(report: Report) -> tuple[VariantVerdict, ...]:
    return judge(report, Policy()).variants


@pytest.mark.parametrize("network", SLICE.values(), ids=SLICE)
def test_no_healthy_runtime_fails_and_a_fault_of_ten_units_is_found_where_it_is(
    network: Network, crew: LastingCrew, tmp_path: Path
) -> None:
    runtimes = [each for each in RUNTIMES if each != "tflite" or network.family in CONVERTED]
    model = write(network, tmp_path)
    healthy = measured(model, runtimes, tmp_path / "healthy", crew=crew)

    assert [each.sentence for each in verdicts(healthy) if each.verdict is not Verdict.PASS] == []

    fault = choose(network, healthy, len(network.name))[0]
    faulty = plant_and_run(network, healthy, fault, model, runtimes, tmp_path / "faulty", crew, seed=0)

    found = {each.variant: each.first_departure for each in verdicts(faulty) if each.verdict is Verdict.FAIL}
    assert found == dict.fromkeys(runtimes, fault.tensor)


def test_the_sets_are_large_varied_and_disjoint() -> None:
    models = {}
    for name in TABLES:
        several = list(networks(name, samples=1))
        assert len(several) >= 50
        assert len({each.family for each in several}) >= 8
        assert len(set().union(*(each.ops for each in several))) >= 40
        models[name] = {each.model.SerializeToString() for each in several}
        assert len(models[name]) == len(several)

    for one, other in itertools.combinations(models.values(), 2):
        assert not one & other


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_fault_has_its_size_and_its_place(kind: str) -> None:
    network = SLICE["unet"]
    node = next(each for each in network.model.graph.node if each.op_type == "MaxPool")
    tensor, feed = node.output[0], network.feeds[0]

    def values(names: list[str], model: object = None) -> list[np.ndarray]:
        proto = type(network.model)()
        proto.CopyFrom(network.model if model is None else model)
        proto.graph.output.extend(type(proto.graph.output[0])(name=name) for name in names)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(names, feed)

    (sound,) = values([tensor])
    size = float(np.sqrt(np.mean(sound.astype(np.float64) ** 2)))
    faulty = planted(network.model, tensor, kind, rms=1e-3, golden_rms=size, shape=sound.shape, seed=1)
    off, still = values([tensor, f"{tensor}_sound"], faulty)

    assert np.sqrt(np.mean((off.astype(np.float64) - still) ** 2)) == pytest.approx(1e-3, rel=0.01)
    assert np.allclose(still, sound, atol=1e-5)
