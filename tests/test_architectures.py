"""The comparison of designs: each can be built and told apart, its tests are exact, its page is of real runs."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.architecture.compared import falls, share
from benchmarks.architecture.designs import DELIVERED, DESIGNS, IN_WORDS, POOLED, parameters
from benchmarks.architecture.judged import judged
from benchmarks.architecture.page import FAMILIES, HEADING, written
from benchmarks.architecture.trained import trained
from conftest import CACHE
from scipy.stats import permutation_test, spearmanr

from sysnoise_conform.models.tiny.networks import Classifier
from sysnoise_conform.models.tiny.recipe import CLASSIFIER
from sysnoise_conform.models.tiny.scenes import CLASSES

SAMPLES = 12

# tiny-cls's are the 103,061 numbers of its file less the 877 that its norms keep of what they have seen.
PARAMETERS = {
    DELIVERED: 102_184, "half": 26_272, "double": 403_000, "shallow": 78_952, "deep": 222_632,
    "stride": 104_520, "mobile": 38_152,
}  # fmt: skip


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE", str(CACHE))


@pytest.mark.parametrize("name", DESIGNS)
def test_a_design_tells_the_classes_and_is_as_large_as_it_says(name: str) -> None:
    net = Classifier(DESIGNS[name]).eval()

    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, len(CLASSES))
    assert parameters(DESIGNS[name]) == PARAMETERS[name]
    assert any(isinstance(each, torch.nn.MaxPool2d) for each in net.modules()) == (name in POOLED)


def test_the_delivered_design_begins_with_the_numbers_that_tiny_cls_began_with() -> None:
    torch.manual_seed(0)
    digest = hashlib.sha256()

    for name, value in Classifier().state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())

    assert digest.hexdigest()[:16] == "da6930ac6d20a686"


@pytest.mark.parametrize(
    ("order", "drops"),
    [
        ([0, 0, 1, 1, 2, 2], [9.0, 7.5, 6.0, 8.0, 3.0, 1.0]),
        ([0, 1, 2, 3, 4, 5], [1.0, 1.0, 3.0, 0.5, -2.0, 1.5]),
        ([0, 0, 1, 1], [5.0, 6.0, 1.0, 2.0]),
    ],
)
def test_a_trend_and_its_chance_are_scipys(order: list[int], drops: list[float]) -> None:
    exact = permutation_test(
        (order,), lambda dealt: spearmanr(dealt, drops).statistic, permutation_type="pairings", alternative="less",
        n_resamples=np.inf, vectorized=False,
    )  # fmt: skip

    found = falls(order, drops)

    assert found.rho == pytest.approx(exact.statistic)
    assert found.p == pytest.approx(exact.pvalue)


def test_drops_that_are_all_the_same_show_no_trend() -> None:
    assert (falls([0, 1, 2], [0.2, 0.2, 0.2]).rho, falls([0, 1, 2], [0.2, 0.2, 0.2]).p) == (0.0, 1.0)


def test_an_interval_is_that_of_the_mean() -> None:
    values = np.repeat([1, 0], [125, 375])

    found = share(values)

    half = 1.645 * 100 * np.sqrt(0.25 * 0.75 / 500)  # the normal approximation
    assert found.drop == 25
    assert (found.drop - found.low, found.high - found.drop) == (pytest.approx(half, rel=0.1),) * 2


@pytest.mark.usefixtures("cache")
def test_the_page_is_made_of_real_runs_and_keeps_what_is_written_above(tmp_path: Path) -> None:
    small = replace(CLASSIFIER, training=48, rounds=1)
    one = judged(trained("shallow", 0, tmp_path, small), SAMPLES)
    for name, lost in one.lost.items():  # picture by picture it is what noise.json says
        told = one.cell(*name.split("="))["delta"]
        assert 100 * lost.mean() == pytest.approx(told or 0.0)
    page = tmp_path / "page.md"
    page.write_text(f"# By hand\n\n{HEADING}\n\nold\n")

    written(page, {name: {0: one, 1: one} for name in DESIGNS})

    text = page.read_text()
    assert text.startswith(f"# By hand\n\n{HEADING}\n")
    assert "\nold\n" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for name in DESIGNS:
        assert sum(line.startswith(f"| {IN_WORDS[name]} |") for line in rows) == (3 if name == DELIVERED else 4)
    assert sum(line.startswith(tuple(f"| {each} |" for each in FAMILIES)) for line in rows) == len(FAMILIES)
    assert trained("shallow", 0, tmp_path, small) == tmp_path / "shallow-0"  # not made anew


@pytest.mark.usefixtures("cache")
def test_another_recipe_is_another_training(tmp_path: Path) -> None:
    record = tmp_path / "half-0" / "training.json"
    trained("half", 0, tmp_path, replace(CLASSIFIER, training=48, rounds=1))
    before = record.read_text()

    trained("half", 0, tmp_path, replace(CLASSIFIER, training=48, rounds=2))

    assert record.read_text() != before


def test_where_nothing_changed_the_interval_is_not_nothing() -> None:
    found = share(np.zeros(500, np.int64))

    assert (found.low, found.high) == (pytest.approx(-0.597, abs=1e-3), pytest.approx(0.597, abs=1e-3))
