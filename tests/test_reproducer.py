"""A culprit's folder: the script finds the difference where it is, and no name of a model gets a say anywhere."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from diagnosis_samples import ENVIRONMENT, alone
from onnx import TensorProto, helper
from report_samples import HOSTILE, runtime

from sysnoise_conform import registry
from sysnoise_conform.backend import Build
from sysnoise_conform.backends.tflite_convert import lacking
from sysnoise_conform.diagnose.facts import Layer
from sysnoise_conform.diagnose.limits import limits
from sysnoise_conform.diagnose.plain_model import plain_model, with_weights
from sysnoise_conform.diagnose.reproducer import Reproduction, folder_name, write
from sysnoise_conform.diagnose.subject import CONVERTED
from sysnoise_conform.errors import BadModel
from sysnoise_conform.outcome import RuntimeFacts, TensorDiff
from sysnoise_conform.report.folder import REPRODUCER_FILES, begin_diagnosis
from sysnoise_conform.variant import parse_variant

FILES = set(REPRODUCER_FILES) - set(CONVERTED.values())
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff]")
FLOAT = TensorProto.FLOAT
FACTS = {
    "ort": RuntimeFacts(name="ONNX Runtime", version="1.31.1", device="cpu", effective_precision="fp32"),
    "openvino": RuntimeFacts(
        name="OpenVINO", version="2026.4.1-22000-abc", device="cpu", effective_precision="fp32", options={"hint": "f32"}
    ),
    "mnn": RuntimeFacts(name="MNN", version="3.6.1", device="cpu", effective_precision="fp32"),
    "tflite": RuntimeFacts(name="LiteRT", version="2.3.0", device="cpu", effective_precision="fp32"),
    "trt": RuntimeFacts(name="TensorRT", version="10.9.0", device="cuda:0", effective_precision="fp32"),
}

# Windows of 3x3 at every second place of 1..16 with a border of zeros; of the last ones a part lies beyond the border.
POOLED = np.array([[14 / 9, 30 / 9, 12 / 6], [57 / 9, 99 / 9, 36 / 6], [27 / 6, 45 / 6, 16 / 4]]).reshape(1, 1, 3, 3)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    *,
    kind: int = FLOAT,
    opset: int = 18,
    **more: Any,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(each.dtype), each.shape)
            for name, each in inputs.items()
        ],
        [helper.make_tensor_value_info(name, kind, each.shape) for name, each in outputs.items()],
        **more,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def reproduction(
    model: onnx.ModelProto,
    inputs: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    got: Mapping[str, np.ndarray],
    variant: str = "ort",
    data: Path | None = None,
    **changes: Any,
) -> Reproduction:
    parsed = parse_variant(variant)
    node = onnx.NodeProto.FromString(model.graph.node[-1].SerializeToString())
    made = plain_model(with_weights(model, data), inputs, expected, got)
    facts: dict[str, Any] = {
        "layer": Layer(index=3, node=node.name, op_type=node.op_type, output=node.output[0], attributes="axis=1"),
        "diff": alone("y", z=900.0),
        "variant": parsed,
        "runtime": FACTS.get(parsed.backend, runtime()),
        "environment": ENVIRONMENT,
    }
    return Reproduction(made=made, **{**facts, **changes})


def pooling(variant: str) -> Reproduction:
    inputs = {"x": np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)}
    expected = {"y": POOLED}
    node = helper.make_node(
        "AveragePool", ["x"], ["y"], name="pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1,
        count_include_pad=1,
    )  # fmt: skip
    attributes = "kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1"
    layer = Layer(index=0, node="pool", op_type="AveragePool", output="y", attributes=attributes)
    got = {"y": (POOLED * [[0.9, 1.2, 1.5]]).astype(np.float32)}
    return reproduction(model_of([node], inputs, expected), inputs, expected, got, variant, layer=layer)


def ran(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, folder / "repro.py"], cwd="/", capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


def converted(made: Reproduction, folder: Path) -> Reproduction:
    """With what the backend's converter makes of it, and what the backend answers."""
    folder.mkdir()
    onnx.save(made.made.model, folder / "model.onnx")
    backend = registry.load(made.variant.backend)()
    shapes = {name: array.shape for name, array in made.made.inputs.items()}
    precision = "auto" if made.variant.precision == "auto" else None
    session = backend.compile(Build(model=folder / "model.onnx", shapes=shapes, workdir=folder, precision=precision))
    got = session.run(made.made.inputs)
    name = CONVERTED.get(made.variant.backend)
    files = [path for path in folder.rglob("*") if path.name in (name, "model_float32.tflite")]
    return replace(made, made=replace(made.made, got=got), converted=files[0].read_bytes() if files else None)


