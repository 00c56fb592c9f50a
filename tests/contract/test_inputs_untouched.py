"""Whatever conform is given to read stays as it is: same bytes, same time of change, nothing new beside it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

CONFORM = [sys.executable, "-P", "-c", "from sysnoise_conform.cli import main; main()"]
ROOT = Path(__file__).parents[2]
NETWORK = """<ir_version: 9, opset_import: ["": 17]>
small (float[1,3,8,8] x) => (float[1,2] y) {
  c = Conv <kernel_shape = [3, 3]> (x, weight) r = Relu (c) p = GlobalAveragePool (r) y = Flatten (p)
}"""
SOURCE = """
import torch

class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 3, bias=False)

    def forward(self, x):
        return torch.relu(self.conv(x)).mean((2, 3))

small = Small
"""
WEIGHT = (np.random.default_rng(3).standard_normal((2, 3, 3, 3)) / 4).astype(np.float32)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of inputs: one network in every form that a deployment takes, with weights in files of their own."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("given")
    network = parser.parse_model(NETWORK)
    network.graph.initializer.append(numpy_helper.from_array(WEIGHT, "weight"))
    onnx.save(network, folder / "deployed.onnx")
    onnx.save(
        network, folder / "small.onnx", save_as_external_data=True, location="small.weights", size_threshold=0
    )
    (folder / "small.toml").write_text(
        'name = "small"\ntask = "embed"\n[image]\nsize = [8, 8]\n', encoding="utf-8"
    )
    np.savez(folder / "feeds.npz", x=np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32))
    (folder / "pictures").mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "pictures" / "noise.png")
    (folder / "policy.toml").write_text("max_floor_ratio = 100\n", encoding="utf-8")
    (folder / "small_nets.py").write_text(SOURCE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def report(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report that was made of them."""
    out = tmp_path_factory.mktemp("made") / "out"
    conform(given, "run", "--model", given / "small.onnx", "--inputs", given / "feeds.npz",
            "--backends", "exact", "--out", out)  # fmt: skip
    return out


def state(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Every file below: SHA-256, time of the last change in ns, permissions."""
    found = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        facts = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = (digest, facts.st_mtime_ns, facts.st_mode)
    return found


def conform(given: Path, *arguments: str | Path) -> None:
    environment = {
        **os.environ,
        "CONFORM_CACHE": str(given.parent / "cache"),
        "CONFORM_BACKENDS": f"exact={ROOT / 'tests' / 'fakes.py'}:Exact",
    }
    done = subprocess.run(
        [*CONFORM, *map(str, arguments)],
        cwd=given, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 6), done.stdout + done.stderr  # 6: a runtime of the list is not installed here


def deployed(given: Path, target: str) -> tuple[str, Path]:
    """The network as it ships to `target`: the backend that runs it, and the file."""
    if target == "onnx":
        return "exact", given / "deployed.onnx"
    if target == "tflite":
        convert = pytest.importorskip("sysnoise_conform.backends.tflite_convert")
        if convert.lacking():
            pytest.skip("onnx2tf is not whole")
        pytest.importorskip("ai_edge_litert")
        folder = given.parent / "converted"
        made = convert.to_tflite(given / "deployed.onnx", {"x": (1, 3, 8, 8)}, folder).path
        (given / "small.tflite").write_bytes(made.read_bytes())
        return "tflite", given / "small.tflite"
    openvino = pytest.importorskip("openvino")
    openvino.save_model(openvino.convert_model(given / "deployed.onnx"), given / "small.xml", compress_to_fp16=False)
    return "openvino", given / "small.xml"


@pytest.mark.parametrize(("inputs", "backends"), [("feeds.npz", "exact,tflite,mnn"), ("pictures", "ort,openvino")])
def test_a_run_changes_nothing_that_it_reads(given: Path, inputs: str, backends: str, tmp_path: Path) -> None:
    before = state(given)

    conform(given, "run", "--model", given / "small.onnx", "--card", given / "small.toml", "--inputs", given / inputs,
            "--policy", given / "policy.toml", "--backends", backends, "--out", tmp_path / "out",
            )  # fmt: skip

    assert state(given) == before


@pytest.mark.parametrize("target", ["onnx", "tflite", "openvino"])
def test_a_run_changes_nothing_of_what_ships(given: Path, target: str, tmp_path: Path) -> None:
    backend, shipped = deployed(given, target)
    mapped = _mapped(given, target)
    before = state(given)

    conform(given, "run", "--model", given / "small.onnx", "--inputs", given / "feeds.npz", "--deployed", shipped,
            *mapped, "--backends", backend, "--out", tmp_path / "out")  # fmt: skip

    assert state(given) == before


def _mapped(given: Path, target: str) -> list[str]:
    """`--map` for the names that onnx2tf gave."""
    if target != "tflite":
        return []
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(given / "small.tflite"))
    pairs = zip("xy", (*interpreter.get_input_details(), *interpreter.get_output_details()), strict=True)
    return [f"--map={name}={detail['name']}" for name, detail in pairs if detail["name"] != name]


def test_an_export_and_a_run_against_the_module_change_neither_weights_nor_source(given: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"conv.weight": WEIGHT}, given / "small.safetensors")
    weights = ["--torch", "small_nets:small", "--weights", given / "small.safetensors"]
    before = state(given)

    conform(given, "export", *weights, "--shape", "x=1,3,8,8", "--out", tmp_path / "exported.onnx")
    conform(given, "run", "--model", given / "small.onnx", "--inputs", given / "feeds.npz", *weights,
            "--backends", "exact", "--out", tmp_path / "out")  # fmt: skip

    assert state(given) == before


@pytest.mark.parametrize("command", [["judge"], ["report", "--format", "html"], ["report", "--format", "summary"]])
def test_judging_and_showing_a_report_changes_neither_it_nor_the_policy(
    given: Path, report: Path, command: list[str]
) -> None:
    before = state(report), state(given)

    conform(given, *command, report, "--policy", given / "policy.toml")

    assert (state(report), state(given)) == before
