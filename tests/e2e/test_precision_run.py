"""Converted graphs through the real command line: what the conversion costs, and what the runtime gets wrong, apart."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import planted
import pytest

NETWORK = """
<ir_version: 9, opset_import: ["": 18]>
small (float[1,3,16,16] x) => (float[1,10] y) {
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w, b)
  r = Relu (c)
  d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (r, v)
  s = Add (d, r)
  e = Relu (s)
  pooled = GlobalAveragePool (e)
  f = Flatten (pooled)
  y = Gemm (f, g, h)
}
"""
# Every runtime that takes Q and DQ here, and each preset of another placement, symmetry and bias. qnn is in uint8,
# which LiteRT is not. MNN's converter takes none of them, and TensorRT needs a GPU: its preset runs on the others.
QUANTISED = tuple(
    f"{backend}:int8+preset={preset}"
    for backend, preset in (
        ("ort", "ort"), ("ort", "tensorrt"), ("ort", "openvino"), ("openvino", "openvino"), ("openvino", "tensorrt"),
        ("tflite", "qnn"),
    )
)  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    proto = onnx.parser.parse_model(NETWORK)
    rng = np.random.default_rng(7)
    for name, shape in {"w": (8, 3, 3, 3), "b": (8,), "v": (8, 8, 3, 3), "g": (8, 10), "h": (10,)}.items():
        values = (rng.standard_normal(shape) / 4).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{number}"
    path = tmp_path / "small.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    return samples(tmp_path / "good", 1.0)


def samples(folder: Path, size: float) -> Path:
    """Eight samples of values from 0 to `size`; what is judged goes up to 1."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    for number in range(8):
        np.savez(folder / f"{number}.npz", x=(size * rng.random((1, 3, 16, 16))).astype(np.float32))
    return folder


def in_floats(variant: str) -> bool:
    """LiteRT: onnx2tf leaves Q and DQ around float kernels. ONNX Runtime leaves a Conv in float whose Relu comes first.

    It does so where activations are int8: by `ort` and `tensorrt`.
    """
    return variant.startswith("tflite:int8") or variant in ("ort:int8+preset=ort", "ort:int8+preset=tensorrt")


def output(done: Any, variant: str) -> dict[str, Any]:
    (found,) = done.variant(variant)["outputs"]
    return found


def test_a_planted_fault_moves_only_the_implementation(conform, model: Path, calibration: Path) -> None:
    healthy = [*QUANTISED, "ort:fp16"]
    done = conform(
        "run", "--model", model, "--samples", "2", "--calibration", calibration,
        "--backends", ",".join([*healthy, *(f"planted_{each}" for each in healthy)]), env=planted.as_environment(),
    )  # fmt: skip

    assert done.code == 1, done.stdout + done.stderr
    for each in healthy:
        right, wrong = output(done, each), output(done, f"planted_{each}")
        assert done.variant(each)["verdict"] == ("FAIL" if in_floats(each) else "PASS"), each
        assert ("asked for int8 and got fp32" in done.variant(each)["sentence"]) is in_floats(each), each
        assert done.variant(f"planted_{each}")["verdict"] == "FAIL", each
        assert done.variant(f"planted_{each}")["owners"] == ["implementation"], each
        assert "the runtime's doing, not the conversion's" in done.variant(f"planted_{each}")["sentence"]
        assert wrong["design"] == right["design"]
        assert right["design"]["rel_l2"] > 0
        assert wrong["implementation"]["rel_l2"] > 10 * right["implementation"]["rel_l2"]
        first = done.variant(f"planted_{each}")["findings"][0]
        assert (first["node"], first["op_type"]) == ("Conv_2", "Conv"), first


def test_a_worse_calibration_moves_only_the_design(conform, model: Path, calibration: Path, tmp_path: Path) -> None:
    found = {}
    for name, path in {"good": calibration, "poor": samples(tmp_path / "poor", 0.3)}.items():
        policy = tmp_path / "conform.toml"
        policy.write_text("max_design_rel_l2 = 0.05\n")
        found[name] = conform(
            "run", "--model", model, "--samples", "2", "--calibration", path, "--backends", ",".join(QUANTISED),
            "--policy", policy, "--no-layers", "--out", tmp_path / name,
        )  # fmt: skip

    assert found["poor"].code == 1, found["poor"].stdout
    for each in QUANTISED:
        assert found["good"].variant(each)["verdict"] == ("FAIL" if in_floats(each) else "PASS"), each
        good, poor = output(found["good"], each), output(found["poor"], each)
        assert poor["design"]["rel_l2"] > 5 * good["design"]["rel_l2"]
        assert poor["total"]["rel_l2"] > 5 * good["total"]["rel_l2"]
        verdict = found["poor"].variant(each)
        assert verdict["owners"] == (["design", "implementation"] if in_floats(each) else ["design"])
        assert "the runtime computes it as declared" in verdict["sentence"]
        assert "to the quantisation (limit 0.05)" in verdict["sentence"]
        assert poor["implementation"]["rel_l2"] < 0.01  # a flipped code here and there