RUNTIMES = {"ort": "onnxruntime", "openvino": "openvino", "tflite": "ai_edge_litert", "mnn": "MNN", "mnn:auto": "MNN"}


@pytest.mark.parametrize("variant", RUNTIMES)
def test_the_script_of_40_lines_finds_what_the_backend_does_and_no_more(tmp_path: Path, variant: str) -> None:
    """What the runtime answers here is there when it runs again; PyTorch's answer in its place is not."""
    needs(RUNTIMES[variant])
    if variant == "tflite" and lacking():
        pytest.skip(f"the converter lacks {', '.join(lacking())}")
    made = converted(pooling(variant), tmp_path / "work")
    got = made.made.got["output_0"]
    wrong = not np.allclose(got, POOLED, rtol=1e-5)
    if not wrong:  # then the limits are those of another target's error
        made = replace(made, made=pooling(variant).made)
    folder = write(made, tmp_path / "it")

    code, said = ran(folder)

    assert code == int(wrong), said
    assert f"the difference is {'there' if wrong else 'not there'}" in said
    assert "output_0 float32 [1, 1, 3, 3]: max abs difference" in said
    assert len((folder / "repro.py").read_text().splitlines()) <= 40
    if wrong:
        np.savez(folder / "expected.npz", output_0=got.astype(np.float64))
        code, said = ran(folder)
        assert (code, "the difference is not there" in said) == (0, True), said


@pytest.mark.parametrize("variant", ["ort", "openvino", "tflite", "mnn"])
def test_several_inputs_and_outputs_are_not_mixed_up(tmp_path: Path, variant: str) -> None:
    """Twelve of each: by name `input_10` comes before `input_2`."""
    needs(RUNTIMES[variant])
    if variant == "tflite" and lacking():
        pytest.skip(f"the converter lacks {', '.join(lacking())}")
    inputs = {f"x{n}": np.full((1, 2, 2, 3), n, np.float32) for n in range(12)}
    expected = {f"y{n}": -array for n, array in enumerate(inputs.values())}
    nodes = [helper.make_node("Neg", [f"x{n}"], [f"y{n}"]) for n in range(12)]
    made = reproduction(model_of(nodes, inputs, expected), inputs, expected, {}, variant)

    code, said = ran(write(converted(made, tmp_path / "work"), tmp_path / "it"))

    assert (code, said.count("max abs difference 0,")) == (0, 12), said


@pytest.mark.parametrize("variant", ["ort", "openvino", "mnn"])
def test_indices_are_whole_numbers_in_the_script_too(tmp_path: Path, variant: str) -> None:
    needs(RUNTIMES[variant])
    inputs = {"x": np.arange(12, dtype=np.float32).reshape(3, 4), "i": np.array([2, 0], np.int64)}
    expected = {"y": inputs["x"][inputs["i"]]}
    made = reproduction(
        model_of([helper.make_node("Gather", ["x", "i"], ["y"])], inputs, expected), inputs, expected, {}, variant
    )
    folder = write(converted(made, tmp_path / "work"), tmp_path / "it")

    code, said = ran(folder)

    assert code == 0, said
    assert len((folder / "repro.py").read_text().splitlines()) <= 44


@pytest.mark.parametrize("variant", ["trt", "weird"])
def test_a_runtime_that_is_not_there_is_no_difference(tmp_path: Path, variant: str) -> None:
    if variant == "trt" and shutil.which("nvidia-smi"):
        pytest.skip("there is an NVIDIA GPU here")
    code, said = ran(write(pooling(variant), tmp_path / "it"))
    assert (code, "this could not run" in said) == (2, True)


