"""`conform diagnose` on the real command line: the operator, the proof, the reproducer, the mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

FAKES = Path(__file__).parents[1] / "fakes.py"
NETWORK = """
<ir_version: 9, opset_import: ["": 18]>
small (float[1,3,16,16] x) => (float[1,6,1,1] y) {
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
  r = Relu (c)
  p = AveragePool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1> (r)
  d = Conv <kernel_shape = [3, 3]> (p, v)
  s = Relu (d)
  y = GlobalAveragePool (s)
}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    proto = onnx.parser.parse_model(NETWORK)
    rng = np.random.default_rng(7)
    for name, shape in {"w": (6, 3, 3, 3), "v": (6, 6, 3, 3)}.items():
        values = (rng.standard_normal(shape) / 4).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    for at, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type.lower()}_{at}"
    path = tmp_path / "small.onnx"
    onnx.save(proto, path)
    return path


def diagnosed(conform: Any, *arguments: Any, **more: Any) -> tuple[Any, dict[str, Any]]:
    done = conform("diagnose", *arguments, **more)
    path = done.out.with_name("conform-diagnosis") / "diagnosis.json"
    return done, json.loads(path.read_text()) if path.is_file() else {}


@pytest.mark.parametrize("backend", ["openvino", "tflite"])
def test_a_known_fault_of_a_real_runtime_is_named_proved_and_handed_over(conform, model: Path, backend: str) -> None:
    done, found = diagnosed(conform, "--model", model, "--backend", backend, "--samples", 1, "--prove")

    assert done.code == 1, done.stderr
    (culprit,) = found["culprits"]
    assert (culprit["node"], culprit["op_type"], culprit["output"]) == ("averagepool_2", "AveragePool", "p")
    assert culprit["proof"]["after_rel_l2"] < culprit["proof"]["before_rel_l2"] / 100
    assert found["verdict"] == "culprits"
    assert done.stdout.startswith("observer")
    assert "averagepool_2" in done.stdout
    folder = done.out.with_name("conform-diagnosis") / culprit["reproducer"]
    again = subprocess.run([sys.executable, "repro.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert again.returncode == 1, again.stderr
    assert (folder / "model.tflite").is_file() == (backend == "tflite")
    assert len((folder / "repro.py").read_text().splitlines()) <= 40
    assert {"model.onnx", "inputs.npz", "expected.npz", "repro.py", "README.md"} <= {e.name for e in folder.iterdir()}


@pytest.mark.parametrize("backend", ["ort", "mnn"])
def test_a_target_that_conforms_is_clean(conform, model: Path, backend: str) -> None:
    done, found = diagnosed(conform, "--model", model, "--backend", backend, "--samples", 1)

    assert done.code == 0, done.stdout + done.stderr
    assert found["verdict"] == "clean"
    assert found["culprits"] == []
    assert found["coverage"] == 1


def test_a_stored_golden_lets_islands_alone_do_without_pytorch(conform, model: Path) -> None:
    first, _ = diagnosed(conform, "--model", model, "--backend", "openvino", "--samples", 1, "--islands-only")
    _, found = diagnosed(conform, "--model", model, "--backend", "openvino", "--samples", 1, "--islands-only")

    assert first.code == 1
    assert [each["method"] for each in found["culprits"]] == ["explode"]
    assert found["golden"]["source"] == "store"


def test_a_fault_that_vanishes_when_it_is_watched_is_told_as_that(conform, tmp_path: Path, model: Path) -> None:
    fakes = {"CONFORM_BACKENDS": f"fuses_wrongly={FAKES}:FusesWrongly"}
    done, found = diagnosed(conform, "--model", model, "--backend", "fuses_wrongly", "--samples", 1, env=fakes)

    assert done.code == 1, done.stdout + done.stderr
    (culprit,) = found["culprits"]
    assert (culprit["output"], culprit["method"]) == ("r", "cut")
    assert "right where it is watched" in found["sentence"]
    assert "+opt=all" in found["sentence"]
    assert found["observer_effect"]["floor_ratio"] > 100


@pytest.mark.parametrize("how", ["refuses", "dies"])
def test_an_operator_that_does_not_run_alone_costs_itself(conform, model: Path, how: str) -> None:
    fakes = {"CONFORM_BACKENDS": f"dreads_pools={FAKES}:DreadsPools"}
    done, found = diagnosed(
        conform, "--model", model, "--backend", f"dreads_pools+how={how}", "--samples", 2, env=fakes
    )

    assert done.code == 0, done.stdout + done.stderr
    layers = {each["output"]: each for each in found["layers"]}
    assert [name for name, each in layers.items() if "not_runnable" in each] == ["p"]
    assert all(each["island_rel_l2"] is not None for name, each in layers.items() if name != "p")
    assert layers["p"]["island_rel_l2"] is None
    assert layers["p"]["replay_rel_l2"] is not None


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--backend", "ort", "--node", "averagepol_2"], "averagepool_2"),
        (["--backend", "ort,openvino"], "ort,openvino"),
        (["--backend", "orrt"], "ort"),
        (["--backend", "ort", "--deployed", "absent.onnx"], "absent.onnx"),
        (["--backend", "ort:tf32"], "tf32"),
    ],
)
def test_a_mistake_is_one_line(conform, model: Path, more: list[str], says: str) -> None:
    done = conform("diagnose", "--model", model, *more)

    assert done.code == (5 if says == "tf32" else 2), done.stderr
    assert done.stderr.count("error:") == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_runtime_that_can_t_run_the_model_at_all_is_told_as_everywhere(conform, model: Path) -> None:
    fakes = {"CONFORM_BACKENDS": f"crashes={FAKES}:Crashes"}
    done = conform("diagnose", "--model", model, "--backend", "crashes", env=fakes)

    assert done.code == 3
    assert done.stderr.count("error:") == 1
