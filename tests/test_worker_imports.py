"""The child's side runs with numpy and onnx alone, on Python 3.10 and numpy 1.26 too."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import fakes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sysnoise_conform import registry
from sysnoise_conform.backend import Build
from sysnoise_conform.case import Limits
from sysnoise_conform.errors import BackendUnavailable
from sysnoise_conform.process.child import Child

# onnx brings protobuf, ml_dtypes and typing_extensions itself.
ALLOWED = {"sysnoise_conform", "numpy", "onnx", "google", "ml_dtypes", "typing_extensions"}

LOAD_ALL = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {allowed} and top not in sys.stdlib_module_names and not top.startswith("conform_backend_"):
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Wall())
import sysnoise_conform.process.worker
from sysnoise_conform import registry
for name in registry.names():
    registry.load(name)
print(*sorted({{each.partition(".")[0] for each in sys.modules}} - set(sys.stdlib_module_names)))
"""


def test_the_worker_and_every_backend_load_with_all_but_numpy_and_onnx_blocked() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOAD_ALL.format(allowed=ALLOWED)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert {each for each in done.stdout.split() if not each.startswith("_")} <= ALLOWED


def test_the_worker_does_not_load_the_golden_until_it_is_asked() -> None:
    script = "import sysnoise_conform.process.worker, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True).stdout

    assert not {each for each in loaded.split() if each.startswith(("sysnoise_conform.golden", "torch"))}


def oldest_python() -> str | None:
    installed = sorted(Path("~/.pyenv/versions").expanduser().glob("3.10.*/bin/python3.10"))
    for each in (*map(str, installed), shutil.which("python3.10")):
        if each is not None and subprocess.run([each, "-c", ""], capture_output=True, check=False).returncode == 0:
            return each
    return None


@pytest.fixture(scope="module")
def old_environment(pytestconfig: pytest.Config) -> Path:
    """A real Python 3.10 with numpy 1.26 and onnx, and nothing of ours; kept between test runs."""
    base = oldest_python()
    if base is None:
        pytest.skip("no Python 3.10 on this machine")
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("python3.10")
    python = folder / "bin" / "python"
    if subprocess.run([str(python), "-c", "import numpy, onnx"], check=False).returncode if python.exists() else True:
        shutil.rmtree(folder)
        subprocess.run([base, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "numpy==1.26.4", "onnx"], check=True)
    return python


def test_a_session_lives_in_an_old_environment_of_its_own(
    old_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(registry.VARIABLE, fakes.as_environment()[registry.VARIABLE])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "model.onnx"
    )
    feed = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    child = Child.start(python=old_environment, limits=Limits(), log=tmp_path / "log.txt", label="old")

    with child:
        runtime = child.probe("exact")
        child.compile("exact", Build(model=tmp_path / "model.onnx", workdir=child.workdir))
        outputs = child.run({"x": feed})
        assert np.array_equal(outputs.tensors["y"], np.abs(feed))

    assert runtime.details["python"].startswith("3.10")


@pytest.mark.parametrize("backend", registry.BUILTIN)
def test_every_backend_of_ours_says_in_an_old_environment_that_its_runtime_is_absent(
    backend: str, old_environment: Path, tmp_path: Path
) -> None:
    with (
        Child.start(python=old_environment, limits=Limits(), log=tmp_path / "log.txt", label=backend) as child,
        pytest.raises(BackendUnavailable) as absent,
    ):
        child.probe(backend)

    assert "does not work" not in str(absent.value)  # so says the worker of an error that it did not expect
