"""CONFORM_CACHE_MAX on the real command line: the store stays below it, the least recently used makes room, and a run
that needs more streams and says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from fakes import as_environment

NETWORK = """
<ir_version: 9, opset_import: ["": 18]>
small (float[1,3,64,64] x) => (float[1,4,64,64] y) {
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
  y = Relu (c)
}
"""
BACKEND = "exact"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    proto = onnx.parser.parse_model(NETWORK)
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    path = tmp_path / "small.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def goldens(cache: Path) -> dict[str, int]:
    """Name and size of every golden that is kept, whatever the format's version."""
    found = {}
    for path in (cache / "golden").glob("*/*.golden"):
        try:
            found[path.name] = path.stat().st_size
        except FileNotFoundError:  # it made room just now
            continue
    return found


@contextmanager
def largest(cache: Path) -> Iterator[list[int]]:
    """Watches the store for the length of the block: the largest sum of sizes that was seen."""
    seen, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen[0] = max(seen[0], sum(goldens(cache).values()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def run(conform, model: Path, cache: Path, bound: int | None, *more: str):
    environment = {**as_environment(), "CONFORM_CACHE": str(cache)}
    if bound is not None:
        environment["CONFORM_CACHE_MAX"] = str(bound)
    return conform("run", "--model", model, "--backends", BACKEND, *more, env=environment)


def test_a_run_that_would_exceed_the_bound_streams_and_says_so_everywhere(conform, model: Path, cache: Path) -> None:
    run(conform, model, cache, None, "--samples", "1")
    (one,) = goldens(cache).values()
    (cache / "golden").rename(cache / "before")
    bound = 2 * one + one // 2

    with largest(cache) as seen:
        done = run(conform, model, cache, bound, "--samples", "5")

    assert done.code == 0, done.stderr
    assert "samples" in done.stdout  # 5 of them were compared, whether kept or not
    assert [each["verdict"] for each in done.summary["variants"]] == ["PASS"]
    assert len(goldens(cache)) == 2
    assert 0 < seen[0] <= bound
    (said,) = done.summary["golden"]["notes"]
    assert "CONFORM_CACHE_MAX" in said
    assert "streamed, not kept" in said
    assert "streamed, not kept" in " ".join(done.stdout.split())
    assert "streamed, not kept" in (done.out / "report.html").read_text(encoding="utf-8")
    footer = json.loads((done.out / "report.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert "streamed, not kept" in json.dumps(footer)

    kept = goldens(cache)
    again = run(conform, model, cache, bound, "--samples", "2")

    assert again.summary["golden"]["source"] == "store"
    assert again.summary["golden"]["notes"] == []
    assert goldens(cache) == kept


def test_the_least_recently_used_golden_makes_room_for_another_run(conform, model: Path, cache: Path) -> None:
    def golden_of(seed: int) -> str:
        before = goldens(cache)
        with largest(cache) as seen:
            done = run(conform, model, cache, bound, "--samples", "1", "--seed", str(seed))
        assert done.code == 0, done.stderr
        assert bound is None or seen[0] <= bound
        return next(iter(goldens(cache).keys() - before.keys()), "")

    bound = None
    first = golden_of(1)
    bound = 2 * goldens(cache)[first] + 1000
    second = golden_of(2)
    assert golden_of(1) == ""  # found, so that it is now the one used last
    third = golden_of(3)

    assert set(goldens(cache)) == {first, third}
    assert second


def test_a_bound_below_one_golden_keeps_nothing_and_still_measures(conform, model: Path, cache: Path) -> None:
    done = run(conform, model, cache, 1000, "--samples", "2")

    assert done.code == 0, done.stderr
    assert goldens(cache) == {}
    assert "streamed, not kept" in done.summary["golden"]["notes"][0]


def test_a_bound_that_is_no_size_is_a_mistake_of_one_line(conform, model: Path, cache: Path) -> None:
    done = conform(
        "run", "--model", model, "--backends", BACKEND,
        env={**as_environment(), "CONFORM_CACHE": str(cache), "CONFORM_CACHE_MAX": "plenty"},
    )  # fmt: skip

    assert done.code == 2
    assert done.stderr.count("error:") == 1
    assert "CONFORM_CACHE_MAX" in done.stderr
