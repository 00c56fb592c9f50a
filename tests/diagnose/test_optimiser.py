"""A fault that an optimiser brings: seen at fusion boundaries, its pass named, its smallest part handed over."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from calibration.measure import LastingCrew
from diagnose.small import diagnosed, network

from sysnoise_conform.diagnose.passes import responsible

# The weights of the convolution are small and what it reads is large, so that its result is neither. ONNX Runtime folds
# the Mul behind it into the weights, which float32 can't hold any more: they are 1e-44, two bits wide.
FOLDED = """
folded (float[1,4,12,12] x) => (float[1,4,1,1] y) {
  a = Relu (x)
  b = Mul (a, large)
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, w)
  k = Mul (c, small)
  m = Mul (k, back)
  n = Conv <kernel_shape = [3, 3]> (m, v)
  o = Relu (n)
  y = GlobalAveragePool (o)
}
"""


@pytest.fixture(scope="module")
def crew() -> Iterator[LastingCrew]:
    with LastingCrew() as children:
        yield children


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE", str(tmp_path / "cache"))


def folded() -> onnx.ModelProto:
    rng = np.random.default_rng(5)
    return network(
        FOLDED,
        {
            "large": 1e30, "w": rng.standard_normal((4, 4, 3, 3)) * 1e-30, "small": np.full((4, 1, 1), 1e-14),
            "back": 1e14, "v": rng.standard_normal((4, 4, 3, 3)) / 6,
        },
    )  # fmt: skip


def test_a_fold_of_onnx_runtime_that_underflows_is_named_with_its_pass(crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(folded(), "ort", tmp_path, crew)

    (culprit,) = found.culprits
    assert (culprit.layer.output, culprit.method) == ("m", "replay")
    assert culprit.layer.block == ("make_c", "make_k", "make_m")
    assert culprit.optimiser is not None
    assert culprit.optimiser.passes == ("ConvMulFusion",)
    assert culprit.optimiser.level == "opt=basic"
    assert "the optimiser pass ConvMulFusion brings it: with +disable=ConvMulFusion it is right" in found.sentence
    effect = found.observer_effect
    assert effect.boundaries == effect.tapped
    assert 0 < effect.tapped < len(found.layers)
    assert effect.floor_ratio is not None
    assert effect.floor_ratio <= 1


def test_the_smallest_part_that_shows_it_is_handed_over(crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(folded(), "ort", tmp_path, crew)

    folder = tmp_path / "out" / found.culprits[0].reproducer
    part = onnx.load(folder / "model.onnx")
    assert [each.op_type for each in part.graph.node] == ["Conv", "Mul", "Mul"]
    done = subprocess.run([sys.executable, "repro.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr


def test_without_the_pass_all_is_right(crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(folded(), "ort+disable=ConvMulFusion", tmp_path, crew)

    assert found.verdict == "clean", found.sentence
    assert found.runtime.options["disable"] == "ConvMulFusion"


SHARED = """
shared (float[4,3,5,5] x) => (float[4,3,5,5] y) {
  a = Mul (x, two)
  b, mean, var = BatchNormalization <training_mode = 1> (a, scale, bias, old_mean, old_var)
  y = Relu (b)
}
"""


def test_constants_that_onnx_runtime_shares_and_writes_to_are_named_with_the_pass(
    crew: LastingCrew, tmp_path: Path
) -> None:
    """onnxruntime#29790: the running statistics, which nobody reads, are written into the shared scale and bias."""
    ones, zeros = np.ones(3), np.zeros(3)
    weights = {"two": 2.0, "scale": ones, "old_var": ones, "bias": zeros, "old_mean": zeros}

    found = diagnosed(network(SHARED, weights, opset=15), "ort", tmp_path, crew)

    if found.verdict == "clean":
        pytest.skip("this ONNX Runtime has it right")
    (culprit,) = found.culprits
    assert (culprit.layer.output, culprit.method) == ("b", "cut")  # watched, the statistics have a place of their own
    assert culprit.optimiser is not None
    assert culprit.optimiser.passes == ("ConstantSharing",)
    done = subprocess.run(
        [sys.executable, "repro.py"], cwd=tmp_path / "out" / culprit.reproducer, capture_output=True, text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr


PASSES = tuple(f"pass{number}" for number in range(13))


@pytest.mark.parametrize(
    "guilty", [[PASSES[0]], [PASSES[12]], [PASSES[6]], [PASSES[3], PASSES[9]], [PASSES[11], PASSES[12], PASSES[0]]]
)
def test_the_passes_that_have_to_go_are_found_and_no_other(guilty: Sequence[str]) -> None:
    trials: list[int] = []

    def shows(without: Sequence[str]) -> bool:
        trials.append(len(without))
        return not set(guilty) <= set(without)  # each of them brings the fault by itself

    assert set(responsible(PASSES, shows)) == set(guilty)
    assert len(trials) <= 1 + 6 * len(guilty)


def test_a_fault_that_no_pass_brings_has_none() -> None:
    assert responsible(PASSES, lambda without: True) == ()
    assert responsible((), lambda without: True) == ()
