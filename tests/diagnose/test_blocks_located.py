"""A quantised graph is judged by the blocks that integer kernels compute: nothing is cut or shown inside of one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from calibration.measure import LIMITS, LastingCrew
from diagnose.quantised import quantised_network
from onnx import numpy_helper

from sysnoise_conform.case import Case, Deployed
from sysnoise_conform.diagnose.course import diagnose
from sysnoise_conform.diagnose.facts import Diagnosis
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.variant import parse_variants

RUNTIMES = ("ort", "openvino")
OPERATORS = ["QuantizeLinear", "Conv", "Conv", "Add", "GlobalAveragePool", "Flatten", "Gemm"]


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingCrew]:
    with pytest.MonkeyPatch.context() as patch, LastingCrew() as children:
        patch.setenv("CONFORM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield children


def diagnosed(
    model: onnx.ModelProto, backend: str, folder: Path, crew: LastingCrew, faulty: onnx.ModelProto | None = None,
    **more: Any,
) -> Diagnosis:  # fmt: skip
    onnx.save(model, folder / "model.onnx")
    deployed = None
    if faulty is not None:
        deployed = Deployed(path=folder / "faulty.onnx")
        onnx.save(faulty, deployed.path)
    case = Case(
        model=folder / "model.onnx", variants=parse_variants(backend), samples=2, limits=LIMITS, deployed=deployed
    )
    return diagnose(case, folder / "out", crew=crew, watch=lambda *_: None, policy=Policy(), **more)


def one_channel_scaled(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model, with the scale of one channel of a quantised weight a tenth larger."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    stored = next(each for each in made.graph.initializer if each.name == name)
    scales = numpy_helper.to_array(stored).copy()
    scales[3] *= np.float32(1.1)
    stored.CopyFrom(numpy_helper.from_array(scales, name))
    return made


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_healthy_runtime_has_no_culprit_and_watching_blocks_changes_nothing(
    per_channel: bool, backend: str, crew: LastingCrew, tmp_path: Path
) -> None:
    found = diagnosed(quantised_network(per_channel=per_channel), backend, tmp_path, crew)

    assert found.verdict == "clean", found.sentence
    assert found.coverage == 1
    assert [each.op_type for each in found.layers] == OPERATORS
    assert found.observer_effect.rel_l2 == 0
    assert all(each.replayed is not None and each.island is not None for each in found.layers)


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_fault_inside_a_block_is_named_by_its_operator(
    backend: str, replay: bool, crew: LastingCrew, tmp_path: Path
) -> None:
    model = quantised_network()

    found = diagnosed(
        model, backend, tmp_path, crew, one_channel_scaled(model, "w1_scale"), replay=replay, only=["node_conv1"]
    )

    (culprit,) = found.culprits
    assert (culprit.layer.node, culprit.layer.op_type, culprit.layer.output) == ("node_conv1", "Conv", "relu1_codes")
    assert culprit.layer.block == ("node_x1", "node_conv1", "node_relu1", "node_relu1_codes")
    assert culprit.method == ("replay" if replay else "explode")
    if replay:
        assert culprit.cumulative_before == 0  # what comes in is right
        assert culprit.layer.island is not None


def test_what_is_handed_over_is_the_whole_block(crew: LastingCrew, tmp_path: Path) -> None:
    model = quantised_network()

    found = diagnosed(model, "ort", tmp_path, crew, one_channel_scaled(model, "w1_scale"))

    (culprit,) = found.culprits
    folder = tmp_path / "out" / culprit.reproducer
    operators = [each.op_type for each in onnx.load(folder / "model.onnx").graph.node]
    assert operators[-4:] == ["DequantizeLinear", "Conv", "Relu", "QuantizeLinear"]
    again = subprocess.run([sys.executable, "repro.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert again.returncode == 1, again.stdout + again.stderr


def test_single_operators_are_judged_where_that_is_asked_for(crew: LastingCrew, tmp_path: Path) -> None:
    model = quantised_network()

    found = diagnosed(model, "ort", tmp_path, crew, one_channel_scaled(model, "w1_scale"), granularity="op")

    assert [each.layer.output for each in found.culprits] == ["conv1"]
    assert {"conv0", "relu0", "x1"} <= {each.output for each in found.layers}


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_block_answers_in_full_as_a_whole(backend: str, crew: LastingCrew, tmp_path: Path) -> None:
    model = quantised_network()

    found = diagnosed(model, backend, tmp_path, crew, one_channel_scaled(model, "w1_scale"), prove=True)

    (culprit,) = found.culprits
    assert culprit.proof is not None
    assert culprit.proof.after_rel_l2 < culprit.proof.before_rel_l2 / 10
    assert culprit.share == pytest.approx(1, abs=0.05)
