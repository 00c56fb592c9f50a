"""The golden's child: every tensor of the graph in float64, and how far float32 is from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from sysnoise_conform.errors import BadInput, BadModel, ConformError, StorageError, UnsupportedOperator
from sysnoise_conform.golden import service
from sysnoise_conform.store import Store
from sysnoise_conform.store.entry import GoldenSample

T = onnx.TensorProto
F = torch.nn.functional


def save(folder: Path, nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, int], **weights: Any) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def record(model: Path, feeds: dict[str, np.ndarray], **more: Any) -> GoldenSample:
    out = model.parent / "entry"
    service.handle({"do": "golden", "model": str(model), "out": str(out), "threads": 1, **more}, feeds)
    return GoldenSample(out)


@pytest.fixture
def network(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Conv, Relu, GlobalAveragePool, Flatten, Gemm, ArgMax on random weights, and its feeds and weights."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(8).astype(np.float32),
        "v": rng.standard_normal((5, 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "v"], ["logits"], transB=1),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1),
    ]
    model = save(
        tmp_path, nodes, {"x": (T.FLOAT, [2, 3, 16, 16])}, {"logits": T.FLOAT, "best": T.INT64}, **weights
    )
    return model, {"x": rng.standard_normal((2, 3, 16, 16)).astype(np.float32)}, weights


def test_every_tensor_is_there_in_graph_order_and_in_float64(network: Any) -> None:
    model, feeds, weights = network
    sample = record(model, feeds)
    exact = F.conv2d(*(torch.from_numpy(each).double() for each in (feeds["x"], weights["w"], weights["b"])), padding=1)
    assert list(sample) == ["conv", "relu", "pool", "flat", "logits", "best"]
    np.testing.assert_allclose(sample["conv"].data, exact.numpy(), rtol=1e-13)
    assert sample["conv"].data.dtype == np.float64
    assert sample["best"].data.dtype == np.int64
    assert sample["best"].elem_type == T.INT64


def test_the_floor_is_the_distance_of_the_float32_run(network: Any) -> None:
    model, feeds, weights = network
    torch.set_num_threads(1)
    sample = record(model, feeds)
    single = F.conv2d(*(torch.from_numpy(each) for each in (feeds["x"], weights["w"], weights["b"])), padding=1)
    truth = sample["conv"].data
    error = single.double().numpy() - truth
    rounding = truth.astype(np.float32).astype(np.float64) - truth
    floor = sample["conv"].floor
    assert floor.n == truth.size
    assert floor.sum_sq == pytest.approx(np.sum(error**2), rel=1e-9)
    assert floor.max_abs == pytest.approx(np.max(np.abs(error)), rel=1e-9)
    assert floor.rounding_sum_sq == pytest.approx(np.sum(rounding**2), rel=1e-9)
    assert floor.rounding_max == pytest.approx(np.max(np.abs(rounding)), rel=1e-9)
    assert floor.mismatches == 0
    assert 0.2 < np.sqrt(floor.sum_sq / (floor.sigma_sq or 1)) < 2


def test_integers_have_mismatches_and_no_floor(network: Any) -> None:
    model, feeds, _ = network
    floor = record(model, feeds)["best"].floor
    assert (floor.n, floor.sum_sq, floor.mismatches, floor.sigma_sq) == (2, 0.0, 0, None)


def test_an_integer_that_float32_gets_wrong_is_counted(tmp_path: Path) -> None:
    # x * 3 is 1 - 2**-25 in float64 and 1 in float32.
    nodes = [
        helper.make_node("Mul", ["x", "k"], ["y"]),
        helper.make_node("Floor", ["y"], ["low"]),
        helper.make_node("Cast", ["low"], ["n"], to=T.INT32),
    ]
    k = np.float32(1 - 2**-24)
    model = save(tmp_path, nodes, {"x": (T.FLOAT, [2])}, {"n": T.INT32}, k=k)
    x = np.array([np.float32(1 / np.float64(k)), 5.0], dtype=np.float32)
    truth = np.floor(x.astype(np.float64) * np.float64(k))
    single = np.floor(x * k)
    sample = record(model, {"x": x})
    assert sample["n"].floor.mismatches == np.count_nonzero(truth != single)
    assert sample["n"].data.tolist() == truth.astype(int).tolist()


def test_what_only_moves_data_has_the_floor_and_the_sigma_of_what_it_moves(network: Any) -> None:
    model, feeds, _ = network
    sample = record(model, feeds)
    assert sample["flat"].floor.sum_sq == sample["pool"].floor.sum_sq
    assert sample["flat"].floor.sigma_sq == sample["pool"].floor.sigma_sq
    assert sample["flat"].floor.sigma_max == sample["pool"].floor.sigma_max > 0


def test_outputs_that_are_inputs_or_weights_are_there_too(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    weight = np.array([1.5, -2.0], dtype=np.float32)
    outputs = {"y": T.FLOAT, "x": T.FLOAT, "w": T.FLOAT}
    sample = record(save(tmp_path, nodes, {"x": (T.FLOAT, [2])}, outputs, w=weight), {"x": -weight})
    assert sample["x"].data.tolist() == [-1.5, 2.0]
    assert sample["w"].data.tolist() == [1.5, -2.0]
    assert sample["x"].floor.n == 2


def test_what_depends_on_no_input_is_left_out(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.float32([3.0]))),
        helper.make_node("Neg", ["c"], ["minus"]),
        helper.make_node("Add", ["x", "minus"], ["y"]),
    ]
    sample = record(save(tmp_path, nodes, {"x": (T.FLOAT, [1])}, {"y": T.FLOAT}), {"x": np.float32([1.0])})
    assert list(sample) == ["y"]


def test_sequences_and_strings_are_left_out_by_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["text"], to=T.STRING),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    model = save(tmp_path, nodes, {"x": (T.FLOAT, [2])}, {"y": T.FLOAT, "text": T.STRING})
    sample = record(model, {"x": np.ones(2, np.float32)})
    assert list(sample) == ["y"]
    assert sample.left_out == {"text": "of type STRING"}


def test_half_precision_is_stored_as_the_values_it_has(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["h"], to=T.FLOAT16), helper.make_node("Sqrt", ["h"], ["y"])]
    x = np.linspace(0.1, 3, 50, dtype=np.float32)
    sample = record(save(tmp_path, nodes, {"x": (T.FLOAT, [50])}, {"y": T.FLOAT16}), {"x": x})
    assert sample["h"].data.dtype == np.float64
    np.testing.assert_array_equal(sample["h"].data, x.astype(np.float16).astype(np.float64))
    assert sample["y"].floor.rounding_sum_sq == 0.0


def test_only_what_is_asked_for_is_stored(network: Any) -> None:
    model, feeds, _ = network
    assert list(record(model, feeds, only=["pool", "logits", "no such tensor"])) == ["pool", "logits"]


def test_non_finite_elements_leave_the_floor_finite(tmp_path: Path) -> None:
    nodes = [helper.make_node("Log", ["x"], ["y"]), helper.make_node("Softmax", ["y"], ["p"])]
    x = np.array([[-1.0, 0.0, 0.3, 7.0]], dtype=np.float32)
    floor = record(save(tmp_path, nodes, {"x": (T.FLOAT, [1, 4])}, {"p": T.FLOAT}), {"x": x})["y"].floor
    assert floor.n == 2
    assert floor.mismatches == 0
    assert np.isfinite([floor.sum_sq, floor.max_abs, floor.sigma_sq]).all()


def test_empty_tensors_are_tensors(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sigmoid", ["x"], ["y"]), helper.make_node("Softmax", ["y"], ["p"])]
    sample = record(
        save(tmp_path, nodes, {"x": (T.FLOAT, ["n", 3])}, {"p": T.FLOAT}), {"x": np.zeros((0, 3), np.float32)}
    )
    assert sample["p"].shape == (0, 3)
    assert sample["p"].floor.n == 0


def test_a_tensor_of_many_blocks_has_the_floor_of_all(tmp_path: Path) -> None:
    from sysnoise_conform.golden.floor import BLOCK

    x = np.random.default_rng(0).standard_normal(2 * BLOCK + 17).astype(np.float32)
    sample = record(
        save(tmp_path, [helper.make_node("Exp", ["x"], ["y"])], {"x": (T.FLOAT, [x.size])}, {"y": T.FLOAT}), {"x": x}
    )
    truth = sample["y"].data
    rounding = truth.astype(np.float32) - truth
    assert sample["y"].floor.n == x.size
    assert sample["y"].floor.rounding_sum_sq == pytest.approx(np.sum(rounding**2))


def test_what_the_golden_refuses_reaches_the_caller(tmp_path: Path) -> None:
    unknown = helper.make_node("NoSuchOperator", ["x"], ["y"], domain="com.example")
    model = save(tmp_path, [unknown], {"x": (T.FLOAT, [1])}, {"y": T.FLOAT})
    with pytest.raises(UnsupportedOperator, match="NoSuchOperator"):
        record(model, {"x": np.zeros(1, np.float32)})
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x99junk")
    with pytest.raises(BadModel):
        record(tmp_path / "broken.onnx", {})
    with pytest.raises(ConformError, match="no request"):
        service.handle({"do": "dance"}, {})


def test_a_full_disk_is_a_storage_error(network: Any) -> None:
    model, feeds, _ = network
    with pytest.raises(StorageError, match="the disk is full"):
        service.handle({"do": "golden", "model": str(model), "out": "/dev/full", "threads": 1}, feeds)


def test_what_the_child_writes_the_parent_finds_without_torch(network: Any) -> None:
    model, feeds, _ = network
    cache = model.parent / "cache"
    store = Store.open(cache)
    key = store.key(model_sha256="m", feeds_sha256="f", threads=1)
    unfinished = store.reserve()
    service.handle({"do": "golden", "model": str(model), "out": str(unfinished), "threads": 1}, feeds)
    store.commit(unfinished, key).close()
    script = (
        "import pathlib, sys\n"
        "from sysnoise_conform.store import Store\n"
        "store = Store.open(pathlib.Path(sys.argv[1]))\n"
        "sample = store.find(store.key(model_sha256='m', feeds_sha256='f', threads=1))\n"
        "print(len(sample), 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(cache)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["6", "False"]


def test_recording_holds_what_is_alive_not_the_sum(tmp_path: Path) -> None:
    """24 tensors of 4 MiB each: the file has 96 MiB of them, memory a few."""
    nodes = [
        helper.make_node("Sigmoid" if step % 2 else "Tanh", [f"t{step}"], [f"t{step + 1}"]) for step in range(24)
    ]
    model = save(tmp_path, nodes, {"t0": (T.FLOAT, [1 << 19])}, {"t24": T.FLOAT})
    script = (
        "import resource, sys, numpy as np\n"
        "from sysnoise_conform.golden import service\n"
        "request = {'do': 'golden', 'model': sys.argv[1], 'out': sys.argv[2], 'threads': 1}\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(service.handle(request, {'t0': np.zeros(1 << 19, np.float32)})['bytes'])\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(model), str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    size, grown = map(int, done.stdout.split())
    assert size > 96 << 20
    assert grown < 60 << 20


MODULE = '''
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(4, 3)

    def forward(self, x, gain):
        y = self.lin(x) * gain
        return {"y": y, "best": y.argmax(-1)}

def net():
    torch.manual_seed(0)
    return Net()
'''


def test_the_module_answers_under_the_names_of_the_graph(tmp_path: Path) -> None:
    (tmp_path / "service_net.py").write_text(MODULE)
    feeds = {"gain": np.float32([2.0]), "x": np.ones((2, 4), np.float32)}
    request = {"do": "module", "factory": "service_net:net", "path": str(tmp_path), "threads": 1}
    answer = service.handle({**request, "outputs": ["best", "y"]}, feeds)
    exact = service.handle({**request, "outputs": ["y"], "dtype": "float64"}, feeds)
    assert answer["matched"] == "name"
    assert answer["tensors"]["y"].dtype == np.float32
    assert answer["tensors"]["best"].dtype == np.int64
    assert exact["tensors"]["y"].dtype == np.float64
    np.testing.assert_allclose(answer["tensors"]["y"], exact["tensors"]["y"], rtol=1e-6)
    assert service.handle({**request, "outputs": ["a", "b"]}, feeds)["matched"] == "order"
    with pytest.raises(BadInput, match="returns 2 tensors, the graph has 1 outputs"):
        service.handle({**request, "outputs": ["a"]}, feeds)
