"""TFLite: an interpreter that really works, conversions that are refused in words, deployed files as they are."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from graphs import build_of, graph, ramp
from onnx import numpy_helper

from sysnoise_conform.backend import Build
from sysnoise_conform.backends.tflite import TFLite
from sysnoise_conform.backends.tflite_convert import INSTALL, lacking, to_tflite
from sysnoise_conform.errors import Unsupported

pytest.importorskip("ai_edge_litert")
if lacking():
    pytest.skip("onnx2tf is not whole", allow_module_level=True)

SIGMOID = "g (float[N,3] x) => (float[N,3] y) { a = Exp(x) y = Tanh(a) }"


def python(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(program)],
        cwd=folder, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_an_interpreter_that_imports_but_does_not_work_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").write_text("")
    (tmp_path / "tflite_runtime" / "interpreter.py").write_text(
        "def Interpreter(**given):\n    raise SystemError('built against another numpy')\n"
    )
    said = python(
        """
        import sys
        sys.modules["ai_edge_litert"] = None
        from sysnoise_conform.backends.tflite import TFLite
        from sysnoise_conform.errors import BackendUnavailable
        try:
            TFLite().probe()
        except BackendUnavailable as why:
            print(why)
        """,
        tmp_path,
    )
    assert "tflite-runtime is installed and does not run: built against another numpy" in said
    assert "conform env create tflite" in said


def test_without_the_converter_a_deployed_file_still_runs_and_onnx_is_unavailable(tmp_path: Path) -> None:
    build = build_of(SIGMOID, tmp_path, {"x": ramp(2, 3)})
    shipped = to_tflite(build.model, build.shapes, tmp_path / "converted").path
    said = python(
        f"""
        import sys
        from pathlib import Path
        sys.modules["onnx2tf"] = None
        from sysnoise_conform.backend import Build
        from sysnoise_conform.backends.tflite import TFLite
        from sysnoise_conform.errors import BackendUnavailable
        print(TFLite().probe().details["converter"])
        print(TFLite().compile(Build(model=Path({str(shipped)!r}), format="tflite")).effective.precision)
        try:
            TFLite().compile(Build(model=Path({str(build.model)!r})))
        except BackendUnavailable as why:
            print(why)
        """,
        tmp_path,
    ).splitlines()
    assert said[0] == f"onnx2tf not installed, so only .tflite files run: {INSTALL}"
    assert said[1] == "fp32"
    expected = f"onnx2tf, the converter to TFLite, is not installed; {INSTALL}, or conform env create tflite"
    assert said[2].endswith(expected)


def test_a_converter_without_its_own_dependencies_names_what_is_lacking(tmp_path: Path) -> None:
    build = build_of(SIGMOID, tmp_path, {"x": ramp(2, 3)})
    said = python(
        f"""
        import sys
        from pathlib import Path
        sys.modules["psutil"] = None
        from sysnoise_conform.backends.tflite_convert import to_tflite
        from sysnoise_conform.errors import BackendUnavailable
        try:
            to_tflite(Path({str(build.model)!r}), {{"x": (2, 3)}}, Path("converted"))
        except BackendUnavailable as why:
            print(why)
        """,
        tmp_path,
    )
    assert "lacks psutil; pip install psutil, or conform env create tflite" in said


def test_builtin_kernels_can_be_asked_for_and_are_reported(tmp_path: Path) -> None:
    feeds = {"x": ramp(2, 3)}
    fast = TFLite().compile(build_of(SIGMOID, tmp_path / "a", feeds))
    plain = TFLite().compile(build_of(SIGMOID, tmp_path / "b", feeds, options={"delegate": "none"}))
    assert str(fast.effective.options["delegate"]).startswith("XNNPACK")
    assert plain.effective.options["delegate"] == "none"
    np.testing.assert_allclose(fast.run(feeds)["y"], plain.run(feeds)["y"], atol=1e-5)


def test_each_set_of_shapes_is_converted_once(tmp_path: Path) -> None:
    build = build_of(SIGMOID, tmp_path, {"x": ramp(1, 3)})
    session = TFLite().compile(build)
    for batch in (1, 4, 1, 4):
        assert session.run({"x": ramp(batch, 3)})["y"].shape == (batch, 3)
    assert len(list(build.workdir.iterdir())) == 2


def test_an_output_whose_shape_only_a_run_knows_comes_back_in_it(tmp_path: Path) -> None:
    # onnx2tf leaves the first axis of NonZero's result open; three dimensions make the layout open as well.
    text = """g (float[1,3,4,4] x, int64[4] size) => (float[a,b,c,d] y) { r = Relu(x) y = Reshape(r, size) }"""
    feeds = {"x": ramp(1, 3, 4, 4), "size": np.array([1, 4, 3, 4])}
    try:
        got = TFLite().compile(build_of(text, tmp_path, feeds)).run(feeds)["y"]
    except Unsupported:
        return  # refusing is right as well; another shape or order is not
    np.testing.assert_array_equal(got, np.maximum(feeds["x"], 0).reshape(1, 4, 3, 4))


def test_a_refused_conversion_is_one_line(tmp_path: Path) -> None:
    text = "g (float[2,3] x) => (bfloat16[2,3] y) { y = Cast<to=16>(x) }"
    with pytest.raises(Unsupported) as caught:
        TFLite().compile(build_of(text, tmp_path, {"x": ramp(2, 3)}))
    assert caught.value.stage == "convert"
    assert "onnx2tf can't convert the model: NotImplementedError" in caught.value.message
    assert "\n" not in caught.value.message
    assert "Traceback" not in caught.value.message


def test_an_operator_that_the_file_can_not_hold_is_named_in_onnxs_words(tmp_path: Path) -> None:
    text = """g (float[1,1,4,4] x, float[1,3,3,2] at) => (float[1,1,3,3] y) {
        r = Relu(x) [here] y = GridSample<mode="bicubic">(r, at) }"""
    with pytest.raises(Unsupported) as caught:
        TFLite().compile(build_of(text, tmp_path, {"x": ramp(1, 1, 4, 4), "at": ramp(1, 3, 3, 2)}))
    assert (caught.value.stage, caught.value.op, caught.value.node) == ("compile", "GridSample", "here")


def test_a_type_that_the_file_stores_otherwise_is_given_back_as_declared_and_told(tmp_path: Path) -> None:
    feeds = {"x": ramp(2, 3).astype(np.float16)}
    session = TFLite().compile(build_of("g (float16[2,3] x) => (float16[2,3] y) { y = Add(x, x) }", tmp_path, feeds))
    assert session.run(feeds)["y"].dtype == np.float16
    assert "y: float32 in the file, float16 in the model" in session.effective.options["recast"]


def test_int64_stays_int64(tmp_path: Path) -> None:
    model = graph("g (int64[2] i) => (float[2,3] y) { y = Gather(w, i) }")
    model.graph.initializer.append(numpy_helper.from_array(np.arange(15, dtype=np.float32).reshape(5, 3), "w"))
    feeds = {"i": np.array([4, 1], np.int64)}
    got = TFLite().compile(build_of(model, tmp_path, feeds)).run(feeds)["y"]
    np.testing.assert_array_equal(got, [[12, 13, 14], [3, 4, 5]])


def test_a_deployed_file_keeps_its_own_names_and_shapes(tmp_path: Path) -> None:
    build = build_of(SIGMOID, tmp_path, {"x": ramp(2, 3)})
    converted = to_tflite(build.model, build.shapes, tmp_path / "converted")
    session = TFLite().compile(Build(model=converted.path, format="tflite"))
    (name,), (output,) = converted.inputs, converted.outputs
    np.testing.assert_allclose(session.run({name: ramp(2, 3)})[output], np.tanh(np.exp(ramp(2, 3))), atol=1e-5)
    with pytest.raises(Unsupported, match=r"is \(2, 3\), not \(3, 2\)") as caught:
        session.run({name: ramp(3, 2)})
    assert "NHWC" in str(caught.value.hint)


def test_a_file_that_is_no_tflite_is_unsupported(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"TFL3" * 10)
    with pytest.raises(Unsupported):
        TFLite().compile(Build(model=tmp_path / "broken.tflite", format="tflite"))


def test_a_run_leaves_no_state_for_the_next_one(tmp_path: Path) -> None:
    model = graph(
        "g (float[5,1,3] x) => (float[5,1,1,4] y) { y = LSTM <hidden_size=4> (x, w, r) }"
    )
    for name, shape in (("w", (1, 16, 3)), ("r", (1, 16, 4))):
        model.graph.initializer.append(numpy_helper.from_array(ramp(*shape), name))
    session = TFLite().compile(build_of(model, tmp_path, {"x": ramp(5, 1, 3)}))

    first = session.run({"x": ramp(5, 1, 3)})["y"]

    assert np.array_equal(session.run({"x": ramp(5, 1, 3)})["y"], first)
