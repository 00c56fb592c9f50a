"""TensorRT's session on a stand-in of its documented interface: memory, debug tensors, profiles, flags, rebuilds.

The real library is in test_backend_tensorrt_build.py, as far as it goes without a GPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import build_of, graph, ramp

from sysnoise_conform.backends import cuda
from sysnoise_conform.backends.tensorrt import TensorRT
from sysnoise_conform.errors import Unsupported

DENSE = "g (float[n,3] x) => (float[n,3] y) { a = Mul(x, x) b = Add(a, x) c = Tanh(b) y = Sub(c, x) }"


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in as `tensorrt`, and a driver whose GPU memory is host memory."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "standin"))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    import tensorrt  # type: ignore[import-not-found,unused-ignore]

    monkeypatch.setattr(cuda, "driver", tensorrt.Driver)
    yield tensorrt
    sys.modules.pop("tensorrt", None)


def inner(x: np.ndarray) -> dict[str, np.ndarray]:
    return {"a": x * x, "b": x * x + x, "c": np.tanh(x * x + x)}


def test_a_run_gives_outputs_by_name_and_all_memory_back(trt: Any, tmp_path: Path) -> None:
    session = TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(2, 3)}))
    for rows in (2, 5, 2):  # each shape gets an engine of its own
        x = ramp(rows, 3)
        np.testing.assert_allclose(session.run({"x": x})["y"], inner(x)["c"] - x, atol=1e-5)
    session.close()
    session.close()
    assert not trt.MEMORY.blocks


def test_what_debug_tensors_showed_is_copied_before_it_is_overwritten(trt: Any, tmp_path: Path) -> None:
    taps = ("a", "c", "gone", "y")
    build = build_of(DENSE, tmp_path, {"x": ramp(2, 3)}, taps=taps, options={"watch": "debug"})
    session = TensorRT().compile(build)
    got = session.run({"x": ramp(2, 3)})
    assert set(got) == {"y", "a", "c"}
    for name in ("a", "c"):
        np.testing.assert_allclose(got[name], inner(ramp(2, 3))[name], atol=1e-5)
    assert session.effective.options["not_in_the_network"] == ["gone"]


def test_unfused_tensors_show_what_fusion_left(trt: Any, tmp_path: Path) -> None:
    build = build_of(DENSE, tmp_path, {"x": ramp(2, 3)}, taps=("a", "b", "c"), options={"watch": "unfused"})
    got = TensorRT().compile(build).run({"x": ramp(2, 3)})
    assert set(got) == {"y", "a", "c"}  # the stand-in fuses every second one


def test_taps_can_be_outputs_as_well(trt: Any, tmp_path: Path) -> None:
    build = build_of(DENSE, tmp_path, {"x": ramp(2, 3)}, taps=("b",), options={"watch": "outputs"})
    got = TensorRT().compile(build).run({"x": ramp(2, 3)})
    np.testing.assert_allclose(got["b"], inner(ramp(2, 3))["b"], atol=1e-5)


@pytest.mark.parametrize(("precision", "allowed"), [(None, False), ("tf32", True), ("auto", True)])
def test_tf32_is_cleared_unless_it_is_asked_for(
    trt: Any, tmp_path: Path, precision: str | None, allowed: bool
) -> None:
    session = TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(2, 3)}, precision=precision))
    (engine, _), = session._engines.values()
    assert (trt.BuilderFlag.TF32 in engine.facts["flags"]) == allowed
    assert session.effective.options["tf32"] == allowed
    assert ("TF32" in session.effective.precision) == allowed
    assert trt.BuilderFlag.DISABLE_TIMING_CACHE in engine.facts["flags"]


def test_open_sizes_get_a_profile_of_the_shapes_at_hand(trt: Any, tmp_path: Path) -> None:
    session = TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(4, 3)}))
    (engine, _), = session._engines.values()
    assert engine.facts["profiles"] == [{"x": [4, 3]}]
    fixed = TensorRT().compile(build_of(DENSE.replace("n,3", "4,3"), tmp_path, {"x": ramp(4, 3)}))
    (engine, _), = fixed._engines.values()
    assert engine.facts["profiles"] == []


def test_networks_are_strongly_typed_unless_a_flag_is_to_choose(trt: Any, tmp_path: Path) -> None:
    strong = TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(2, 3)}))
    weak = TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(2, 3)}, options={"hint": "fp16"}))
    assert strong.effective.options["strongly_typed"]
    assert strong.effective.precision == "fp32"
    assert not weak.effective.options["strongly_typed"]
    assert weak.effective.precision == "fp16"  # what the inspector says, not what was asked for
    assert weak.effective.shares == {"layers": {"fp16": 1.0}}


def test_from_11_on_there_is_no_flag_to_choose_types(
    trt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt, "__version__", "11.4.0")
    with pytest.raises(Unsupported, match=r"TensorRT 11\.4\.0 has no builder flag FP16") as caught:
        TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(2, 3)}, options={"hint": "fp16"}))
    assert "trt:fp16" in str(caught.value.hint)


def test_rebuilds_tell_how_far_two_builds_are_apart(trt: Any, tmp_path: Path) -> None:
    session = TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(2, 3)}, options={"rebuilds": "3"}))
    options = session.effective.options
    assert (options["rebuilds"], options["distinct_plans"]) == (3, 3)
    assert 2**-21 < options["rebuild_spread"]["y"] < 2**-17
    assert not trt.MEMORY.blocks


@pytest.mark.parametrize("text", ["0", "-1", "many", "1000"])
def test_a_senseless_number_of_rebuilds_is_refused(trt: Any, tmp_path: Path, text: str) -> None:
    with pytest.raises(Unsupported, match="number of builds"):
        TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(2, 3)}, options={"rebuilds": text}))


def test_every_layer_of_the_engine_is_listed_with_its_precision(trt: Any, tmp_path: Path) -> None:
    options = TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(2, 3)})).effective.options
    assert options["layers"] == ["Mul: gemm, fp32", "Add: gemm, fp32", "Tanh: gemm, fp32", "Sub: gemm, fp32"]


def test_products_of_8_bits_that_write_floats_are_integers_and_what_only_reads_codes_is_not(
    trt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def layer(kind: str, reads: str, writes: str) -> dict[str, Any]:
        return {"Name": kind, "LayerType": kind, "Inputs": [{"Name": "i", "Format/Datatype": reads}],
                "Outputs": [{"Name": "o", "Format/Datatype": writes}]}  # fmt: skip

    table = [
        layer("CaskConvolution", "Int8", "Float"), layer("CaskGemmMatrixMultiply", "Int8", "Int8"),
        layer("PointWiseV2", "Int8", "Float"), layer("CaskConvolution", "Float", "Float"),
    ]  # fmt: skip
    told = json.dumps({"Layers": table, "Bindings": []})
    monkeypatch.setattr(trt.Inspector, "get_engine_information", lambda *_: told)
    effective = TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(2, 3)})).effective
    assert effective.shares["layers"] == {"int8": 0.5, "fp32": 0.5}


@pytest.mark.parametrize(
    ("precision", "said"),
    [(None, "not read back: the engine's inspector tells no types"),
     ("auto", "not read back: the engine's inspector tells no types; TF32 allowed")],
)  # fmt: skip
def test_without_the_inspectors_types_the_precision_is_not_read_back_rather_than_taken_from_the_graph(
    trt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str | None, said: str
) -> None:
    names_alone = '{"Layers": ["Mul", "Add"], "Bindings": []}'  # an engine that was built with less verbosity
    monkeypatch.setattr(trt.Inspector, "get_engine_information", lambda *_: names_alone)
    effective = TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(2, 3)}, precision=precision)).effective
    assert effective.precision == said
    assert not any(effective.shares.values())
    assert effective.options["layers"] == ["Mul", "Add"]


def test_what_passes_between_layers_is_told(trt: Any, tmp_path: Path) -> None:
    session = TensorRT().compile(build_of(DENSE, tmp_path, {"x": ramp(2, 3)}))
    assert session.optimised().tensors == ("a", "b", "c", "y")


def test_a_missing_input_is_an_error_and_leaves_no_memory_behind(trt: Any, tmp_path: Path) -> None:
    model = graph("g (float[2] x, float[2] z) => (float[2] y) { y = Add(x, z) }")
    session = TensorRT().compile(build_of(model, tmp_path, {"x": ramp(2), "z": ramp(2)}))
    with pytest.raises(Unsupported, match="'z' was not given"):
        session.run({"x": ramp(2)})
    assert not trt.MEMORY.blocks
    assert onnx.checker.check_model(model) is None
