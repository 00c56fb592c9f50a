"""`conform probe` on the real runtimes and on backends with a character, and what `conform run` makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fakes
import jsonschema
import onnx
import onnx.parser
import pytest
from conftest import ROOT, Conform

from sysnoise_conform.probe.corpus import corpus

POOLS = """
<ir_version: 8, opset_import: ["": 18]>
pools (float[1,2,8,8] x) => (float[1,2,N,M] y) {
  y = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1,
                   count_include_pad = 1> (x)
}
"""


def probe(conform: Conform, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> Any:
    """The finished command, in a cache of its own."""
    return conform("probe", *arguments, env={"CONFORM_CACHE": str(folder / "cache"), **(env or {})})


def results(folder: Path, name: str = "found.json") -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads((folder / name).read_text())["cases"]}


def measured(conform: Conform, folder: Path, backend: str, *only: str) -> dict[str, dict[str, Any]]:
    """The cases that fit, probed without a fault."""
    wanted = [word for pattern in only for word in ("--only", pattern)]
    done = probe(conform, folder, "--backend", backend, *wanted, "--out", "found.json")
    assert done.code == 0, done.stderr
    return results(folder)


def test_onnx_runtime_is_right_about_pooling(conform: Conform, tmp_path: Path) -> None:
    done = probe(conform, tmp_path, "--backend", "ort", "--only", "averagepool*", "--out", "found.json")

    assert done.code == 0, done.stderr
    assert {each["result"] for each in results(tmp_path).values()} == {"agrees"}
    assert done.stdout.splitlines()[-1] == "ort: 9 cases: 9 agree"
    (path,) = (tmp_path / "cache" / "probe" / "1").glob("*.json")
    assert json.loads(path.read_text())["key"]["runtime"] == "ONNX Runtime"


def test_the_whole_corpus_on_onnx_runtime(conform: Conform, tmp_path: Path) -> None:
    done = probe(conform, tmp_path, "--backend", "ort", "--json")

    found = json.loads(done.stdout)
    assert done.code == 0, done.stderr
    assert {each["name"] for each in found["cases"]} == {each.name for each in corpus()}
    assert found["counts"]["agrees"] > 160
    assert found["counts"]["crashed"] == 0
    assert {each["net"] for each in found["relations"]} == {"attention", "convolutional"}
    assert all(each["result"]["result"] == "agrees" for each in found["relations"] if not each["choice"])


def test_openvino_is_wrong_where_it_is_known_to_be_and_a_run_says_so(conform: Conform, tmp_path: Path) -> None:
    found = measured(conform, tmp_path, "openvino", "[amr][vae][exl]*")

    assert found["averagepool-ceil-include-pad-opset19"]["max_abs"] == pytest.approx(2.5)
    assert found["maxpool-ceil-last-window-opset12"]["shows"] == "shape"
    assert found["relu-nan"]["shows"] == "nan or infinity"
    assert found["averagepool-include-pad"]["result"] == "agrees"

    model = onnx.parser.parse_model(POOLS)
    model.graph.node[0].name = "/pool1"
    onnx.save(model, tmp_path / "pools.onnx")
    run = conform("run", "--model", "pools.onnx", "--backends", "openvino,ort", "--samples", "1",
                  env={"CONFORM_CACHE": str(tmp_path / "cache")})  # fmt: skip
    said = " ".join(run.stdout.split())
    assert run.code == 1
    assert said.count("1 AveragePool node is of a kind that openvino gets wrong") == 1
    assert "/pool1" in said
    (line,) = run.variant("openvino")["probe"]
    assert line.startswith("1 AveragePool node is of a kind that openvino gets wrong")
    assert "probe" not in run.variant("ort")
    (facts,) = [
        each["facts"] for each in map(json.loads, (run.out / "report.jsonl").read_text().splitlines())
        if each["record"] == "outcome" and each["variant"] == "openvino"
    ]  # fmt: skip
    assert facts["probe"] == [line]
    for name in ("report.html", "report.md"):
        assert "of a kind that openvino gets wrong" in (run.out / name).read_text(), name
    again = conform("judge", "conform-out")  # and whoever judges it elsewhere reads the same
    assert "1 AveragePool node is of a kind that openvino gets wrong" in " ".join(again.stdout.split())
    jsonschema.validate(run.summary, json.loads((ROOT / "reports" / "schema" / "summary.json").read_text()))


def test_a_culprit_that_a_probe_met_before_is_said_to_be_known(conform: Conform, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(POOLS)
    model.graph.node[0].name = "/pool1"
    onnx.save(model, tmp_path / "pools.onnx")
    probe(conform, tmp_path, "--backend", "openvino", "--only", "averagepool-ceil*")

    done = conform("diagnose", "--model", "pools.onnx", "--backend", "openvino", "--samples", "1", "--islands-only",
                   env={"CONFORM_CACHE": str(tmp_path / "cache")})  # fmt: skip

    found = json.loads((tmp_path / "conform-diagnosis" / "diagnosis.json").read_text())
    (culprit,) = found["culprits"]
    (known,) = culprit["known"]
    assert known["case"].startswith("averagepool-ceil-include-pad-opset")
    assert known["deviates"] == "off by 2.5"
    assert "off by 2.5 when this target was probed" in " ".join(done.stdout.split())
    assert "off by 2.5 when this target was probed" in (tmp_path / "conform-diagnosis" / "diagnosis.html").read_text()
    jsonschema.validate(found, json.loads((ROOT / "reports" / "schema" / "diagnosis.json").read_text()))


@pytest.mark.parametrize(("backend", "results_of"), [("ort", {"agrees"}), ("openvino", {"agrees", "deviates"})])
def test_axes_that_stand_in_an_attribute(
    backend: str, results_of: set[str], conform: Conform, tmp_path: Path
) -> None:
    """OpenVINO 2026.4 reduces over all of them for three of these operators."""
    found = measured(conform, tmp_path, backend, "reduce*-attribute")

    assert {each["result"] for each in found.values()} == results_of
    if "deviates" in results_of:
        assert found["reducel1-attribute"]["shows"] == "shape"
        assert found["reducel1-attribute"]["reported"] == "openvinotoolkit/openvino#38238"


@pytest.mark.parametrize(("backend", "off"), [
    ("ort", set()), ("openvino", {"qdq-concat-int8", "qdq-conv-read-twice-open"}),
])  # fmt: skip
def test_scales_that_are_lost_around_a_convolution_in_8_bits(
    backend: str, off: set[str], conform: Conform, tmp_path: Path
) -> None:
    """OpenVINO 2026.4 computes as though they were 1, which leaves nothing of PP-OCRv4's detector."""
    found = measured(conform, tmp_path, backend, "qdq-conv-read*", "qdq-concat*")

    assert {"qdq-concat-uint8", "qdq-conv-read-twice-fixed"} < set(found)
    assert {name for name, each in found.items() if each["result"] == "deviates"} == off


