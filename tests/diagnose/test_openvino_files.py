"""A deployed OpenVINO file, diagnosed by its own inner tensors: it can't be taken apart, nor changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from calibration.measure import LastingCrew
from diagnose.small import diagnosed, network

from sysnoise_conform.case import Deployed

POOLED = """
pooled (float[1,3,16,16] x) => (float[1,6,1,1] y) {
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
  r = Relu (c)
  p = AveragePool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1> (r)
  y = GlobalAveragePool (p)
}
"""
WEIGHTS = {"w": np.random.default_rng(7).standard_normal((6, 3, 3, 3)) / 2}


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingCrew]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONFORM_CACHE", str(tmp_path_factory.mktemp("cache")))
        with LastingCrew() as children:
            yield children


def shipped(text: str, folder: Path) -> Path:
    onnx.save(network(text, WEIGHTS), folder / "shipped.onnx")
    openvino.save_model(openvino.Core().read_model(folder / "shipped.onnx"), folder / "m.xml", compress_to_fp16=False)
    return folder / "m.xml"


def test_its_operator_is_named_and_what_can_t_be_done_is_said(crew: LastingCrew, tmp_path: Path) -> None:
    deployed = Deployed(path=shipped(POOLED, tmp_path))

    found = diagnosed(network(POOLED, WEIGHTS), "openvino", tmp_path, crew, deployed=deployed, prove=True)

    (culprit,) = found.culprits
    assert (culprit.layer.output, culprit.method) == ("p", "replay")
    assert culprit.proof is None
    assert not culprit.reproducer
    assert any(note.startswith("a .xml file can't be taken apart or changed") for note in found.notes), found.notes


def test_a_tensor_in_another_layout_is_not_taken_for_the_model_s(crew: LastingCrew, tmp_path: Path) -> None:
    turned = "c = Transpose <perm=[0,2,3,1]> (c0)\n  c1 = Transpose <perm=[0,3,1,2]> (c)\n  r = Relu (c1)"
    path = shipped(POOLED.replace("c = Conv", "c0 = Conv").replace("r = Relu (c)", turned), tmp_path)

    without = diagnosed(network(POOLED, WEIGHTS), "openvino", tmp_path, crew, deployed=Deployed(path=path))
    told = diagnosed(
        network(POOLED, WEIGHTS), "openvino", tmp_path, crew, deployed=Deployed(path=path, layouts={"c": "NHWC"})
    )

    (hidden,) = without.unobservable
    assert hidden.tensor == "c"
    assert "--layout c=NHWC" in hidden.why
    assert [each.layer.output for each in without.culprits] == ["p"]
    assert told.unobservable == ()
    assert [each.layer.output for each in told.culprits] == ["p"]
