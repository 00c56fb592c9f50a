"""Known deviations of real runtimes, deep in a network: the real command line names exactly that operator.

A runtime that no longer deviates skips its test: the corpus's own case, run beforehand, tells.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from calibration.draft import Draft
from calibration.measure import write
from diagnose.deep import Middle, around, between
from diagnose.small import network as small

from sysnoise_conform.probe.corpus import chosen
from sysnoise_conform.probe.measure import measure
from sysnoise_conform.probe.result import Deviates
from sysnoise_conform.variant import parse_variant


def averagepool(g: Draft, x: str, _: int) -> str:
    return g.op(
        "AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1, count_include_pad=1
    )


def maxpool(g: Draft, x: str, _: int) -> str:
    return g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER")


def relu_of_roots(g: Draft, x: str, _: int) -> str:
    return g.op("Relu", g.op("Sqrt", g.op("Sub", x, g.constant(0.05))))


def antialiased(g: Draft, x: str, width: int) -> str:
    sizes = g.shape(1, width, 11, 9)
    return g.op("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel", antialias=1)


def in_training(g: Draft, x: str, width: int) -> str:
    ones, zeros = ([value] * width for value in (1, 0))
    stored = [g.constant(each) for each in (ones, zeros, zeros, ones)]
    return g.op("BatchNormalization", x, *stored, outputs=3, training_mode=1)


@dataclass(frozen=True, kw_only=True)
class Deviation:
    case: str  # of the corpus
    backend: str
    middle: Middle
    kind: str
    method: str = "replay"

    def __str__(self) -> str:
        return f"{self.backend}-{self.case}"


DEVIATIONS = (
    Deviation(case="averagepool-ceil-include-pad-opset19", backend="openvino", middle=averagepool, kind="border"),
    Deviation(case="averagepool-ceil-include-pad-opset19", backend="tflite", middle=averagepool, kind="border"),
    Deviation(case="maxpool-same-lower", backend="mnn", middle=maxpool, kind="attribute"),
    Deviation(case="relu-nan", backend="openvino", middle=relu_of_roots, kind="nan_hidden"),
    Deviation(case="relu-nan", backend="mnn", middle=relu_of_roots, kind="nan_hidden"),
    Deviation(case="resize-linear-antialias", backend="openvino", middle=antialiased, kind="attribute"),
    Deviation(
        case="batchnormalization-training-shared", backend="ort", middle=in_training, kind="scale", method="cut"
    ),
)


def skip_unless_it_deviates(case: str, backend: str) -> None:
    (row,) = measure(
        parse_variant(backend), chosen(case), with_relations=False, watch=lambda *_: None, threads=1
    ).rows
    if not isinstance(row.result, Deviates):
        pytest.skip(f"{backend} does not deviate on {case} here: {row.result}")


def diagnosed(conform: Any, model: Path, backend: str, *options: str) -> dict[str, Any]:
    done = conform("diagnose", "--model", model, "--inputs", model.parent / "inputs", "--backend", backend, *options)
    assert done.code == 1, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((done.out.with_name("conform-diagnosis") / "diagnosis.json").read_text())
    return found


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=str)
def test_a_deviation_deep_in_a_network_is_named_exactly(deviation: Deviation, conform, tmp_path: Path) -> None:
    skip_unless_it_deviates(deviation.case, deviation.backend)
    network, tensor = around(deviation.case, deviation.middle, opset=19)
    nodes = [node.output[0] for node in network.model.graph.node]
    assert 10 <= nodes.index(tensor) < len(nodes) - 10

    found = diagnosed(conform, write(network, tmp_path), deviation.backend)

    assert [each["output"] for each in found["culprits"]] == [tensor], found["sentence"]
    (culprit,) = found["culprits"]
    assert (culprit["kind"], culprit["method"]) == (deviation.kind, deviation.method), culprit


def test_bfloat16_by_default_is_one_finding_that_holds_every_dot_product(conform, tmp_path: Path) -> None:
    skip_unless_it_deviates("conv-256", "openvino:auto")
    network, _ = around("bfloat16", lambda g, x, width: g.conv(x, width, width), opset=18)
    dot_products = [node.output[0] for node in network.model.graph.node if node.op_type in ("Conv", "Gemm")]

    found = diagnosed(conform, write(network, tmp_path), "openvino:auto")

    assert (found["verdict"], found["culprits"]) == ("accumulated_rounding", []), found["sentence"]
    assert found["arithmetic"]["name"] == "bfloat16"
    assert set(dot_products) <= set(found["arithmetic"]["operators"])
    assert "computes in bfloat16 by itself" in found["sentence"]


@pytest.mark.parametrize(
    ("name", "backend", "operator", "kind"),
    [
        # What is compared with a bound is right although the BatchNormalization before is off; the Where reads both.
        ("batchnormalization-training-shared", "ort", "BatchNormalization", "scale"),
        # Each element lies within rounding of what ONNX says, but the other rule is the operator's own.
        ("resize-nearest-tie-ceil", "openvino", "Resize", "rounding_mode"),
        # The Cast behind it makes 3 of the 3 that stands in the bool's place.
        ("cast-bool", "mnn", "Cast", "dtype"),
        # It hides a NaN and makes one of -inf: MNN's Less, which takes a NaN with a sign for less, is not asked.
        ("relu-nan", "mnn", "Relu", "nan_made"),
    ],
)
def test_of_what_reads_a_deviation_nobody_is_named(
    name: str, backend: str, operator: str, kind: str, conform, tmp_path: Path
) -> None:
    skip_unless_it_deviates(name, backend)
    (case,) = chosen(name)

    found = diagnosed(conform, write(between(case), tmp_path), backend)

    assert [(each["op_type"], each["output"], each["kind"]) for each in found["culprits"]] == [(operator, "y", kind)]


def test_a_split_that_leaves_parts_empty_is_named_and_shown_by_its_script(conform, tmp_path: Path) -> None:
    skip_unless_it_deviates("split-num-outputs-uneven", "mnn")
    text = """few (float[1,2] x) => (float[1,1] a, float[1,1] b, float[1,0] c) {
        n = Neg (x)  a, b, c = Split <axis = 1, num_outputs = 3> (n)
    }"""
    onnx.save(small(text, {}), tmp_path / "model.onnx")
    np.savez(tmp_path / "inputs.npz", x=np.float32([[1, 2]]))
    given = ("--model", tmp_path / "model.onnx", "--inputs", tmp_path / "inputs.npz")

    done = conform("diagnose", *given, "--backend", "mnn")

    assert done.code == 1, done.stdout + done.stderr
    folder = done.out.with_name("conform-diagnosis")
    found = json.loads((folder / "diagnosis.json").read_text())
    assert [(each["op_type"], each["output"]) for each in found["culprits"]] == [("Split", "a"), ("Split", "b")]
    script = folder / found["culprits"][0]["reproducer"] / "repro.py"
    shown = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert shown.returncode == 1, shown.stdout + shown.stderr
    assert "has the shape (1, 0) in place of (1, 1)" in shown.stderr + shown.stdout


def test_an_operator_that_changes_with_every_run_is_proved_by_graphs_that_run_afresh(conform, tmp_path: Path) -> None:
    # ONNX Runtime writes the running mean and variance over its own inputs: each run begins where the last one ended.
    name = "batchnormalization-training-shared"
    skip_unless_it_deviates(name, "ort")
    network, tensor = around(name, in_training, opset=19)

    found = diagnosed(conform, write(network, tmp_path), "ort", "--prove")

    (culprit,) = found["culprits"]
    assert culprit["output"] == tensor
    assert culprit["share"] == pytest.approx(1, abs=0.01), culprit
    proof = culprit["proof"]
    assert proof["after_rel_l2"] < 1e-3 * proof["before_rel_l2"], proof


def test_a_run_and_a_diagnosis_agree_on_a_round_that_sends_halves_away(conform, tmp_path: Path) -> None:
    skip_unless_it_deviates("round-ties", "mnn")
    text = "halves (float[1,8] x) => (float[1,8] y) { a = Mul (x, one)\n b = Round (a)\n y = Add (b, one) }"
    onnx.save(small(text, {"one": [1]}), tmp_path / "model.onnx")
    halves = np.float32([[0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3, 4]])
    np.savez(tmp_path / "inputs.npz", x=halves)
    given = ("--model", tmp_path / "model.onnx", "--inputs", tmp_path / "inputs.npz")

    ran = conform("run", *given, "--backends", "mnn")
    done = conform("diagnose", *given, "--backend", "mnn")

    assert (ran.code, done.code) == (1, 1), ran.stdout + done.stdout
    found = json.loads((done.out.with_name("conform-diagnosis") / "diagnosis.json").read_text())
    (culprit,) = found["culprits"]
    assert (culprit["op_type"], culprit["kind"]) == ("Round", "rounding_mode")
    assert "away from zero" in culprit["reading"]
    assert "output 'y'" in found["sentence"]
