"""Whose a culprit of a deployed file is: the file's, which holds another operator, or the runtime's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from calibration.measure import LastingCrew
from diagnose.small import diagnosed, network
from test_reports_summary import validator

from sysnoise_conform.diagnose.facts import Diagnosis
from sysnoise_conform.reports import diagnosis_html, diagnosis_json
from sysnoise_conform.reports.diagnosis_terminal import render

POOL = """pool (float[1,4,8,8] x) => (float[1,4,4,4] y) {
    a = Relu (x)
    b = AveragePool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=CEIL, count_include_pad=PAD> (a)
    y = Tanh (b)
}"""
DENSE = """dense (float[4,8] x) => (float[4,5] y) {
    a = MatMul (x, w)
    b = Tanh (a)
    y = MatMul (b, v)
}"""


def pool(*, pad: int, ceil: int = 0) -> onnx.ModelProto:
    text = POOL.replace("PAD", str(pad)).replace("CEIL", str(ceil))
    return network(text.replace("4,4,4]", "4,5,5]") if ceil else text, {})


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {"w": rng.standard_normal((8, 6)), "v": rng.standard_normal((6, 5))}


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingCrew]:
    with pytest.MonkeyPatch.context() as patch, LastingCrew() as children:
        patch.setenv("CONFORM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield children


def readme(found: Diagnosis, folder: Path) -> str:
    return (folder / "out" / found.culprits[0].reproducer / "README.md").read_text()


def test_an_attribute_that_the_file_has_otherwise_is_the_file_s(crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(pool(pad=0), "ort", tmp_path, crew, pool(pad=1))

    (culprit,) = found.culprits
    assert (culprit.layer.output, culprit.owner) == ("b", "file")
    assert "count_include_pad=1" in culprit.layer.attributes  # of the graph that runs
    assert "it has count_include_pad=1 where the model has count_include_pad=0" in found.sentence
    report = readme(found, tmp_path)
    assert report.startswith("# AveragePool: the deployed file differs from the model\n")
    assert "This is no bug of ONNX Runtime" in report
    assert "differs from PyTorch" not in report
    assert "count_include_pad=1" in report
    assert "whoever made the deployed file" in render(found)


def test_other_weights_are_the_file_s(crew: LastingCrew, tmp_path: Path) -> None:
    given = weights()

    found = diagnosed(network(DENSE, given), "ort", tmp_path, crew, network(DENSE, {**given, "v": 1.01 * given["v"]}))

    (culprit,) = found.culprits
    assert (culprit.layer.output, culprit.owner) == ("y", "file")
    assert "its weights are others than the model's" in culprit.words


def test_what_the_runtime_makes_of_a_file_that_is_right_is_the_runtime_s(crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(pool(pad=1, ceil=1), "openvino", tmp_path, crew, pool(pad=1, ceil=1))
    if not found.culprits:
        pytest.skip("OpenVINO computes AveragePool with ceil_mode and count_include_pad rightly here")

    (culprit,) = found.culprits
    assert (culprit.layer.output, culprit.owner) == ("b", "runtime")
    assert "deployed" not in culprit.words
    assert readme(found, tmp_path).startswith("# AveragePool: OpenVINO")


def test_the_deployed_file_is_named_with_its_sum(crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(network(DENSE, weights()), "ort", tmp_path, crew, network(DENSE, weights()))

    written = json.loads(diagnosis_json.render(found))
    validator("diagnosis.json").validate(written)
    digest = hashlib.sha256((tmp_path / "faulty.onnx").read_bytes()).hexdigest()
    assert written["deployed"] == {"file": "faulty.onnx", "sha256": digest}
    assert f"deployed  faulty.onnx (sha256 {digest[:12]})" in render(found)
    assert digest in diagnosis_html.render(found)


def test_of_one_node_that_is_right_nothing_is_said_of_the_others(crew: LastingCrew, tmp_path: Path) -> None:
    given = weights()
    other = network(DENSE, {**given, "v": 1.01 * given["v"]})

    found = diagnosed(network(DENSE, given), "ort", tmp_path, crew, other, only=["make_a"])

    assert (found.verdict, found.culprits, found.ranking) == ("unobservable", (), ())
    assert "MatMul 'make_a' is right; no other operator was judged, as asked, and output 'y'" in found.sentence

    found = diagnosed(network(DENSE, given), "ort", tmp_path / "right", crew, only=["make_a"])

    assert found.verdict == "clean"
    assert found.sentence.endswith("MatMul 'make_a' is right; no other operator was judged, as asked; no output is off")


REFUSED = """refused (float[1,8,3,3] x) => (float[1,8,3,3] y) {
    a = Mul (x, two)
    b = LRN <size=4, alpha=0.01, beta=0.75, bias=1.0> (a)
    y = Add (b, two)
}"""


def test_an_operator_that_the_runtime_refuses_costs_itself_and_the_rest_goes_on(
    crew: LastingCrew, tmp_path: Path
) -> None:
    model = network(REFUSED, {"two": [2]}, opset=13)  # ONNX Runtime takes an LRN of odd sizes alone

    found = diagnosed(model, "ort", tmp_path, crew, prove=True)

    assert (found.verdict, found.outputs) == ("unobservable", ())
    assert "the graph does not run here" in found.sentence
    assert "not runnable here: LRN 'make_b'" in found.sentence
    assert "2 of 3 layers looked at alone, none is off" in found.sentence
    layers = {each.output: each for each in found.layers}
    assert "size_ % 2 == 1" in layers["b"].not_runnable
    assert layers["a"].island is not None
    assert layers["y"].island is not None
    assert found.runtime.device == "cpu"


def test_a_culprit_beside_an_operator_that_is_refused_is_named(crew: LastingCrew, tmp_path: Path) -> None:
    faulty = network(REFUSED.replace("Add", "Sub"), {"two": [2]}, opset=13)

    found = diagnosed(network(REFUSED, {"two": [2]}, opset=13), "ort", tmp_path, crew, faulty, prove=True)

    assert [(each.layer.output, each.method, each.owner) for each in found.culprits] == [("y", "explode", "file")]
    assert "the graph as it ships does not run here" in found.sentence
    assert "it has Sub there" in found.sentence
