"""MNN: its converter called without its telemetry, its words when it gives up, its narrow types."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from graphs import build_of, ramp
from precisions import network, sample

from sysnoise_conform.backend import Build
from sysnoise_conform.backends.mnn import MNN
from sysnoise_conform.errors import Unsupported

pytest.importorskip("MNN")

RESHAPE = "g (float[N,3] x, int64[1] size) => (float[M] y) { y = Reshape(x, size) }"


def test_converting_installs_nothing_and_reports_to_nobody(tmp_path: Path) -> None:
    # MNN's own `mnnconvert` runs `pip install` for a logging client and sends it each conversion.
    build = build_of("g (float[2] x) => (float[2] y) { y = Relu(x) }", tmp_path)
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text(f"#!/bin/sh\ntouch {tmp_path}/pip-was-called\n")
    pip.chmod(0o755)
    program = f"""
        from pathlib import Path
        from sysnoise_conform.backend import Build
        from sysnoise_conform.backends.mnn import MNN
        MNN().compile(Build(model=Path({str(build.model)!r}), workdir=Path({str(build.workdir)!r})))
        import sys
        assert not any(name.startswith(("aliyun", "MNN.tools")) for name in sys.modules)
    """
    path = f"{pip.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(program)],
        cwd=tmp_path, env={**os.environ, "PATH": path}, check=True, timeout=60,
    )  # fmt: skip
    assert not (tmp_path / "pip-was-called").exists()


def test_what_it_prints_when_it_gives_up_is_the_reason(tmp_path: Path) -> None:
    feeds = {"x": ramp(2, 3), "size": np.array([7])}
    session = MNN().compile(build_of(RESHAPE, tmp_path, feeds))
    with pytest.raises(Unsupported, match="Reshape error: 6 -> 7") as caught:
        session.run(feeds)
    assert "Compute Shape Error for y" in caught.value.message


def test_integers_that_it_would_narrow_wrongly_are_refused(tmp_path: Path) -> None:
    feeds = {"x": np.array([2**40, 1], np.int64)}
    session = MNN().compile(build_of("g (int64[2] x) => (int64[2] y) { y = Add(x, x) }", tmp_path, feeds))
    with pytest.raises(Unsupported, match="too narrow"):
        session.run(feeds)


def test_an_output_without_elements_is_one_of_its_shape(tmp_path: Path) -> None:
    # MNN has no memory to read it from: SystemError, "returned a result with an exception set".
    text = "g (float[3,8] x) => (float[0,8] y, float[3,8] z) <int64[1] at = {0}> { y = Slice(x, at, at)  z = Neg(x) }"

    found = MNN().compile(build_of(text, tmp_path, {"x": ramp(3, 8)})).run({"x": ramp(3, 8)})

    assert (found["y"].shape, found["y"].dtype) == ((0, 8), np.float32)
    assert np.array_equal(found["z"], -ramp(3, 8))


def test_an_output_that_it_gives_no_values_of_is_named_with_its_node(tmp_path: Path) -> None:
    # A Split with an empty part: the other one can't be read either.
    text = "g (float[1,8] x) => (float[1,8] a, float[1,0] b) <int64[2] s = {8, 0}> { a, b = Split<axis = 1>(x, s) }"
    session = MNN().compile(build_of(text, tmp_path, {"x": ramp(1, 8)}))

    with pytest.raises(Unsupported) as caught:
        session.run({"x": ramp(1, 8)})

    assert caught.value.message == "MNN computed no values for the output 'a' of Split 'a', of shape [1, 8]"
    assert (caught.value.op, caught.value.node, caught.value.stage) == ("Split", "a", "run")
    assert "conform diagnose" in str(caught.value.hint)


@pytest.mark.parametrize("values", [[0, 1, 1, 0], [0, 1, 3, -1]])
def test_what_is_neither_0_nor_1_is_no_bool(values: list[int], tmp_path: Path) -> None:
    # Its Cast keeps the whole number, and its Not makes 1 - 3 of it.
    text = "g (float[4] x) => (bool[4] y, bool[4] n) { y = Cast<to = 9>(x)  n = Not(y) }"
    x = np.array(values, np.float32)

    found = MNN().compile(build_of(text, tmp_path, {"x": x})).run({"x": x})

    if set(values) == {0, 1}:
        assert found["y"].dtype == found["n"].dtype == bool
        assert np.array_equal(found["y"], x != 0)
    else:
        assert found["y"].dtype == np.int32
        assert (found["y"].tolist(), found["n"].tolist()) == (values, [1 - each for each in values])


def test_precision_and_threads_are_reported(tmp_path: Path) -> None:
    text = "g (float[2] x) => (float[2] y) { y = Relu(x) }"
    pinned = MNN().compile(build_of(text, tmp_path / "a", threads=2)).effective
    auto = MNN().compile(build_of(text, tmp_path / "b", precision="auto")).effective
    assert pinned.options == {"precision_mode": "high", "threads": 2, "winograd": "off"}
    assert auto.options == {"precision_mode": "normal", "threads": 1, "winograd": "on"}
    assert pinned.precision == "fp32 requested (precision=high); MNN does not report it"
    assert auto.precision == "not reported by MNN"


def test_its_precision_modes_and_stored_weights_are_asked_for_and_reported(tmp_path: Path) -> None:
    exact = MNN().compile(build_of(network("fp32"), tmp_path / "exact", {"x": sample()})).run({"x": sample()})["y"]
    errors = {}
    for name, options in {
        "low": {"hint": "low"}, "fp16": {"weights": "fp16"}, "int8": {"weights": "int8"},
    }.items():  # fmt: skip
        session = MNN().compile(build_of(network("fp32"), tmp_path / name, {"x": sample()}, options=options))
        errors[name] = float(np.abs(session.run({"x": sample()})["y"] - exact).max())
        assert session.effective.options["precision_mode"] == options.get("hint", "high")
        assert ("weights" in options) == (f"{options.get('weights')} weights" in session.effective.precision)
    assert 1e-6 < errors["fp16"] < 2e-3  # float16 keeps 11 bits
    assert errors["fp16"] < errors["int8"] < 2e-2
    assert errors["low"] < 2e-2


def test_a_convolution_over_one_axis_keeps_the_rank_of_the_graph(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["": 18]>
        line (float[1,2,9] x) => (float[1,3,7] y) {
          y = Conv (x, w)
        }
    """)
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((3, 2, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    path = tmp_path / "line.onnx"
    onnx.save(model, path)
    x = rng.standard_normal((1, 2, 9)).astype(np.float32)

    session = MNN().compile(Build(model=path, shapes={"x": x.shape}, dtypes={"x": "float32"}, workdir=tmp_path))

    assert session.run({"x": x})["y"].shape == (1, 3, 7)


def test_without_winograd_a_convolution_is_as_exact_as_pytorch(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["": 18]>
        deep (float[1,64,40,40] x) => (float[1,64,40,40] y) {
          y = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
        }
    """)
    rng = np.random.default_rng(3)
    weights = (rng.standard_normal((64, 64, 3, 3)) / 24).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    x = rng.standard_normal((1, 64, 40, 40)).astype(np.float32)
    exact = torch.nn.functional.conv2d(torch.tensor(x).double(), torch.tensor(weights).double(), padding=1).numpy()

    errors = {}
    for winograd in ("on", "off"):
        folder = tmp_path / winograd
        folder.mkdir()
        onnx.save(model, folder / "deep.onnx")
        build = Build(
            model=folder / "deep.onnx", shapes={"x": x.shape}, dtypes={"x": "float32"}, workdir=folder,
            options={"winograd": winograd},
        )
        session = MNN().compile(build)
        errors[winograd] = float(np.sqrt(np.mean((session.run({"x": x})["y"] - exact) ** 2)))
        assert session.effective.options["winograd"] == winograd

    assert errors["off"] < 1e-6 * np.abs(exact).max()
    assert errors["off"] < errors["on"]
