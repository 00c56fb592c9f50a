"""`conform diagnose --deployed` of what is no ONNX file: the culprit by its native tensors, and what can't be done."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from diagnose.small import network

from sysnoise_conform.backends.tflite_convert import lacking, to_tflite

DENSE = """
dense (float[4,8] x) => (float[4,5] y) {
  a = MatMul (x, w)
  b = Tanh (a)
  c = MatMul (b, v)
  d = Sigmoid (c)
  e = MatMul (d, u)
  y = Tanh (e)
}
"""


def diagnosed(conform: Any, *arguments: Any) -> tuple[Any, dict[str, Any]]:
    done = conform("diagnose", *arguments, "--samples", 1, "--prove")
    path = done.out.with_name("conform-diagnosis") / "diagnosis.json"
    return done, json.loads(path.read_text()) if path.is_file() else {}


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {name: rng.standard_normal(shape) / 2 for name, shape in shapes.items()}


def said_plainly(notes: Iterable[str], suffix: str) -> bool:
    (note,) = [each for each in notes if suffix in each]
    return "can't be taken apart or changed" in note and "no reproducer" in note


@pytest.mark.skipif(bool(lacking()), reason="onnx2tf is not installed")
def test_the_operator_of_a_tflite_file_is_named(conform, tmp_path: Path) -> None:
    given = weights(w=(8, 6), v=(6, 6), u=(6, 5))
    onnx.save(network(DENSE, given), tmp_path / "model.onnx")
    onnx.save(network(DENSE, {**given, "v": 1.01 * given["v"]}), tmp_path / "wrong.onnx")
    shipped = to_tflite(tmp_path / "wrong.onnx", {"x": (4, 8)}, tmp_path / "converted").path

    done, found = diagnosed(
        conform, "--model", tmp_path / "model.onnx", "--backend", "tflite", "--deployed", shipped,
        "--map", "x=t_in_0", "--map", "y=t_out_0",
    )  # fmt: skip

    assert done.code == 1, done.stdout + done.stderr
    (culprit,) = found["culprits"]
    assert (culprit["output"], culprit["method"], culprit["kind"]) == ("c", "replay", "scale")
    assert found["coverage"] == 1
    assert said_plainly(found["notes"], ".tflite")


def test_names_and_layouts_without_a_deployed_file_are_refused(conform, tmp_path: Path) -> None:
    onnx.save(network(DENSE, weights(w=(8, 6), v=(6, 6), u=(6, 5))), tmp_path / "model.onnx")

    done = conform("diagnose", "--model", tmp_path / "model.onnx", "--backend", "ort", "--map", "x=y")

    assert done.code == 2
    assert "add --deployed FILE" in done.stderr
