"""The wheel holds every module and data file, and nothing of the repository leaks out of the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OUTER = ("backends", "golden", "models", "reports")
SHIPPED = {".py", ".toml", ".json", ".html", ".css", ".js", ".md", ".onnx", ".safetensors", ".typed"}


def in_wheel(path: Path) -> str:
    """The name that a file of the tree has inside the wheel."""
    relative = path.relative_to(ROOT)
    return str(relative if relative.parts[0] == "sysnoise_conform" else Path("sysnoise_conform") / relative)


def shipped_files() -> list[Path]:
    folders = [ROOT / "sysnoise_conform", *(ROOT / each for each in OUTER)]
    return [
        each
        for folder in folders
        for each in folder.rglob("*")
        if each.suffix in SHIPPED and "__pycache__" not in each.parts
    ]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("wheel")
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # setuptools would take modules along that are gone
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), str(ROOT)],
        check=True,
        cwd=out,
    )
    (found,) = out.glob("*.whl")
    return zipfile.ZipFile(found).namelist()


def test_the_wheel_holds_every_module_and_data_file(wheel: list[str]) -> None:
    expected = {in_wheel(each) for each in shipped_files()}
    found = {name for name in wheel if ".dist-info/" not in name}

    assert expected == found


def test_nothing_but_the_package_is_installed(wheel: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}

    assert {each for each in tops if not each.endswith(".dist-info")} == {"sysnoise_conform"}


def test_every_folder_with_an_init_is_a_listed_package() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        in_wheel(each.parent).replace("/", ".")
        for each in shipped_files()
        if each.name == "__init__.py"
    }

    assert found == listed


def test_help_imports_neither_arrays_nor_a_runtime() -> None:
    code = "import sysnoise_conform.cli, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    heavy = {"numpy", "onnx", "polars", "torch", "onnxruntime", "openvino", "ai_edge_litert", "MNN", "tensorrt"}

    assert not heavy & set(done.stdout.split())
