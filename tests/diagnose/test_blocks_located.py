"""A quantised graph is judged by the blocks that integer kernels compute: nothing is cut or shown inside of one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from calibration.measure import LIMITS, LastingCrew
from diagnose.quantised import quantised_network
from onnx import numpy_helper

from sysnoise_conform.case import Case, Deployed
from sysnoise_conform.cli import invoke
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


HARD_SWISH = """
<ir_version: 8, opset_import: ["": 13]>
g (float[1,4,12,12] x) => (float[1,4,12,12] y)
  <float s = {0.105132505}, int8 z = {-18}, float t = {0.011764706}, int8 three = {127}, int8 low = {-128},
   float u = {0.023529412}, float zero = {0}, float six = {6}, float v = {0.5}> {
  codes = QuantizeLinear (x, s, z)
  [three] c = DequantizeLinear (three, t, low)
  [left] a = DequantizeLinear (codes, s, z)
  [shifted] b = Add (a, c)
  [gate] d = Clip (b, zero, six)
  [end] gated = QuantizeLinear (d, u, low)
  [again] e = DequantizeLinear (gated, u, low)
  [right] f = DequantizeLinear (codes, s, z)
  product = Mul (e, f)
  out = QuantizeLinear (product, v, z)
  y = DequantizeLinear (out, v, z)
}
"""


@pytest.fixture
def ties(tmp_path: Path) -> tuple[Path, Path]:
    """A hard swish whose 0 lies on a half between two codes, 3 / (6 / 255) = 127.5, and inputs of which most are 0."""
    model = onnx.parser.parse_model(HARD_SWISH)
    onnx.save(model, tmp_path / "swish.onnx")
    values = np.random.default_rng(0).normal(0, 4, (1, 4, 12, 12)).astype(np.float32)
    np.savez(tmp_path / "inputs.npz", x=np.maximum(values - 2, 0))
    return tmp_path / "swish.onnx", tmp_path / "inputs.npz"


@pytest.mark.parametrize("islands_only", [False, True])
def test_halves_between_two_codes_that_a_kernel_rounds_to_one_side_are_nobodys_fault(
    islands_only: bool, ties: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime's kernel adds in codes, in float32, and loses the half: every 0 is one code off."""
    model, inputs = ties
    code = invoke([
        "diagnose", "-m", str(model), "-b", "ort", "-i", str(inputs), "-o", str(tmp_path / "out"),
        *(["--islands-only"] if islands_only else []),
    ])  # fmt: skip

    found = json.loads((tmp_path / "out" / "diagnosis.json").read_text())
    assert (code, found["verdict"]) == (0, "clean"), capsys.readouterr().out
    gated = next(each for each in found["layers"] if each["output"] == "gated")
    assert islands_only or gated["cumulative_rel_l2"] > 0.01  # else the test shows nothing


def test_a_code_that_is_off_where_there_is_no_half_is_a_fault(
    ties: tuple[Path, Path], crew: LastingCrew, tmp_path: Path
) -> None:
    model = onnx.load(ties[0])
    faulty = onnx.ModelProto()
    faulty.CopyFrom(model)
    stored = next(each for each in faulty.graph.initializer if each.name == "t")
    stored.CopyFrom(numpy_helper.from_array(np.float32(0.0118), "t"))  # 3 is 3.009, three tenths of a code more

    found = diagnosed(model, "ort", tmp_path, crew, faulty)

    assert [each.layer.block[-1] for each in found.culprits if each.layer.block] == ["end"]
