"""`conform export` as a user types it: in the folder of the module's source."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx

SOURCE = """
import torch

class Gain(torch.nn.Module):
    def forward(self, x):
        return torch.tanh(x) * 3

def gain():
    return Gain()
"""


def conform(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from sysnoise_conform.cli import main; main()", "export", *arguments]
    environment = {**os.environ, "CONFORM_CACHE": str(folder / "cache")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_module_in_the_current_folder_is_exported_checked_and_described(tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text(SOURCE)
    done = conform(
        "--torch", "my_nets:gain", "--shape", "x=2,5", "--opset", "13", "--out", "gain.onnx", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "output (2x5)" in done.stdout
    assert "times the module's own float32 rounding" in done.stdout
    assert "opset 13, torchscript exporter" in done.stdout
    assert {each.name for each in tmp_path.iterdir()} >= {"gain.onnx", "gain.toml"}


def test_an_opset_that_nobody_knows_is_answered_with_the_range(tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text(SOURCE)
    done = conform("--torch", "my_nets:gain", "--shape", "x=2,5", "--opset", "99", "--out", "g.onnx", folder=tmp_path)
    assert done.returncode == 2
    newest = onnx.defs.onnx_opset_version()
    assert done.stderr == f"error: there is no export at opset 99; 7 to {newest} can be written\n"


def test_a_factory_that_is_not_there_is_a_mistake_in_one_line(tmp_path: Path) -> None:
    done = conform("--torch", "absent:net", "--shape", "x=1", "--out", "net.onnx", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: there is no module 'absent'; it is looked for among the installed packages and in the current folder"
    )
    assert not (tmp_path / "net.onnx").exists()