@pytest.mark.parametrize(
    ("variant", "there", "not_there"),
    [
        ("openvino", '"INFERENCE_PRECISION_HINT": "f32"', "bf16"),
        ("openvino:auto", "# its own choice of precision", '"INFERENCE_PRECISION_HINT": "'),
        ("openvino@gpu.1+hint=f16", 'compile_model("model.onnx", "GPU.1", config)', "f32"),
        ("ort", "ORT_ENABLE_ALL", "ORT_DISABLE_ALL"),
        ("ort+opt=disable", "ORT_DISABLE_ALL", "ORT_ENABLE_ALL"),
        ("ort@cuda.1", '("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0"})', "CPUExecutionProvider"),
        ("ort:auto@cuda", '("CUDAExecutionProvider", {})', "use_tf32"),
        ("mnn", "PrecisionMode.High", "PrecisionMode.Normal"),
        ("mnn+winograd=on", "PrecisionMode.High", "set_hint"),
        ("mnn:auto", "PrecisionMode.Normal", "set_hint"),
        ("tflite+delegate=none", "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "AUTO"),
        ("trt", "clear_flag(trt.BuilderFlag.TF32)", "device), 1)"),
        ("ort:tf32@cuda", '"use_tf32": "1"', "CPUExecutionProvider"),
        ("mnn+hint=low", '"precision": "low"', "PrecisionMode.High"),
        ("trt:tf32", "STRONGLY_TYPED", "clear_flag"),
        ("trt+hint=fp16", "config.set_flag(trt.BuilderFlag.FP16)", "STRONGLY_TYPED"),
        ("trt:auto@1", "cuDeviceGet(ctypes.byref(device), 1)", "clear_flag"),
    ],
)
def test_the_options_of_the_variant_are_in_the_script(tmp_path: Path, variant: str, there: str, not_there: str) -> None:
    source = (write(pooling(variant), tmp_path / "it") / "repro.py").read_text()
    body = source[source.index("try:") : source.index("except")]
    assert there in body
    assert not_there not in body


def test_of_tensorrt_rtx_either_name_of_its_bindings_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FACTS, "trt", replace(FACTS["trt"], name="TensorRT-RTX", version="1.7.1"))
    source = (write(pooling("trt"), tmp_path / "it") / "repro.py").read_text()
    assert "import tensorrt_rtx as trt" in source
    assert "import tensorrt_rtx_bindings as trt" in source
    ast.parse(source)


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("ort", "intra_op_num_threads = 2"),
        ("openvino", '"INFERENCE_NUM_THREADS": 2'),
        ("tflite", "num_threads=2"),
        ("mnn", '"thread_num": 2'),
    ],
)
def test_threads_that_were_asked_for_are_in_the_script(tmp_path: Path, variant: str, words: str) -> None:
    made = pooling(variant)
    assert words in (write(made, tmp_path / "two") / "repro.py").read_text()
    free = replace(made, environment={**ENVIRONMENT, "threads": 0})
    assert words not in (write(free, tmp_path / "free") / "repro.py").read_text()


@pytest.mark.parametrize("variant", ["ort", "openvino", "openvino:auto", "tflite", "mnn", "trt", "weird"])
def test_the_script_is_short_plain_python_with_its_versions_in_its_head(tmp_path: Path, variant: str) -> None:
    folder = write(pooling(variant), tmp_path / "it")
    source = (folder / "repro.py").read_text()
    tree = ast.parse(source)
    head = " ".join((ast.get_docstring(tree) or "").split())
    assert source.isascii()
    assert max(map(len, source.splitlines())) <= 120
    assert len(source.splitlines()) <= (62 if variant == "trt" else 40)
    assert "AveragePool" in head
    assert FACTS.get(variant.partition(":")[0], runtime()).version[:6] in head
    assert {each.name for each in folder.iterdir()} == FILES


def test_the_text_for_a_tracker_has_versions_flags_attributes_and_numbers(tmp_path: Path) -> None:
    text = (write(pooling("openvino"), tmp_path / "it") / "README.md").read_text()
    for words in (
        "# AveragePool: OpenVINO 2026.4.1 differs from PyTorch",
        "| runtime | `OpenVINO 2026.4.1-22000-abc` |",
        "avx2 fma avx512f avx512_bf16",
        "`AveragePool`, opset `ai.onnx 18`",
        "ceil_mode=1, count_include_pad=1",
        "| `input_0` in inputs.npz | `x` | `float32` | `[1, 1, 4, 4]` |",
        "9 of 9 elements differ. Worst at [0, 0, 1, 2]: expected `6.0`, got `9.0`",
        "pip install numpy openvino==2026.4.1",
        "python repro.py",
        "900 times what correct arithmetic",
    ):
        assert words in text
    named = replace(pooling("openvino"), tensors={"x": "features", "y": "pooled"})
    table = (write(named, tmp_path / "named") / "README.md").read_text()
    assert "| `output_0` in expected.npz | `pooled` |" in table


