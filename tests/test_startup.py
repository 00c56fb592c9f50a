"""Help is answered at once: no array, no model format, no data frame, no torch and no runtime is imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from sysnoise_conform import registry
from sysnoise_conform.cli import app

HEAVY = {
    "numpy", "onnx", "polars", "PIL", "rich", "torch", "onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime",
    "MNN", "tensorrt",
}  # fmt: skip

# The command line, and what it has imported when it is through; importing is all that costs time here.
SCRIPT = """
import sys

import sysnoise_conform.__main__
from sysnoise_conform.cli import invoke

sys.argv[0] = "conform"
code = invoke()
print("imported:", *sorted(sys.modules), file=sys.stderr)
sys.exit(code)
"""


def commands() -> list[tuple[str, ...]]:
    """Every command line that `--help` can follow: none, a command, a group, a command of a group."""
    found: list[tuple[str, ...]] = [()]
    waiting: list[tuple[tuple[str, ...], object]] = [((), typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop()
        for name, each in getattr(command, "commands", {}).items():
            found.append((*words, name))
            waiting.append(((*words, name), each))
    return sorted(found)


def after(*arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """The finished command, and the top-level packages that it had imported."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    _, told, last = done.stderr.rpartition("imported: ")
    assert told, done.stderr
    return done, {each.partition(".")[0] for each in last.split()}


def test_every_command_is_known_to_these_tests() -> None:
    assert {("run",), ("judge",), ("report",), ("backends",), ("env", "create")} <= set(commands())


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words) or "conform itself")
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    done, imported = after(*words, "--help")

    assert done.returncode == 0, done.stderr
    assert "Usage: conform" in done.stdout
    assert not imported & HEAVY


def test_a_mistyped_command_is_answered_as_quickly() -> None:
    done, imported = after("rnu")

    assert done.returncode == 2
    assert not imported & HEAVY


def test_the_version_is_answered_as_quickly() -> None:
    done, imported = after("--version")

    assert done.returncode == 0
    assert not imported & HEAVY


def test_the_list_of_the_heavy_names_every_runtime_that_has_a_backend() -> None:
    runtimes = {"ort": "onnxruntime", "openvino": "openvino", "tflite": "ai_edge_litert", "mnn": "MNN",
                "trt": "tensorrt", "torch": "torch"}  # fmt: skip

    assert set(runtimes.values()) <= HEAVY
    assert set(registry.names()) <= set(runtimes)