def test_what_a_conversion_costs_is_reported_and_fails_nobody_who_did_not_ask(conform, model: Path) -> None:
    done = conform("run", "--model", model, "--samples", "2", "--backends", "ort:int8,ort", "--preset", "qnn")

    assert done.code == 0, done.stdout
    named = "ort:int8+preset=qnn"
    plain, quantised = done.variant("ort"), done.variant(named)
    assert plain["conversion"] is None
    assert output(done, "ort")["design"] is None
    assert output(done, "ort")["total"] is None
    assert output(done, "ort")["implementation"]["rel_l2"] == output(done, "ort")["rel_l2"]
    design, total = output(done, named)["design"], output(done, named)["total"]
    assert design["sqnr_db"] == pytest.approx(-20 * np.log10(design["rel_l2"]))
    assert total["rel_l2"] == pytest.approx(design["rel_l2"], rel=0.05)
    assert "the quantisation costs 'y'" in quantised["sentence"]
    assert quantised["conversion"]["preset"] == "qnn"
    assert quantised["conversion"]["calibration"]["origin"] == "synthetic"


def test_integers_of_a_runtimes_own_are_no_pass_without_a_limit_and_judged_by_one(
    conform, model: Path, calibration: Path, tmp_path: Path
) -> None:
    native = (f"tflite+hint=int8+calibration={calibration}", "mnn+weights=int8")
    policy = tmp_path / "conform.toml"
    policy.write_text("max_design_rel_l2 = 0.1\n")
    run = ("run", "--model", model, "--samples", "2", "--backends", ",".join(native))

    told, judged = conform(*run, "--out", "told"), conform(*run, "--policy", policy, "--out", "judged")

    assert (told.code, judged.code) == (5, 0), told.stdout + judged.stdout
    for each in native:
        assert told.variant(each)["verdict"] == "INCONCLUSIVE"
        assert "of the runtime's own" in told.variant(each)["sentence"]
        assert judged.variant(each)["verdict"] == "PASS"
        assert "off in all, within what the policy allows" in judged.variant(each)["sentence"]


def test_the_command_of_a_report_brings_the_same_graph_about_again(conform, model: Path, calibration: Path) -> None:
    first = conform(
        "run", "--model", model, "--samples", "2", "--calibration", calibration, "--keep-fp32", "Gemm_7",
        "--backends", "ort:int8+preset=qnn", "--out", "first",
    )  # fmt: skip
    (made,) = [each["conversion"] for each in first.summary["variants"]]
    assert "".join(made["command"].split()) in "".join(first.stdout.split())  # it wraps in a pipe

    again = conform(*shlex.split(made["command"])[1:])

    (other,) = [each["conversion"] for each in again.summary["variants"]]
    assert (first.code, again.code) == (0, 0), again.stderr
    assert other["sha256"] == made["sha256"]
    assert made["keep_fp32"] == other["keep_fp32"] == ["Gemm_7"]
    header = json.loads((first.out / "report.jsonl").read_text().splitlines()[0])
    assert header["conversions"][0]["record"]["weights"]


def test_a_run_and_a_diagnosis_judge_alike_what_was_computed_in_floats(conform, model: Path) -> None:
    done = conform("run", "--model", model, "--samples", "2", "--backends",
                   "ort:int8,openvino:bf16,ort:fp16,ort:int8+preset=ort_per_channel")  # fmt: skip

    assert done.code == 1
    assert done.variant("ort:int8+preset=ort_per_channel")["verdict"] == "PASS"  # the cure that is named cures
    said = done.variant("ort:int8")["sentence"]
    assert "asked for int8 and got fp32 >99 %" in said
    assert "+preset=ort_per_channel" in said
    assert done.variant("ort:int8")["runtime"]["shares"]["flops"]["int8"] < 0.01
    assert "keeps more precision" not in done.variant("openvino:bf16")["sentence"]
    assert output(done, "ort:fp16")["implementation"]["floor_ratio"] > 0
    other = conform("diagnose", "--model", model, "--samples", "2", "--backend", "ort:int8", "--win-back", "3",
                    "--out", "diagnosis")  # fmt: skip
    found = json.loads((other.out / "diagnosis.json").read_text())
    assert (other.code, found["verdict"]) == (1, "not_integers")
    assert said.split(": ", 1)[1].split("; ")[0] in found["sentence"]
    gains = [each["gain_db"] for each in found["design"]["won_back"]]
    assert len(found["design"]["keep_fp32"]) <= sum(each is None or each >= 1 for each in gains)


