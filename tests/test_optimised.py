"""What a session tells of its fusions: tensors that are outputs without disturbing them, and passes to leave out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from diagnose.small import network

from sysnoise_conform import registry
from sysnoise_conform.backend import Build, Inspectable, Optimised, Session
from sysnoise_conform.backends.tensorrt_watch import layer_outputs
from sysnoise_conform.graph.tap import tap

NET = """
net (float[1,16,32,32] x) => (float[1,16,1,1] y) {
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
  r = Relu (c)
  d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (r, v)
  e = Add (d, r)
  s = Relu (e)
  i = Identity (s)
  t = Conv <kernel_shape = [3, 3]> (i, v)
  k = Mul (t, two)
  y = GlobalAveragePool (k)
}
"""
INNER = ("c", "r", "d", "e", "s", "i", "t", "k")


def net() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    kernels = {name: rng.standard_normal((16, 16, 3, 3)) / 4 for name in "wv"}
    return network(NET, {**kernels, "two": rng.standard_normal((16, 1, 1))})


def compiled(backend: str, model: onnx.ModelProto, folder: Path, **options: str) -> Session:
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    shapes = {"x": (1, 16, 32, 32)}
    return registry.load(backend)().compile(
        Build(model=folder / "model.onnx", workdir=folder, shapes=shapes, options=options, threads=1)
    )


def told(session: Session) -> Optimised:
    assert isinstance(session, Inspectable)
    return session.optimised()


@pytest.mark.parametrize(
    ("level", "left"),
    [
        ("disable", set(INNER)),
        ("basic", {"c", "r", "d", "e", "s", "k"}),
        ("extended", {"r", "d", "e", "s", "k"}),
    ],
)
def test_onnx_runtime_tells_what_each_level_leaves(level: str, left: set[str], tmp_path: Path) -> None:
    found = told(compiled("ort", net(), tmp_path / "ort", opt=level))

    assert found.tensors is not None
    assert set(found.tensors) & set(INNER) == left
    assert bool(found.passes) == (level != "disable")


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_showing_the_tensors_that_are_left_changes_no_bit(backend: str, tmp_path: Path) -> None:
    x = {"x": np.random.default_rng(1).standard_normal((1, 16, 32, 32)).astype(np.float32)}
    untouched = compiled(backend, net(), tmp_path / "untouched")
    tensors = told(untouched).tensors
    assert tensors is not None
    left = set(tensors) & set(INNER)
    assert 0 < len(left) < len(INNER)

    tapped = compiled(backend, tap(net(), left), tmp_path / "tapped")

    np.testing.assert_array_equal(tapped.run(x)["y"], untouched.run(x)["y"])


def test_a_pass_that_is_left_out_does_not_change_the_graph(tmp_path: Path) -> None:
    found = told(compiled("ort", net(), tmp_path / "ort", disable="ConvMulFusion:NchwcTransformer"))

    assert found.tensors is not None
    assert {"t", "k"} <= set(found.tensors)
    assert "NchwcTransformer" not in found.passes


def test_a_closed_session_has_let_go_of_everything(tmp_path: Path) -> None:
    session = compiled("openvino", net(), tmp_path / "openvino")
    session.close()

    assert told(session) == Optimised()


def test_the_layers_of_a_tensorrt_engine_are_read_from_its_description() -> None:
    layers = [{"Name": "c + r", "Outputs": [{"Name": "r"}]}, {"Name": "d", "Outputs": [{"Name": "s"}, {"Name": "k"}]}]

    assert layer_outputs(json.dumps({"Layers": layers, "Bindings": ["x", "y"]})) == ("k", "r", "s")
    assert layer_outputs(json.dumps({"Layers": ["c + r", "d"], "Bindings": ["x", "y"]})) is None
    assert layer_outputs("") is None
