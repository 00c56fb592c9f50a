"""A target that computes in fewer bits by itself is one finding, and a fault on top of it is still named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from calibration.measure import LastingCrew
from calibration.sets import networks
from diagnose import small
from diagnose.diagnosing import diagnosed
from diagnose.planted import channel_shifted, operands_in_bfloat16
from diagnose.test_located import shapes
from onnx import numpy_helper
from test_reports_summary import validator

from sysnoise_conform.diagnose.facts import Diagnosis
from sysnoise_conform.reports import diagnosis_html, diagnosis_json
from sysnoise_conform.reports.diagnosis_terminal import render

SLICE = {each.family: each for each in networks("slice", samples=2)}
UNET = SLICE["unet"]
CONVS = [node.output[0] for node in UNET.model.graph.node if node.op_type == "Conv"]


@pytest.fixture(scope="module")
def crew() -> Iterator[LastingCrew]:
    with LastingCrew() as children:
        yield children


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONFORM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def in_bfloat16(found: Diagnosis) -> Diagnosis:
    """The diagnosis of `openvino:auto`, where that is bfloat16."""
    if "bf16" not in found.runtime.effective_precision:
        pytest.skip(f"openvino:auto computes in {found.runtime.effective_precision} on this processor")
    return found


def scaled(model: onnx.ModelProto, tensor: str, factor: float) -> onnx.ModelProto:
    made = onnx.ModelProto.FromString(model.SerializeToString())
    node = next(each for each in made.graph.node if tensor in each.output)
    weights = next(each for each in made.graph.initializer if each.name == node.input[1])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(factor), weights.name))
    return made


@pytest.mark.parametrize("network", SLICE.values(), ids=SLICE)
def test_bfloat16_by_itself_is_one_finding(network, crew: LastingCrew, tmp_path: Path) -> None:
    found = in_bfloat16(diagnosed(network, "openvino:auto", tmp_path, crew))

    assert found.culprits == ()
    assert found.verdict == "accumulated_rounding"
    assert found.computing is not None
    assert (found.computing.name, found.computing.told_by, found.computing.chosen) == ("bfloat16", "runtime", True)
    assert set(found.computing.types) & {"Conv", "MatMul", "Gemm"}
    assert f"computes in bfloat16 by itself, {len(found.computing.operators)} of " in found.sentence
    assert "openvino (no :auto) pins it" in found.sentence
    own = [each for each in found.layers if each.arithmetic == "bfloat16"]
    assert tuple(each.output for each in own) == found.computing.operators
    assert all(each.flags is not None and each.flags.rms_z is not None and each.flags.rms_z < 3 for each in own)
    assert found.ranking


@pytest.mark.parametrize("tensor", CONVS[:5])
def test_a_fault_on_top_of_bfloat16_is_named_alone(tensor: str, crew: LastingCrew, tmp_path: Path) -> None:
    found = in_bfloat16(diagnosed(UNET, "openvino:auto", tmp_path, crew, scaled(UNET.model, tensor, 1.02)))

    assert [each.layer.output for each in found.culprits] == [tensor], found.sentence
    assert found.verdict == "culprits"
    assert "computes in bfloat16 by itself" in found.sentence
    assert "beyond that Conv" in found.sentence


def test_a_bias_that_its_rounding_hides_is_named_by_its_channel(crew: LastingCrew, tmp_path: Path) -> None:
    tensor = CONVS[3]
    made = onnx.ModelProto.FromString(UNET.model.SerializeToString())
    node = next(each for each in made.graph.node if tensor in each.output)
    bias = next(each for each in made.graph.initializer if each.name == node.input[2])
    values = numpy_helper.to_array(bias).copy()
    values[3] += 0.02
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))

    found = in_bfloat16(diagnosed(UNET, "openvino:auto", tmp_path, crew, made))

    (culprit,) = found.culprits
    assert (culprit.layer.output, culprit.kind) == (tensor, "one_channel")
    assert culprit.layer.flags is not None
    assert "channel 3 of 20" in culprit.words


def test_without_replay_islands_are_judged_in_the_same_unit(crew: LastingCrew, tmp_path: Path) -> None:
    healthy = in_bfloat16(diagnosed(UNET, "openvino:auto", tmp_path / "healthy", crew, replay=False))
    tensor = CONVS[1]
    faulty = diagnosed(UNET, "openvino:auto", tmp_path / "faulty", crew, scaled(UNET.model, tensor, 1.05), replay=False)

    assert healthy.culprits == ()
    assert healthy.computing is not None
    assert [(each.layer.output, each.method) for each in faulty.culprits] == [(tensor, "explode")]


def test_a_runtime_that_reports_nothing_is_found_by_its_operands(crew: LastingCrew, tmp_path: Path) -> None:
    model = UNET.model
    for at, tensor in enumerate(CONVS):
        model = operands_in_bfloat16(model, tensor)
        for node in model.graph.node:  # each its own names
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name in ("narrow", "narrow_t", "narrow_low", "split"):
                        names[place] = f"{name}_{at}"
            if node.name.startswith("narrow_") and not node.name[-1].isdigit():
                node.name = f"{node.name}_{at}"
        model.graph.initializer[-1].name = f"split_{at}"

    found = diagnosed(UNET, "ort", tmp_path, crew, model)

    assert found.culprits == (), found.sentence
    assert found.computing is not None
    assert (found.computing.name, found.computing.told_by) == ("bfloat16", "operands")
    assert found.computing.operators == tuple(CONVS)
    assert found.verdict == "accumulated_rounding"


def test_one_channel_that_the_whole_drowns_is_named_in_float32(crew: LastingCrew, tmp_path: Path) -> None:
    known = shapes(UNET)
    tensor = CONVS[3]
    unit = next(
        np.sqrt(each.replayed.floor.sigma_sq / each.replayed.floor.n)
        for each in diagnosed(UNET, "ort", tmp_path / "healthy", crew).layers
        if each.output == tensor and each.replayed is not None and each.replayed.floor.sigma_sq is not None
    )
    faulty = channel_shifted(UNET.model, tensor, known[tensor])
    fault = next(each for each in faulty.graph.initializer if each.name == "fault")
    values = numpy_helper.to_array(fault) * np.float32(14 * unit / 0.005)  # 3.1 units over all of the 20 channels
    fault.CopyFrom(numpy_helper.from_array(values, "fault"))

    found = diagnosed(UNET, "ort", tmp_path / "faulty", crew, faulty)

    (culprit,) = found.culprits
    assert (culprit.layer.output, culprit.kind) == (tensor, "one_channel")
    assert culprit.layer.flags is not None
    assert culprit.layer.flags.rms_z is not None
    assert culprit.layer.flags.rms_z < 5
    assert culprit.layer.flags.channel == (1, known[tensor][1] // 2)


def test_every_renderer_tells_the_arithmetic(crew: LastingCrew, tmp_path: Path) -> None:
    tensor = CONVS[0]
    found = in_bfloat16(diagnosed(UNET, "openvino:auto", tmp_path, crew, scaled(UNET.model, tensor, 1.02)))

    told = diagnosis_json.as_json(found)
    validator("diagnosis.json").validate(told)
    assert told["arithmetic"]["name"] == "bfloat16"
    assert told["culprits"][0]["arithmetic"] in ("bfloat16", "float32")
    in_it = [each for each in told["layers"] if each.get("arithmetic") == "bfloat16"]
    assert [each["output"] for each in in_it] == told["arithmetic"]["operators"]
    assert all({"rms_z", "max_z", "channel_z", "channel"} <= set(each) for each in in_it)
    for text in (render(found), diagnosis_html.render(found)):
        assert "as the runtime reports" in " ".join(text.split())
        assert "worst channel" in " ".join(text.split())


def test_operands_half_way_between_two_numbers_of_tf32_blame_nobody(crew: LastingCrew, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)

    def half_way(*shape: int) -> np.ndarray:
        return (rng.integers(1024, 2047, shape) * 2 + 1) * 2.0**-11 * rng.choice([-1, 1], shape)

    text = """ties (float[4,16] x) => (float[4,8] y) {
        a = MatMul (x, w)
        b = Relu (a)
        c = MatMul (b, v)
        y = Tanh (c)
    }"""
    model = small.network(text, {"w": half_way(16, 8), "v": half_way(8, 8) / 8})

    found = small.diagnosed(model, "torch+operands=tf32", tmp_path, crew)

    assert found.culprits == (), found.sentence
    assert found.computing is not None
    assert (found.computing.name, found.computing.operators) == ("tf32", ("a", "c"))