def test_asked_for_int8_and_got_float32_fails_whatever_the_numbers_say(conform, model: Path) -> None:
    done = conform("run", "--model", model, "--samples", "2", "--backends", "only_floats:int8,only_floats:fp16",
                   env=planted.as_environment())  # fmt: skip

    assert done.code == 1
    assert "asked for int8 and got fp32" in done.variant("only_floats:int8")["sentence"]
    assert done.variant("only_floats:int8")["owners"] == ["implementation"]
    # More precision than was asked for is reported, and fails nobody.
    assert done.variant("only_floats:fp16")["verdict"] == "PASS"
    assert "keeps more precision than fp16" in done.variant("only_floats:fp16")["sentence"]


def test_a_runtime_that_refuses_a_converted_graph_is_named_with_its_own_words(conform, model: Path) -> None:
    done = conform("run", "--model", model, "--samples", "2", "--backends", "ort:bf16,ort:fp32")

    assert done.code == 5
    assert done.variant("ort:bf16")["status"] == "unsupported"
    assert "Conv" in done.variant("ort:bf16")["reason"]
    assert done.variant("ort:fp32")["verdict"] == "PASS"  # a plain model in fp32 is the model
    assert done.variant("ort:fp32")["conversion"] is None


def test_a_diagnosis_names_the_quantised_operator_and_what_float32_wins_back(
    conform, model: Path, calibration: Path, tmp_path: Path
) -> None:
    done = conform(
        "diagnose", "--model", model, "--samples", "2", "--calibration", calibration, "--win-back", "2",
        "--backend", "planted_ort:int8+preset=ort_per_channel", "--out", "diagnosis", env=planted.as_environment(),
    )  # fmt: skip

    found = json.loads((tmp_path / "diagnosis" / "diagnosis.json").read_text())
    assert done.code == 1, done.stdout + done.stderr
    assert [(each["node"], each["op_type"]) for each in found["culprits"]] == [("Conv_2", "Conv")]
    design = found["design"]
    assert [each["name"] for each in design["outputs"]] == ["y"]
    assert len(design["won_back"]) == 2
    best = design["won_back"][0]
    kept = conform("run", "--model", model, "--samples", "2", "--calibration", calibration,
                   "--backends", "ort:int8+preset=ort_per_channel", "--keep-fp32", best["node"])  # fmt: skip
    made = found["conversion"]
    assert (made["preset"], made["keep_fp32"], made["calibration"]["samples"]) == ("ort_per_channel", [], 8)
    again = conform(*shlex.split(made["command"])[1:], "--islands-only", "--win-back", "0", "--out", "again",
                    env=planted.as_environment())  # fmt: skip
    same = json.loads((tmp_path / "again" / "diagnosis.json").read_text())
    assert again.code == done.code
    assert same["conversion"]["sha256"] == made["sha256"]
    assert [each["node"] for each in same["culprits"]] == [each["node"] for each in found["culprits"]]
    assert "conform diagnose --model" in found["command"]
    # What is promised is what a run with that option measures.
    assert output(kept, "ort:int8+preset=ort_per_channel")["design"]["rel_l2"] == pytest.approx(best["rel_l2"])


@pytest.mark.parametrize(
    ("how", "method", "operators"),
    [(["--islands-only"], "explode", 8), (["--granularity", "op"], "replay", 22)],
)  # fmt: skip
def test_a_quantised_operator_is_named_alone_with_its_rounding_and_in_pieces(
    conform, model: Path, calibration: Path, tmp_path: Path, how: list[str], method: str, operators: int
) -> None:
    conform(
        "diagnose", "--model", model, "--samples", "2", "--calibration", calibration, "--win-back", "0", *how,
        "--backend", "planted_ort:int8+preset=ort_per_channel", "--out", "diagnosis", env=planted.as_environment(),
    )  # fmt: skip

    found = json.loads((tmp_path / "diagnosis" / "diagnosis.json").read_text())
    assert [(each["node"], each["method"]) for each in found["culprits"]] == [("Conv_2", method)]
    assert len(found["layers"]) == operators
