"""TFLite's own reduced precisions: what each one is, and what it asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import build_of, graph
from precisions import network, sample

from sysnoise_conform.backend import Build
from sysnoise_conform.backends import tflite
from sysnoise_conform.backends.tflite import TFLite
from sysnoise_conform.backends.tflite_convert import Converted, lacking, to_tflite
from sysnoise_conform.errors import BadInput, ConformError, Unsupported, UsageError

pytest.importorskip("ai_edge_litert")
if lacking():
    pytest.skip("onnx2tf is not whole", allow_module_level=True)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """The network in TFLite's float32: one real conversion, from which every hint starts."""
    folder = tmp_path_factory.mktemp("fp32")
    build = build_of(network("fp32"), folder, {"x": sample()})
    return to_tflite(build.model, build.shapes, folder / "converted")


@pytest.fixture
def exact(converted: Converted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> np.ndarray:
    monkeypatch.setattr(tflite, "to_tflite", lambda *_: converted)
    return TFLite().compile(build_of(network("fp32"), tmp_path, {"x": sample()})).run({"x": sample()})["y"]


def calibration(folder: Path, **inputs: np.ndarray) -> str:
    folder.mkdir(exist_ok=True)
    np.savez(folder / "0.npz", **inputs)
    return str(folder)


@pytest.mark.parametrize(("hint", "precision", "least", "most"), [
    ("fp16", "fp16", 1e-6, 2e-3), ("weights_int8", "fp32", 1e-5, 1e-2), ("dynamic_int8", "int8 dynamic", 1e-5, 2e-2),
    ("int8", "int8", 1e-5, 3e-2), ("int16x8", "int16", 1e-5, 1e-2),
])  # fmt: skip
def test_each_hint_is_what_it_says_and_costs_what_it_may(
    tmp_path: Path, exact: np.ndarray, hint: str, precision: str, least: float, most: float
) -> None:
    if hint != "fp16":
        pytest.importorskip("ai_edge_quantizer")
    options = {"hint": hint, "calibration": calibration(tmp_path / "samples", x=sample())}
    session = TFLite().compile(build_of(network("fp32"), tmp_path, {"x": sample()}, options=options))
    got = session.run({"x": sample()})["y"]
    assert got.dtype == np.float32
    assert least < np.abs(got - exact).max() < most
    assert precision in session.effective.precision
    assert session.effective.options["hint"] == hint
    assert max(session.effective.shares["flops"], key=lambda word: session.effective.shares["flops"][word]) == precision


@pytest.mark.parametrize("hint", ["int8", "int16x8"])
def test_a_product_with_constant_weights_is_computed(tmp_path: Path, hint: str) -> None:
    pytest.importorskip("ai_edge_quantizer")
    model = graph("g (float[4,16] x) => (float[4,8] y) { y = MatMul(x, w) }")
    draw = np.random.default_rng(3)
    weight, x = (draw.normal(size=shape).astype(np.float32) for shape in ((16, 8), (4, 16)))
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    options = {"hint": hint, "calibration": calibration(tmp_path / "samples", x=x)}
    got = TFLite().compile(build_of(model, tmp_path, {"x": x}, options=options)).run({"x": x})["y"]
    assert np.linalg.norm(got - x @ weight) < 0.02 * np.linalg.norm(x @ weight)


@pytest.mark.parametrize(("inputs", "said"), [
    (None, "needs samples to calibrate on"), ({}, "calibration file '0.npz' lacks it"),
    ({"x": np.zeros((1, 4, 8, 9), np.float32)}, r"'x' is \(1, 4, 8, 8\), the .* has it as \(1, 4, 8, 9\)"),
    ({"x": np.full((1, 4, 8, 8), np.nan, np.float32)}, "holds NaN or Inf in 'x'"),
])  # fmt: skip
def test_calibration_that_can_not_serve_is_refused(
    tmp_path: Path, inputs: dict[str, np.ndarray] | None, said: str
) -> None:
    pytest.importorskip("ai_edge_quantizer")
    options = {"hint": "int8"}
    if inputs is not None:
        options["calibration"] = calibration(tmp_path / "samples", **inputs)
    with pytest.raises(BadInput if inputs is not None else UsageError, match=said) as caught:
        TFLite().compile(build_of(network("fp32"), tmp_path, {"x": sample()}, options=options))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_places_that_hold_no_samples_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    for place, said in (
        ("samples", "absolute path"), (str(tmp_path / "gone"), "no .npz file"),
        (str(tmp_path / "broken.npz"), "'broken.npz' can't be read"),
    ):  # fmt: skip
        build = build_of(network("fp32"), tmp_path, {"x": sample()}, options={"hint": "int8", "calibration": place})
        with pytest.raises(ConformError, match=said) as caught:
            TFLite().compile(build)
        assert caught.value.exit_code == 2


def test_a_deployed_file_takes_no_hint(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="has its precision already"):
        TFLite().compile(Build(model=tmp_path / "any.tflite", format="tflite", options={"hint": "int8"}))
