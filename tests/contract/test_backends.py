"""What every backend keeps, through the real child process: names, types, layouts, ownership, errors."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from sysnoise_conform import registry
from sysnoise_conform.backend import Build, Effective, Tensors
from sysnoise_conform.case import Limits
from sysnoise_conform.errors import BackendDied, BackendUnavailable, ConformError, Unsupported
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.graph.tap import tap
from sysnoise_conform.process.child import Child

# What a runtime truly can't do: (backend, case) -> why. It must still fail cleanly there.
GAPS: dict[tuple[str, str], str] = {}

HEADER = '<ir_version: 9, opset_import: ["": 17]>'
KINDS = f"""{HEADER}
kinds (float[N,3] f, float16[N,3] h, int64[N] i, bool[N] b, float s)
   => (float[N,3] f_out, float16[N,3] h_out, int64[N] i_out, bool[N] b_out, float s_out) {{
  f_out = Add(f, f) h_out = Add(h, h) i_out = Add(i, i) b_out = Not(b) s_out = Mul(s, s)
}}"""
IDENTITIES = f"""{HEADER}
identities (float[2,3] x) => (float[2,3] x, float[2] w, float[2,3] y, float[2,3] z, float[2,3] v)
<float[2] w = {{1, 2}}> {{
  y = Relu(x) z = Identity(y) v = Identity(x)
}}"""
DENSE = f"""{HEADER}
dense (float[N,3] x) => (float[N,2] y) <float[3,2] w = {{0.5, -1, 2, 0.25, -0.125, 3}}> {{
  a = MatMul(x, w) b = Tanh(a) y = Softmax<axis=1>(b)
}}"""
BROKEN = f"""{HEADER} broken (float[2,3] x) => (float[2,3] y) {{ a = Relu(x) [culprit] y = Nonsense(a) }}"""


def cube() -> onnx.ModelProto:
    """Height, width and channels are all 3, so that no shape tells one layout from another."""
    draw = np.random.default_rng(7)
    weights = [
        numpy_helper.from_array(draw.normal(size=(3, 3, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(draw.normal(size=(3,)).astype(np.float32), "bias"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w", "bias"], ["conv"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Relu", ["conv"], ["relu"], name="relu"),
        helper.make_node("Transpose", ["relu"], ["turned"], perm=[0, 2, 3, 1], name="turn"),
        helper.make_node("Add", ["turned", "x2"], ["sum"], name="sum"),
    ]
    port = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 3, 3]) for name in ("x", "x2", "sum", "relu")]
    graph = helper.make_graph(nodes, "cube", port[:2], port[2:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@dataclass
class Bench:
    """One backend in one child; each model is a session of its own."""

    name: str
    device: str | None
    child: Child
    folder: Path
    numbers: Iterator[int]

    def compile(self, model: onnx.ModelProto | str | Path, feeds: Tensors) -> Running:
        number = next(self.numbers)
        folder = self.folder / str(number)
        (folder / "work").mkdir(parents=True)
        path = model if isinstance(model, Path) else folder / "model.onnx"
        if not isinstance(model, Path):
            path.write_bytes((parser.parse_model(model) if isinstance(model, str) else model).SerializeToString())
        build = Build(
            model=path,
            shapes={name: array.shape for name, array in feeds.items()},
            dtypes={name: array.dtype.name for name, array in feeds.items()},
            device=self.device,
            workdir=folder / "work",
        )
        effective, _ = self.child.compile(self.name, build, session=str(number))
        return Running(self.child, str(number), effective)

    def outputs(self, model: onnx.ModelProto | str | Path, feeds: Tensors) -> Tensors:
        return self.compile(model, feeds).run(feeds)


@dataclass
class Running:
    """A compiled session."""

    child: Child
    session: str
    effective: Effective

    def run(self, feeds: Tensors) -> Tensors:
        outputs = self.child.run(feeds, session=self.session).tensors
        return {name: array.copy() for name, array in outputs.items()}


ON_A_GPU = ("ort@cuda", "torch@cuda") if os.environ.get("CONFORM_TEST_GPU") else ()  # `make test-gpu` sets it


@pytest.fixture(scope="module", params=[*registry.names(), *ON_A_GPU])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    name, _, device = request.param.partition("@")
    folder = tmp_path_factory.mktemp(f"{name}_{device}_contract")
    child = Child.start(limits=Limits(timeout_s=120), log=folder / "log.txt", label=request.param)
    with child:
        try:
            runtime = child.probe(name)
        except BackendUnavailable as why:
            pytest.skip(str(why))
        if device and device not in runtime.devices:
            pytest.skip(f"{runtime.name} {runtime.version} has no device {device} here")
        yield Bench(name, device or None, child, folder, itertools.count())


@pytest.fixture(autouse=True)
def _declared_gap(request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params.get("bench") if hasattr(request.node, "callspec") else None
    why = GAPS.get((name, request.function.__name__))
    if why is not None:
        request.node.add_marker(pytest.mark.xfail(raises=Unsupported, reason=why, strict=True))


def ramp(*shape: int) -> np.ndarray:
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def softmax(x: np.ndarray) -> np.ndarray:
    w = np.array([[0.5, -1], [2, 0.25], [-0.125, 3]], np.float64)
    e = np.exp(np.tanh(x.astype(np.float64) @ w))
    return e / e.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def fingerprints(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        each.name: (hashlib.sha256(each.read_bytes()).hexdigest(), each.stat().st_mtime_ns) for each in folder.iterdir()
    }


def test_probe_tells_name_version_and_devices(bench: Bench) -> None:
    runtime = bench.child.probe(bench.name)
    assert runtime.name
    assert runtime.version[0].isdigit()
    assert runtime.devices


def test_outputs_have_the_names_dtypes_and_shapes_of_onnx(bench: Bench) -> None:
    feeds = {
        "f": ramp(2, 3),
        "h": ramp(2, 3).astype(np.float16),
        "i": np.array([5, -7], np.int64),
        "b": np.array([True, False]),
        "s": np.array(1.5, np.float32),
    }
    got = bench.outputs(KINDS, feeds)
    want = {
        "f_out": feeds["f"] * 2, "h_out": feeds["h"] * 2, "i_out": feeds["i"] * 2, "b_out": ~feeds["b"],
        "s_out": np.array(2.25, np.float32),
    }  # fmt: skip
    assert {name: (array.dtype, array.shape) for name, array in got.items()} == {
        name: (array.dtype, array.shape) for name, array in want.items()
    }
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-3 if name == "h_out" else 1e-6)


def test_hostile_and_odd_names_come_back_as_they_are(bench: Bench) -> None:
    model = parser.parse_model(f"{HEADER} g (float[2,3] x) => (float[2,3] y, float[2,3] z) {{ y = Exp(x) z = Neg(y) }}")
    odd = {"x": "x:0", "y": "../y <b>:1", "z": "t_out_0"}
    for fields in (model.graph.input, model.graph.output):
        for info in fields:
            info.name = odd[info.name]
    for node in model.graph.node:
        node.input[0], node.output[0] = odd[node.input[0]], odd[node.output[0]]
    got = bench.outputs(model, {"x:0": ramp(2, 3)})
    assert set(got) == {"../y <b>:1", "t_out_0"}
    np.testing.assert_allclose(got["t_out_0"], -np.exp(ramp(2, 3)), rtol=1e-5)


def test_layouts_are_onnxs_also_where_no_shape_could_tell(bench: Bench) -> None:
    model = cube()
    feeds = {"x": ramp(1, 3, 3, 3), "x2": np.sin(np.arange(27, dtype=np.float32)).reshape(1, 3, 3, 3)}
    w, bias = (numpy_helper.to_array(each) for each in model.graph.initializer)
    padded = np.pad(feeds["x"], ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded[0], (3, 3), axis=(1, 2))
    conv = np.einsum("chwij,ocij->ohw", windows, w)[None] + bias[None, :, None, None]
    relu = np.maximum(conv, 0)
    got = bench.outputs(model, feeds)
    np.testing.assert_allclose(got["relu"], relu, atol=1e-5)
    np.testing.assert_allclose(got["sum"], relu.transpose(0, 2, 3, 1) + feeds["x2"], atol=1e-5)


def test_promoted_inner_tensors_come_back_under_their_names(bench: Bench) -> None:
    tapped = tap(onnx.shape_inference.infer_shapes(cube()), ["conv", "turned"])
    got = bench.outputs(tapped, {"x": ramp(1, 3, 3, 3), "x2": ramp(1, 3, 3, 3)})
    assert set(got) == {"sum", "relu", "conv", "turned"}
    np.testing.assert_allclose(got["turned"], np.maximum(got["conv"], 0).transpose(0, 2, 3, 1), atol=1e-6)


def test_a_dynamic_batch_can_change_between_runs(bench: Bench) -> None:
    session = bench.compile(DENSE, {"x": ramp(1, 3)})
    for batch in (1, 3, 1):
        got = session.run({"x": ramp(batch, 3)})["y"]
        assert got.shape == (batch, 2)
        np.testing.assert_allclose(got, softmax(ramp(batch, 3)), atol=1e-6)


def test_two_sessions_live_side_by_side(bench: Bench) -> None:
    dense, other = bench.compile(DENSE, {"x": ramp(2, 3)}), bench.compile(IDENTITIES, {"x": ramp(2, 3)})
    before = dense.run({"x": ramp(2, 3)})["y"]
    np.testing.assert_array_equal(other.run({"x": ramp(2, 3)})["y"], np.maximum(ramp(2, 3), 0))
    np.testing.assert_array_equal(dense.run({"x": ramp(2, 3)})["y"], before)


def test_outputs_that_are_inputs_constants_or_one_another_are_returned(bench: Bench) -> None:
    x = ramp(2, 3)
    got = bench.outputs(IDENTITIES, {"x": x})
    want = {"x": x, "w": np.array([1, 2], np.float32), "y": np.maximum(x, 0), "z": np.maximum(x, 0), "v": x}
    assert set(got) == set(want)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array)


def test_an_operator_that_nobody_knows_is_unsupported_with_stage_and_operator(bench: Bench) -> None:
    with pytest.raises(Unsupported) as caught:
        bench.outputs(BROKEN, {"x": ramp(2, 3)})
    assert caught.value.stage in ("convert", "compile")
    assert caught.value.op == "Nonsense"
    assert "\n" not in str(caught.value)
    assert str(bench.folder) not in str(caught.value)


def test_a_feed_of_the_wrong_shape_is_a_clean_error_and_the_session_lives_on(bench: Bench) -> None:
    session = bench.compile(DENSE, {"x": ramp(2, 3)})
    with pytest.raises(ConformError) as caught:
        session.run({"x": ramp(2, 4)})
    assert not isinstance(caught.value, BackendDied)
    np.testing.assert_allclose(session.run({"x": ramp(2, 3)})["y"], softmax(ramp(2, 3)), atol=1e-6)


def test_a_missing_or_a_mistyped_input_is_an_error_not_an_old_buffer(bench: Bench) -> None:
    session = bench.compile(DENSE, {"x": ramp(2, 3)})
    for wrong in ({}, {"X": ramp(2, 3)}):
        with pytest.raises(ConformError):
            session.run(wrong)


def test_the_effective_configuration_is_reported(bench: Bench) -> None:
    effective = bench.compile(DENSE, {"x": ramp(2, 3)}).effective
    assert effective.device.startswith(("cpu", "cuda"))
    # A runtime that reports nothing says so, after what it was asked for.
    assert effective.precision == "fp32" or effective.precision.startswith("fp32 requested")
    assert effective.options


def test_the_same_feeds_give_the_same_bits(bench: Bench) -> None:
    session = bench.compile(cube(), {"x": ramp(1, 3, 3, 3), "x2": ramp(1, 3, 3, 3)})
    first, second = (session.run({"x": ramp(1, 3, 3, 3), "x2": ramp(1, 3, 3, 3)}) for _ in range(2))
    for name, array in first.items():
        assert array.tobytes() == second[name].tobytes(), name


def test_the_users_files_stay_untouched(bench: Bench, tmp_path: Path) -> None:
    users, private = tmp_path / "users", tmp_path / "private"
    users.mkdir()
    private.mkdir()
    path = users / "model.onnx"
    onnx.save(cube(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = fingerprints(users)
    written = open_model(path).write(private)
    bench.outputs(written, {"x": ramp(1, 3, 3, 3), "x2": ramp(1, 3, 3, 3)})
    assert len(before) == 2
    assert fingerprints(users) == before


def test_arrays_belong_to_the_caller_and_feeds_may_have_any_strides(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(parser.parse_model(IDENTITIES).SerializeToString())
    program = f"""
        import pathlib, numpy as np
        from sysnoise_conform import registry
        from sysnoise_conform.backend import Build
        folder = pathlib.Path({str(tmp_path)!r})
        (folder / "work").mkdir()
        shapes, dtypes = dict(x=(2, 3)), dict(x="float32")
        build = Build(
            model=folder / "model.onnx", workdir=folder / "work", shapes=shapes, dtypes=dtypes, device={bench.device!r}
        )
        session = registry.load({bench.name!r})().compile(build)
        strided = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2].T
        first = session.run(dict(x=strided))
        kept = {{name: array.copy() for name, array in first.items()}}
        np.testing.assert_array_equal(first["y"], strided)
        for array in session.run(dict(x=-strided)).values():
            array[...] = 99
        for name, array in session.run(dict(x=-strided)).items():
            assert 99 not in array, "wrote into the session's own memory: " + name
            np.testing.assert_array_equal(first[name], kept[name], err_msg=name)
        session.close()
        session.close()
        print("kept")
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1:] == ["kept"], done.stderr[-2000:]
