"""What a variant asks for, what it calibrates on, and every mistake in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import graph
from onnx import numpy_helper
from precision_models import calibrated, int8, opened

from sysnoise_conform import registry
from sysnoise_conform.case import Case, Limits
from sysnoise_conform.errors import BadInput, ConformError, UsageError
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.inputs import Samples, load_samples
from sysnoise_conform.precision.calibration import Calibration, calibrate, judged_too, of_judged, split
from sysnoise_conform.precision.convert import convert
from sysnoise_conform.precision.presets import OBSERVERS, PRESETS
from sysnoise_conform.precision.recipe import Recipe, recipe_of, with_preset
from sysnoise_conform.runner import calibrating
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.pytorch import PyTorch
from sysnoise_conform.variant import parse_variant, parse_variants


@pytest.fixture
def model(tmp_path: Path) -> Model:
    proto = graph("g (float[1,2] x) => (float[1,2] y) { h = MatMul(x, w) y = Relu(h) }")
    proto.graph.node[0].name = "product"
    proto.graph.initializer.append(numpy_helper.from_array(np.eye(2, dtype=np.float32), "w"))
    return opened(proto, tmp_path)


def _folder(path: Path, count: int) -> Path:
    path.mkdir()
    for number in range(count):
        np.savez(path / f"{number:02}.npz", x=np.full((1, 2), number + 1, np.float32))
    return path


def _samples(model: Model, inputs: Path, samples: int | None = None) -> Samples:
    return load_samples(model, inputs=inputs, card=None, samples=samples, seed=0, shapes={})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ort", None), ("ort:fp32", None), ("trt:tf32", None), ("openvino:auto", None),
        ("ort:fp16", "fp16"), ("tflite:bf16", "bf16"),
        ("ort:int8", "int8 (preset ort, observer minmax)"),
        ("trt:int8", "int8 (preset tensorrt, observer entropy)"),
        ("openvino:int8", "int8 (preset openvino, observer mean)"),
        ("tflite:int8", "int8 (preset tflite, observer minmax)"),
        ("ort:int8+preset=qnn+observer=mse", "int8 (preset qnn, observer mse)"),
    ],
)  # fmt: skip
def test_a_variant_says_its_recipe(text: str, expected: str | None) -> None:
    recipe = recipe_of(parse_variant(text))
    assert (recipe and str(recipe)) == expected


def test_equal_recipes_are_one_and_print_to_json() -> None:
    first = recipe_of(parse_variant("ort:int8+preset=tflite"), ["a", "b", "a"])
    assert first == recipe_of(parse_variant("tflite:int8"), ["a", "b"])
    assert first is not None
    assert json.loads(json.dumps(first.record())) == {
        "precision": "int8", "preset": "tflite", "observer": "minmax", "keep_fp32": ["a", "b"],
    }  # fmt: skip
    assert first.options("data/") == ("--keep-fp32", "a", "--keep-fp32", "b", "--calibration", "data/")
    assert str(first) == "int8 (preset tflite, observer minmax, 2 nodes kept in float32)"


def test_all_presets_are_one_variant_each_and_leave_the_others_alone() -> None:
    found = with_preset(parse_variants("ort,ort:int8,openvino:int8+preset=qnn"), "all")
    assert [str(each) for each in found] == [
        "ort", *(f"ort:int8+preset={name}" for name in PRESETS), "openvino:int8+preset=qnn",
    ]  # fmt: skip
    (one,) = with_preset(parse_variants("tflite:int8"), "snpe")
    assert str(one) == "tflite:int8+preset=snpe"
    for each in (*found, one):
        registry.check(each)


def test_every_backend_takes_preset_and_observer_with_int8_and_its_runtime_sees_neither() -> None:
    for name in registry.names():
        variant = parse_variant(f"{name}:int8+preset=qnn+observer=mse+threads=2")
        registry.check(variant)
        assert registry.runtime_options(variant) == {"threads": "2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ort:int8+preset=tensort", "'tensort' is no value for ort+preset; did you mean 'tensorrt'"),
        ("ort:int8+observer=entropi", "'entropi' is no value for ort+observer; did you mean 'entropy'"),
        ("ort:fp16+preset=qnn", "+preset goes with int8 alone"),
        ("openvino+observer=mse", "+observer goes with int8 alone"),
    ],
)
def test_a_typo_in_a_preset_is_told_with_the_nearest(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("+", r"\+")):
        registry.check(parse_variant(text))


def test_every_preset_names_a_known_observer_and_its_source() -> None:
    for name, preset in PRESETS.items():
        assert preset.observer in OBSERVERS, name
        assert preset.about
        assert preset.source


def _one_line(error: ConformError) -> None:
    assert "\n" not in str(error)
    assert error.exit_code == 2
    assert error.hint


def test_a_node_to_keep_that_is_not_there_is_told_with_the_nearest(model: Model) -> None:
    with pytest.raises(UsageError, match="no such node; did you mean 'product'") as told:
        convert(model, Recipe(precision="fp16", keep_fp32=("produkt",)))
    _one_line(told.value)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_a_model_with_nothing_for_the_precision_is_bad_input(tmp_path: Path, precision: str) -> None:
    model = opened(graph("g (int64[n] x) => (int64[n] y) { y = Neg(x) }"), tmp_path)
    with pytest.raises(BadInput, match=f":{precision} finds nothing .*: its operators are Neg") as told:
        convert(model, int8() if precision == "int8" else Recipe(precision=precision), {})
    _one_line(told.value)


def test_an_operator_that_the_precision_cannot_represent_is_named_with_the_reason(tmp_path: Path) -> None:
    proto = graph("g (float[1,n,4] b, float[1,1,n] s) => (int64[m,3] y) { y = NonMaxSuppression(b, s) }")
    with pytest.raises(BadInput, match=r"\(type: opset 17 of NonMaxSuppression has no fp16\)") as told:
        convert(opened(proto, tmp_path), Recipe(precision="fp16"))
    _one_line(told.value)


def test_a_quantised_model_is_not_quantised_again(tmp_path: Path) -> None:
    proto = graph(
        "g (float[n] x) => (float[n] y) <float s = {0.1}> { q = QuantizeLinear(x, s) y = DequantizeLinear(q, s) }"
    )
    with pytest.raises(UsageError, match="is quantised already") as told:
        convert(opened(proto, tmp_path), int8(), {})
    _one_line(told.value)


def test_int8_without_ranges_says_what_it_lacks(model: Model) -> None:
    with pytest.raises(UsageError, match="nothing was calibrated") as told:
        convert(model, int8())
    _one_line(told.value)


def test_an_opset_that_the_model_cannot_be_brought_to_says_how_to_export(tmp_path: Path) -> None:
    proto = graph(
        "g (float[1,2] x) => (float[1,2] y) <float[2] s = {1.0,1.0}, float[2] o = {0.0,0.0}> "
        "{ y = BatchNormalization<spatial=0>(x, s, o, o, s) }", opset=8,
    )  # fmt: skip
    with pytest.raises(BadInput, match="needs opset 22, the model is of opset 8 and can't be brought there") as told:
        convert(opened(proto, tmp_path), Recipe(precision="bf16"))
    _one_line(told.value)


def test_calibration_with_nan_names_the_sample_and_the_input(model: Model, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "data", 2)
    np.savez(folder / "01.npz", x=np.array([[np.nan, np.inf]], np.float32))
    with pytest.raises(BadInput, match=r"'01\.npz' holds 2 NaN or infinities in input 'x'") as told:
        calibrate(Calibration(samples=_samples(model, folder), origin="given"), model, lambda feed: {})
    _one_line(told.value)


def test_an_empty_calibration_set_is_told(model: Model, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    judged = _samples(model, _folder(tmp_path / "data", 2))
    case = Case(model=model.path, variants=())
    with pytest.raises(BadInput, match="no arrays and no pictures") as told:
        calibrating.choose(case, model, None, judged, tmp_path / "none")
    _one_line(told.value)
    empty = Samples(kind="arrays", names=(), sha256="", make=dict)
    with pytest.raises(BadInput, match="calibration set is empty"):
        calibrate(Calibration(samples=empty, origin="given"), model, lambda feed: {})


def test_calibration_of_a_wrong_shape_is_told(model: Model, tmp_path: Path) -> None:
    judged = _samples(model, _folder(tmp_path / "data", 2))
    np.savez(tmp_path / "wrong.npz", x=np.zeros((1, 3), np.float32))
    with pytest.raises(BadInput, match=r"shape \[1, 3\]"):
        calibrating.choose(Case(model=model.path, variants=()), model, None, judged, tmp_path / "wrong.npz")


def test_one_sample_cannot_be_judged_and_calibrated_on(model: Model, tmp_path: Path) -> None:
    judged = _samples(model, _folder(tmp_path / "data", 1))
    with pytest.raises(BadInput, match="there is one sample") as told:
        calibrating.choose(Case(model=model.path, variants=()), model, None, judged, None)
    _one_line(told.value)


@pytest.mark.parametrize(("count", "held"), [(2, 1), (3, 1), (9, 4), (31, 15), (32, 16), (500, 16)])
def test_what_calibrates_is_never_judged(model: Model, tmp_path: Path, count: int, held: int) -> None:
    samples = _samples(model, _folder(tmp_path / "data", count))
    judged, out = split(samples)
    assert (len(judged), len(out)) == (count - held, held)
    assert sorted((*judged.names, *out.names)) == sorted(samples.names)
    assert judged.sha256 != samples.sha256 != out.sha256
    for part in (judged, out):
        for number, name in enumerate(part.names):
            assert part.feed(number)["x"][0, 0] == int(name[:2].rstrip(".")) + 1 or count > 99


def test_samples_beyond_those_asked_for_calibrate(model: Model, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "data", 20)
    case = Case(model=model.path, variants=(), inputs=folder, samples=2)
    judged, calibration = calibrating.choose(case, model, None, _samples(model, folder, 2), None)
    assert judged.names == ("00.npz", "01.npz")
    assert calibration.samples.names == tuple(f"{number:02}.npz" for number in range(2, 18))
    assert calibration.record()["origin"] == "split"


def test_synthetic_calibration_goes_on_where_the_judged_samples_end(model: Model) -> None:
    judged = load_samples(model, inputs=None, card=None, samples=3, seed=0, shapes={})
    same, calibration = calibrating.choose(Case(model=model.path, variants=()), model, None, judged, None)
    assert same is judged
    assert calibration.samples.names == tuple(f"synthetic {number}" for number in range(3, 19))
    assert judged_too(calibration.samples, judged) == ()


def test_given_calibration_is_taken_whole_and_what_is_judged_as_well_is_told(model: Model, tmp_path: Path) -> None:
    judged = _samples(model, _folder(tmp_path / "data", 3))
    other = _folder(tmp_path / "calibration", 20)
    _, calibration = calibrating.choose(Case(model=model.path, variants=()), model, None, judged, other)
    assert len(calibration.samples) == 20
    assert calibration.record()["judged_too"] == ["00.npz", "01.npz", "02.npz"]


def test_extremes_of_the_judged_samples_serve_floats(model: Model, tmp_path: Path) -> None:
    found = of_judged(_samples(model, _folder(tmp_path / "data", 3)), most=2)
    assert (found.origin, found.judged_too) == ("judged", ("00.npz", "01.npz"))


def test_one_pass_over_the_samples_serves_every_preset_and_observer(model: Model, tmp_path: Path) -> None:
    samples = _samples(model, _folder(tmp_path / "data", 4))
    asked = []
    here = calibrated(model, [samples.feed(0)])

    def ask(feed: dict[str, np.ndarray]) -> object:
        asked.append(feed)
        return here

    ranges = calibrate(Calibration(samples=samples, origin="given"), model, ask)  # type: ignore[arg-type]
    for preset in PRESETS:
        for observer in OBSERVERS:
            onnx.checker.check_model(convert(model, int8(preset, observer), ranges).proto)
    assert len(asked) == 4


def test_pytorchs_child_sees_what_this_process_sees(model: Model, tmp_path: Path) -> None:
    samples = _samples(model, _folder(tmp_path / "data", 3))
    calibration = Calibration(samples=samples, origin="given")
    with Crew(Limits()) as crew, PyTorch(crew, tmp_path) as pytorch:
        found = calibrating.measure(calibration, model, [int8("tensorrt")], pytorch, threads=1)
    here = calibrated(model, [samples.feed(number) for number in range(3)])
    assert set(found) == set(here) == {"x", "h", "y"}
    for name, each in found.items():
        assert (each.low, each.high, each.exponent) == (here[name].low, here[name].high, here[name].exponent)
        assert np.array_equal(each.counts, here[name].counts)  # type: ignore[arg-type]
