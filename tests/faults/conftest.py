"""Command lines with a backend that has a fault on request, in a folder of their own."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import faulty
import onnx
import onnx.parser
import pytest
from faults.observed import MARK, Make, Run


@pytest.fixture(scope="session", autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C is heard by what the tests start, also where a shell runs them in its background, deaf to it."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    onnx.save(onnx.parser.parse_model(faulty.MODEL), folder / "tiny.onnx")
    return folder


@pytest.fixture(scope="session")
def model(workplace: Path) -> Path:
    return workplace / "tiny.onnx"


@pytest.fixture(scope="session")
def make(workplace: Path) -> Iterator[Make]:
    """A new `Run` that is not started; `cache` is its store, the one that all share by default."""
    started: list[Run] = []

    def new(*, cache: Path | None = None, env: Mapping[str, str] | None = None) -> Run:
        mark = uuid.uuid4().hex
        folder = workplace / mark[:12]
        for each in ("tmp", "stamps"):
            (folder / each).mkdir(parents=True)
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CONFORM_")},
            **faulty.as_environment(),
            "CONFORM_CACHE": str(cache or workplace / "store"),
            "TMPDIR": str(folder / "tmp"),
            "FAULT_STAMPS": str(folder / "stamps"),
            MARK: mark,
            **(env or {}),
        }
        started.append(Run(folder=folder, env=variables, mark=mark))
        return started[-1]

    yield new
    for each in started:
        for pid in each.mine():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def clean(make: Make, model: Path) -> Run:
    """A run in which nothing happens, which also makes the golden that the others find."""
    run = make().start("run", "-n", "1", "-m", model, "-b", "subject", "-o", "out").finish()
    assert run.code == 0, run.stderr + run.stdout
    assert len(run.numbers("subject")) == 8  # y and z, each of four layers, and both outputs under observation
    return run
