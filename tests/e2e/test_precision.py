"""Precision through the command line: what is kept, and every mistake in one line with exit code 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from graphs import graph
from onnx import numpy_helper

if TYPE_CHECKING:
    from conftest import Conform


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose squares overflow float16, and samples: good, of another shape, with NaN, none."""
    proto = graph("g (float[1,2] x) => (float[1,2] y) { h = MatMul(x, w) s = Mul(h, h) y = Sqrt(s) }")
    for node, name in zip(proto.graph.node, ("product", "square", "root"), strict=True):
        node.name = name
    proto.graph.initializer.append(numpy_helper.from_array(np.eye(2, dtype=np.float32), "w"))
    onnx.save(proto, tmp_path / "net.onnx")
    onnx.save(graph("g (int64[2] x) => (int64[2] y) { y = Neg(x) }"), tmp_path / "whole.onnx")
    for name, values in {
        "good": [[300, -2]], "other": [[1, 2]], "wide": [[1, 2, 3]], "nan": [[1, np.nan]],
    }.items():  # fmt: skip
        (tmp_path / name).mkdir()
        for number in range(3):
            np.savez(tmp_path / name / f"{number}.npz", x=np.array(values, np.float32) + number)
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_what_would_overflow_stays_in_float32_without_being_asked(conform: Conform, folder: Path) -> None:
    done = conform("run", "--model", "net.onnx", "--backends", "ort:fp16", "--inputs", "good")
    assert done.code == 0, done.stdout + done.stderr
    (first, *_) = (folder / "conform-out" / "report.jsonl").read_text().splitlines()
    (made,) = json.loads(first)["conversions"]
    kept = {each["node"]: each["why"] for each in made["record"]["kept"]}
    assert set(kept) == {"square", "root"}
    assert kept["square"].startswith("range: 's' reaches 9.12e+04")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--backends", "ort:int8+preset=tensort"), "did you mean 'tensorrt'"),
        (("--backends", "ort:int8", "--preset", "tensort"), "did you mean 'tensorrt'"),
        (("--backends", "ort:int8+observer=kl"), "'kl' is no value for ort+observer"),
        (("--backends", "ort:fp16", "--keep-fp32", "sqare"), "no such node; did you mean 'square'"),
        (("--backends", "ort:int8", "--calibration", "empty"), "no arrays and no pictures"),
        (("--backends", "ort:int8", "--calibration", "wide"), "has the shape [1, 3]"),
        (("--backends", "ort:int8", "--calibration", "nan"), "holds 1 NaN or infinities in input 'x'"),
        (("--backends", "ort:int8", "--samples", "1", "--inputs", "good/0.npz"), "there is one sample"),
        (("--backends", "ort:int8", "--model", "whole.onnx"), "finds nothing to convert"),
        (("--backends", "tflite+hint=int8"), "needs samples to calibrate on"),
        (("--backends", "tflite+hint=int8+calibration={folder}/empty"), "there is no .npz file"),
        (("--backends", "tflite+hint=int8+calibration={folder}/wide"), "has it as (1, 3)"),
        (("--backends", "tflite+hint=int16x8+calibration={folder}/nan"), "holds NaN or Inf in 'x'"),
        (("--backends", "ort,openvino:fp16", "--calibration", "good"), "--calibration is of :int8"),
        (("--backends", "ort:fp16", "--preset", "tensorrt"), "--preset is of :int8"),
        (("--backends", "ort:int8+preset=qnn", "--preset", "tensorrt"), "names its own with +preset="),
        (("--backends", "ort", "--keep-fp32", "square"), "--keep-fp32 is of :int8, :fp16 and :bf16"),
    ],
)
def test_a_mistake_costs_one_line_and_exit_code_2(
    conform: Conform, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    arguments = tuple(each.replace("{folder}", str(folder)) for each in arguments)
    given = arguments if "--model" in arguments else ("--model", "net.onnx", *arguments)
    done = conform("run", *given)
    assert done.code == 2, done.stdout + done.stderr
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("error:")]
    assert said in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", [("--calibration", "good"), ("--keep-fp32", "square")])
def test_a_diagnosis_refuses_what_it_would_not_use(conform: Conform, folder: Path, option: tuple[str, str]) -> None:
    done = conform("diagnose", "--model", "net.onnx", "--backend", "ort", *option)
    assert done.code == 2, done.stdout + done.stderr
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("error:")]
    assert f"{option[0]} is of :int8" in line