def test_the_arrays_have_plain_names_and_load_without_pickle(tmp_path: Path) -> None:
    folder = write(pooling("ort"), tmp_path / "it")
    with np.load(folder / "inputs.npz", allow_pickle=False) as file:
        assert list(file) == ["input_0"]
    with np.load(folder / "expected.npz", allow_pickle=False) as file:
        assert np.array_equal(file["output_0"], POOLED)
    onnx.checker.check_model(onnx.load(folder / "model.onnx"), full_check=True)


def test_hostile_names_are_data_and_the_script_still_runs(tmp_path: Path) -> None:
    names = [each.replace("\ud800", "") for each in HOSTILE.values()]
    nasty = " ".join(names)
    inputs = {f"{name}0": np.full((2, 3), at, np.float32) for at, name in enumerate(names)}
    total = np.sum(list(inputs.values()), axis=0)
    node = helper.make_node("Sum", list(inputs), [nasty], name=nasty)
    model = model_of([node], inputs, {nasty: total})
    facts = RuntimeFacts(name=nasty, version=nasty, device=nasty, effective_precision=nasty, options={nasty: nasty})
    made = reproduction(
        model, inputs, {nasty: total.astype(np.float64)}, {nasty: total * 1.5},
        layer=Layer(index=0, node=nasty, op_type=nasty, output=nasty, attributes=nasty, block=(nasty, nasty)),
        runtime=facts, environment={**ENVIRONMENT, "cpu": nasty, "cpu_flags": [nasty], "python": nasty, nasty: nasty},
    )  # fmt: skip
    folder = write(made, tmp_path / folder_name(1, nasty))
    assert folder.name == "culprit-1-operator"
    assert {each.name for each in folder.iterdir()} == FILES
    assert ran(folder)[0] == 0
    text, source = (folder / "README.md").read_text(), (folder / "repro.py").read_text()
    assert CONTROLS.findall(text + source) == []
    assert HOSTILE["long"] not in text + source
    outside = re.sub(r"`[^`\n]*`", "", text)
    assert "`" not in outside
    title, *rest = outside.splitlines()
    assert re.fullmatch(r"# operator: [A-Za-z0-9.+ -]+ differs from PyTorch", title)
    for word in ("passwd", "evil", "alert", "@team", "](", "<", "not red"):
        assert word not in "\n".join(rest), word
    assert ast.get_docstring(ast.parse(source)) is not None


@pytest.mark.parametrize(
    ("op_type", "name"),
    [
        ("AveragePool", "culprit-1-averagepool"),
        ("Conv", "culprit-1-conv"),
        ("FusedConv", "culprit-1-operator"),
        ("../../etc", "culprit-1-operator"),
        ("", "culprit-1-operator"),
    ],
)
def test_a_folder_is_named_after_an_operator_that_onnx_knows(tmp_path: Path, op_type: str, name: str) -> None:
    assert folder_name(1, op_type) == name
    begin_diagnosis(tmp_path)
    write(pooling("ort"), tmp_path / name)
    begin_diagnosis(tmp_path)
    assert not (tmp_path / name).exists()


def test_a_block_whose_bodies_capture_its_inputs_and_whose_names_are_ours_already(tmp_path: Path) -> None:
    """The model's own `output_0` is an inner tensor; an If's branches read the block's input from outside."""
    x = np.array([1.0, -2.0, 3.0], np.float32)
    branches = {}
    for word, op in (("then", "Relu"), ("else", "Neg")):
        made = helper.make_tensor_value_info(f"{word}_y", FLOAT, [3])
        node = helper.make_node(op, ["x"], [made.name])
        branches[f"{word}_branch"] = helper.make_graph([node], word, [], [made])
    nodes = [
        helper.make_node("If", ["c"], ["output_0"], name="if", **branches),
        helper.make_node("Exp", ["output_0"], ["y"], name="exp"),
        helper.make_node("Add", ["y", "x"], ["z"], name="add"),
    ]
    inputs = {"c": np.array(True), "x": x}
    expected = {"y": np.exp(np.maximum(x, 0.0)), "z": np.exp(np.maximum(x, 0.0)) + x}
    model = model_of(nodes, inputs, expected)
    folder = write(reproduction(model, inputs, expected, {"y": expected["y"], "z": expected["z"] * 2}), tmp_path / "it")
    code, said = ran(folder)
    assert code == 0, said
    assert "`z`" in (folder / "README.md").read_text()
    assert sorted(np.load(folder / "expected.npz")) == ["output_0_2", "output_1"]


