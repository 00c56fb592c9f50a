"""The example of backends/README.md, as it stands there: it passes the contract and `conform run`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import parser

ROOT = Path(__file__).parents[1]


@pytest.fixture
def example(tmp_path: Path) -> dict[str, str]:
    """The example in a file of its own, and the environment that names it."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "backends" / "README.md").read_text(), re.DOTALL)
    assert block is not None
    (tmp_path / "reference.py").write_text(block[1])
    return {**os.environ, "CONFORM_BACKENDS": f"reference={tmp_path / 'reference.py'}:Reference"}


def test_the_example_passes_the_contract_of_backends(example: dict[str, str]) -> None:
    contract = ROOT / "tests" / "contract" / "test_backends.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(contract), "-k", "reference"],
        env=example, cwd=ROOT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]


def test_the_example_gives_a_verdict_on_the_command_line(example: dict[str, str], tmp_path: Path) -> None:
    model = parser.parse_model(
        '<ir_version: 9, opset_import: ["": 17]> g (float[1,4] x) => (float[1,4] y) { a = Exp(x) y = Tanh(a) }'
    )
    onnx.save(model, tmp_path / "m.onnx")
    done = subprocess.run(
        [sys.executable, "-c", "from sysnoise_conform.cli import main; main()",
         "run", "--model", "m.onnx", "--backends", "reference"],
        env={**example, "CONFORM_CACHE": str(tmp_path / "cache")},
        cwd=tmp_path, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "PASS" in done.stdout


def test_the_example_is_as_short_as_promised() -> None:
    block = re.search(r"```python\n(.*?)```", (ROOT / "backends" / "README.md").read_text(), re.DOTALL)
    assert block is not None
    code = [line for line in block[1].splitlines() if line.strip()]
    assert len(code) <= 40
