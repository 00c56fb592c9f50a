"""Which Python runs a backend, and environments that are whole or not there at all."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sysnoise_conform import environments, registry
from sysnoise_conform.backends.pins import ONNX2TF
from sysnoise_conform.backends.tflite_convert import BESIDE, INSTALL
from sysnoise_conform.case import Limits
from sysnoise_conform.environments import Recipe
from sysnoise_conform.errors import BackendUnavailable, StorageError, UsageError
from sysnoise_conform.process.child import Child
from sysnoise_conform.variant import parse_variant

ANSWERS_AS_PYTHON = "#!/bin/sh\necho '[[3, 11, 0], []]'\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONFORM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CONFORM_CONFIG", raising=False)
    return tmp_path / "cache"


def configure(tmp_path: Path, text: str) -> Path:
    (tmp_path / "config").mkdir(exist_ok=True)
    path = tmp_path / "config" / "conform.toml"
    path.write_text(text)
    return path


def pretend_environment(cache: Path, backend: str, recipe: object = None) -> Path:
    folder = cache / "envs" / backend
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    made_of = recipe or {"packages": environments.RECIPES[backend].packages, "bare": environments.RECIPES[backend].bare}
    (folder / "conform-env.json").write_text(json.dumps({"backend": backend, "version": "3.11.0", "recipe": made_of}))
    return folder / "bin" / "python"


def listed() -> dict[str, str]:
    return {line.split()[0]: line for line in environments.listing()}


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_our_own_interpreter_runs_what_nobody_asked_otherwise() -> None:
    assert environments.interpreter(parse_variant("ort")) is None
    assert list(listed()) == list(registry.names())
    assert all(line.endswith(f"{sys.executable}  (this one)") for line in environments.listing())


def test_the_spec_goes_before_the_config_and_the_config_before_the_cache(cache: Path, tmp_path: Path) -> None:
    cached = pretend_environment(cache, "ort")
    assert environments.interpreter(parse_variant("ort")) == cached

    configured = script(tmp_path / "configured", ANSWERS_AS_PYTHON)
    configure(tmp_path, f'[env]\npython.ort = "{configured}"\n')
    assert environments.interpreter(parse_variant("ort")) == configured

    named = script(tmp_path / "named", ANSWERS_AS_PYTHON)
    assert environments.interpreter(parse_variant(f"ort+python={named}")) == named


def test_the_config_chooses_an_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = configure(tmp_path, f'[env]\npython.tflite = "{sys.executable}"\n')
    monkeypatch.setenv("CONFORM_CONFIG", str(path))

    assert environments.interpreter(parse_variant("tflite")) == Path(sys.executable)
    assert environments.interpreter(parse_variant("ort")) is None
    assert "configured in" in listed()["tflite"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[env", "can't be read"),
        ("env = 3", "malformed"),
        ("[env]\npython = '/usr/bin/python3'", "malformed"),
        ("[env]\npython.tflite = 3", "malformed"),
        ("[env]\npython.tflit = '/usr/bin/python3'", "did you mean 'tflite'"),
    ],
)
def test_a_config_that_makes_no_sense_is_told_by_its_name(text: str, said: str, tmp_path: Path) -> None:
    configure(tmp_path, text)

    with pytest.raises(UsageError, match=said):
        environments.interpreter(parse_variant("tflite"))


def test_a_config_that_is_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CONFIG", str(tmp_path / "none.toml"))

    with pytest.raises(UsageError, match="not there"):
        environments.interpreter(parse_variant("tflite"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no interpreter"),
        ("#!/bin/sh\nexit 0\n", "no Python that runs"),
        ("not a program", "no Python that runs"),
        ("#!/bin/sh\necho '[[3, 9, 18], []]'\n", "it is Python 3.9.18"),
        ("#!/bin/sh\necho '[[3, 10, 1], [\"onnx\"]]'\n", "it has no onnx; .* -m pip install onnx"),
    ],
)
def test_an_interpreter_that_will_not_do_says_why(text: str | None, said: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    if text is not None:
        script(python, text)

    with pytest.raises(UsageError, match=said):
        environments.interpreter(parse_variant(f"ort+python={python}"))


def test_an_environment_of_another_recipe_is_listed_as_outdated(cache: Path) -> None:
    pretend_environment(cache, "mnn", recipe={"packages": ["MNN==1"], "bare": []})
    pretend_environment(cache, "ort")

    outdated, current = listed()["mnn"], listed()["ort"]

    assert "outdated" in outdated
    assert "conform env create mnn" in outdated
    assert "outdated" not in current


def test_a_half_made_environment_is_neither_listed_nor_used(cache: Path) -> None:
    pretend_environment(cache, "ort")
    (cache / "envs" / "ort" / "conform-env.json").unlink()

    assert listed()["ort"].endswith("(this one)")
    assert environments.interpreter(parse_variant("ort")) is None


def test_an_environment_whose_python_is_gone_is_not_used(cache: Path) -> None:
    python = pretend_environment(cache, "ort")
    python.unlink()
    python.symlink_to("/nowhere/python3")

    assert environments.interpreter(parse_variant("ort")) is None


def test_what_pip_refuses_is_one_line_and_leaves_no_environment(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environments.RECIPES, "mnn", Recipe(packages=("no-such-package-of-ours==0.0.1",)))
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    with pytest.raises(BackendUnavailable, match="No matching distribution") as refusal:
        environments.create("mnn")

    assert "\n" not in str(refusal.value)
    assert "no-such-package-of-ours" in (cache / "envs" / "mnn.log").read_text()
    assert not (cache / "envs" / "mnn").exists()
    assert listed()["mnn"].endswith("(this one)")


def test_the_pins_of_the_recipes_are_those_of_the_constraints_and_of_the_makefile() -> None:
    root = Path(__file__).parents[1]
    tested = {line for line in (root / "constraints.txt").read_text().splitlines() if "==" in line and line[0] != "#"}
    pins = {pin for recipe in environments.RECIPES.values() for pin in recipe.packages}
    converter = f"--no-deps --ignore-requires-python {' '.join(ONNX2TF)}\n"

    # onnx's, which no constraint of ours touches; compressai's numpy, which is why it has an environment.
    assert pins <= tested | {"typing_extensions==4.16.0", "numpy==1.26.4"}
    assert converter in (root / "constraints.txt").read_text()
    assert converter in (root / "Makefile").read_text()
    assert INSTALL.endswith(converter.rstrip())


def test_the_tflite_extra_brings_what_the_converter_imports() -> None:
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    names = {re.split("[^a-z0-9-]", each)[0] for each in extras["optional-dependencies"]["tflite"]}

    assert set(BESIDE) <= names


def test_nothing_is_announced_that_does_not_happen(cache: Path) -> None:
    said: list[str] = []
    pretend_environment(cache, "ort")

    environments.create("ort", announce=said.append)
    with pytest.raises(UsageError):
        environments.create("nosuch", announce=said.append)

    assert said == []


def test_a_backend_without_a_recipe_is_told_the_other_way() -> None:
    with pytest.raises(UsageError, match=r"no recipe .* trt\+python=PATH"):
        environments.create("trt")
    with pytest.raises(UsageError, match="did you mean 'tflite'"):
        environments.create("tflit")


def test_a_cache_that_can_not_be_written_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CONFORM_CACHE", str(tmp_path / "file"))

    with pytest.raises(StorageError, match="can't make the environment"):
        environments.create("ort")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    former = os.environ.get("CONFORM_CACHE")
    os.environ["CONFORM_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    try:
        yield environments.create("ort")
    finally:
        os.environ.pop("CONFORM_CACHE")
        if former is not None:
            os.environ["CONFORM_CACHE"] = former


def test_a_runtime_works_in_an_environment_of_its_own_without_us_in_it(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFORM_CACHE", str(made.parents[1]))
    python = environments.interpreter(parse_variant("ort"))

    with Child.start(python=python, limits=Limits(), log=tmp_path / "log.txt", label="ort") as child:
        runtime = child.probe("ort")

    assert python == made / "bin" / "python"
    assert f"onnxruntime=={runtime.version}" in environments.RECIPES["ort"].packages
    assert not list(made.glob("lib/*/site-packages/sysnoise*"))


def test_making_a_current_environment_again_changes_nothing(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE", str(made.parents[1]))
    before = (made / "conform-env.json").stat().st_mtime_ns

    assert environments.create("ort") == made
    assert (made / "conform-env.json").stat().st_mtime_ns == before