def test_weights_that_lie_in_another_file_go_into_the_model(tmp_path: Path) -> None:
    x = np.ones((2, 2), np.float32)
    weights = onnx.numpy_helper.from_array(np.full((2, 2), 3.0, np.float32), "w")
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": x}, {"y": x}, initializer=[weights])
    (tmp_path / "data").mkdir()
    onnx.save(
        model, tmp_path / "data" / "m.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin"
    )  # fmt: skip
    outside = onnx.load(tmp_path / "data" / "m.onnx", load_external_data=False)
    with pytest.raises(BadModel, match="other files"):
        reproduction(outside, {"x": x}, {"y": np.full((2, 2), 6.0)}, {"y": x})
    made = reproduction(outside, {"x": x}, {"y": np.full((2, 2), 6.0)}, {"y": x}, data=tmp_path / "data")
    code, said = ran(write(made, tmp_path / "it"))
    assert code == 0, said


def test_words_and_whole_numbers_are_compared_as_such(tmp_path: Path) -> None:
    words = np.array([["a", "bc"]], object)
    node = helper.make_node("StringConcat", ["x", "x"], ["y"])
    right = np.array([["aa", "bcbc"]], object)
    inputs = {"x": words}
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.STRING, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [1, 2])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    made = reproduction(model, inputs, {"y": right}, {"y": words}, diff=replace(alone("y", z=1.0), dtype="STRING"))
    code, said = ran(write(made, tmp_path / "words"))
    assert code == 0, said
    expected, got = {"output_0": words.astype(str)}, {"output_0": right.astype(str)}
    wrong = replace(made, made=replace(made.made, expected=expected, got=got))
    code, said = ran(write(wrong, tmp_path / "wrong"))
    assert code == 1, said


def diff_of(dtype: str = "FLOAT") -> TensorDiff:
    return replace(alone("y", z=1.0), dtype=dtype)


def test_the_limit_lies_between_rounding_and_what_was_measured() -> None:
    right = np.ones((4, 4))
    rms, most = limits(right, right + 1e-2, diff_of())
    assert 1e-6 < rms < 1e-3
    assert 1e-6 < most < 1e-3


def test_one_wrong_element_is_found_by_its_size() -> None:
    right = np.ones((1000, 1000))
    wrong = right.copy()
    wrong[3, 4] += 1e-5
    rms, most = limits(right, wrong, diff_of())
    assert rms == math.inf
    assert 1e-7 < most < 1e-5


def test_nan_on_one_side_is_a_difference_and_equal_nan_is_none() -> None:
    right = np.array([1.0, np.nan, np.inf])
    assert limits(right, right, diff_of()) == (math.inf, math.inf)
    assert max(limits(right, np.array([1.0, 2.0, np.inf]), diff_of())) < 1e-3


def test_another_shape_and_nothing_at_all_need_no_limit() -> None:
    assert limits(np.ones(3), np.ones(4), diff_of()) == (math.inf, math.inf)
    assert limits(np.ones(0), np.ones(0), diff_of()) == (math.inf, math.inf)
    assert limits(np.ones(3), None, diff_of()) == (math.inf, math.inf)


def test_whole_numbers_have_no_rounding() -> None:
    rms, most = limits(np.array([1, 2, 3]), np.array([1, 2, 4]), diff_of("INT64"))
    assert 0 < rms < 1
    assert 0 < most < 1


def test_the_limits_are_literals(tmp_path: Path) -> None:
    source = (write(pooling("ort"), tmp_path / "it") / "repro.py").read_text()
    (line,) = [each for each in source.splitlines() if each.startswith("limits")]
    told = json.loads(re.sub(r"[()]", lambda each: {"(": "[", ")": "]"}[each[0]], line[9 : line.index("  #")]))
    assert list(told) == ["output_0"]
    assert all(1e-6 < each < 1.0 for each in told["output_0"])