@pytest.mark.parametrize(
    ("backend", "only"), [("mnn", "relu-nan"), ("tflite", "relu-nan"), ("openvino:auto", "matmul-512")]
)
def test_other_runtimes_answer(backend: str, only: str, conform: Conform, tmp_path: Path) -> None:
    done = probe(conform, tmp_path, "--backend", backend, "--only", only, "--json")

    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["cases"][0]["result"] in ("agrees", "deviates")


@pytest.mark.parametrize(
    ("backend", "code", "result"),
    [("exact", 0, "agrees"), ("scaled", 0, "deviates"), ("hides_nan", 0, "deviates"), ("wrong_shape", 0, "deviates"),
     ("refuses", 5, "unsupported"), ("raises", 5, "unsupported"), ("crashes", 3, "crashed"),
     ("crashes+at=compile", 3, "crashed"), ("exits", 3, "crashed"), ("converter_dies", 3, "crashed")],
)  # fmt: skip
def test_each_character_has_its_result_and_its_exit_code(
    backend: str, code: int, result: str, conform: Conform, tmp_path: Path
) -> None:
    done = probe(
        conform, tmp_path, "--backend", backend, "--only", "m*-nan", "--out", "found.json", env=fakes.as_environment()
    )

    found = {name: each["result"] for name, each in results(tmp_path).items()}
    assert done.code == code, done.stderr
    assert set(found) == {"max-nan", "min-nan", "maxpool-nan"}
    assert found["max-nan"] == result


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [(("--backend", "absent"), 6, "pip install absent"), (("--backend", "otr"), 2, "'ort'"),
     (("--backend", "ort", "--only", "nothing-like-it"), 2, "fits no case"),
     (("--backend", "ort+opt=splendid"), 2, "no value"), (("--backend", "ort,openvino"), 2, "")],
)  # fmt: skip
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...], code: int, words: str, conform: Conform, tmp_path: Path
) -> None:
    done = probe(conform, tmp_path, *arguments, env=fakes.as_environment())

    assert (done.code, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_results_that_can_not_be_kept_are_shown_all_the_same(conform: Conform, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    done = probe(conform, tmp_path, "--backend", "exact", "--only", "max-nan", env=fakes.as_environment())

    assert done.code == 4
    assert done.stdout.splitlines()[-1] == "exact: 1 case: 1 agrees"
    assert done.stderr.startswith("error: the results can't be kept")
    assert "CONFORM_CACHE" in done.stderr
