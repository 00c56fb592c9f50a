"""Whose rounding arrives: the gain of a layer's error, and what better arithmetic for the first layers buys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from calibration.measure import LastingCrew
from diagnose.small import diagnosed, network

from sysnoise_conform.diagnose.facts import Diagnosis

FAKES = Path(__file__).parents[1] / "fakes.py"


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingCrew]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONFORM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("CONFORM_BACKENDS", f"drifts={FAKES}:Drifts")
        with LastingCrew() as children:
            yield children


@pytest.fixture(scope="module")
def drifted(crew: LastingCrew, tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    return diagnosed(raised(), "drifts", tmp_path_factory.mktemp("drifted"), crew, samples=2)


def raised() -> onnx.ModelProto:
    """A chain whose every layer keeps a relative error, but for one: what is lost in `up` weighs much more."""
    steps = [f"  a{at + 1} = Mul (a{at}, c{at % 3})" for at in range(30)]
    steps[15:15] = ["  up = Add (a15, eight)", "  b = Sub (up, eight)"]
    steps[17] = "  a16 = Mul (b, c0)"
    text = "raised (float[1,400] x) => (float[1,400] y) {\n  e = Exp (x)\n  a0 = Mul (e, c0)\n"
    text += "\n".join(steps) + "\n  y = Mul (a30, c1)\n}"
    return network(text, {"eight": 8.0, "c0": 1.01, "c1": 0.98, "c2": 1.003})


def test_rounding_that_adds_up_is_ranked_by_what_of_it_arrives(drifted: Diagnosis) -> None:
    found = drifted

    assert found.verdict == "accumulated_rounding", found.sentence
    assert found.culprits == ()
    first, second = found.ranking[:2]
    assert first.output == "up"
    assert first.gain is not None
    assert second.gain is not None
    assert first.gain > 2 * second.gain
    assert second.gain == pytest.approx(1, abs=0.05)


def test_what_better_arithmetic_buys_is_measured(drifted: Diagnosis) -> None:
    found = drifted

    (output,) = found.outputs
    assert output.rel_l2 is not None
    left = [each.without for each in found.ranking]
    assert [at for at, each in enumerate(left, start=1) if each is not None] == [1, 2, 4, 8]
    measured = [output.rel_l2, *(each for each in left if each is not None)]
    assert measured == sorted(measured, reverse=True)
    # Errors of one sign add up, but for what is rounding in them: the first takes away about what it brings.
    first = found.ranking[0]
    assert first.gain is not None
    assert measured[0] - measured[1] == pytest.approx(first.introduced_rel_l2 * first.gain, rel=0.3)


def test_what_adds_up_is_nobody_s_fault_where_nothing_is_watched_either(crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(raised(), "drifts", tmp_path, crew, replay=False)

    assert found.verdict == "accumulated_rounding", found.sentence
    assert found.culprits == ()
    assert found.ranking[0].gain is None


ILL = """
ill (float[4,64] x) => (float[4,32] y) {
  a = MatMul (x, wa)
  b = Relu (a)
  c = MatMul (b, wc)
  d = MatMul (c, wd)
  e = Relu (d)
  y = MatMul (e, wy)
}
"""


def ill_conditioned() -> onnx.ModelProto:
    """The columns of `c` are nearly equal, and `d` is what they differ by."""
    rng = np.random.default_rng(3)
    differences = 30 * (np.eye(64) - np.roll(np.eye(64), 1, axis=0))
    return network(
        ILL,
        {
            "wa": rng.standard_normal((64, 64)) / 8, "wd": differences, "wy": rng.standard_normal((64, 32)) / 8,
            "wc": rng.standard_normal((64, 1)) / 8 + rng.standard_normal((64, 64)) / 800,
        },
    )  # fmt: skip


@pytest.mark.skipif("avx512_bf16" not in Path("/proc/cpuinfo").read_text(), reason="OpenVINO computes float32 here")
def test_of_a_network_in_bfloat16_the_ill_conditioned_layers_come_first(crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(ill_conditioned(), "openvino:auto", tmp_path, crew, samples=2)

    arriving = [each.introduced_rel_l2 * (each.gain or 0) for each in found.ranking]
    assert arriving == sorted(arriving, reverse=True)
    # The one makes what the other takes the difference of, and both round it.
    assert {each.output for each in found.ranking[:2]} == {"c", "d"}
    assert arriving[1] > 10 * arriving[2]
    gains = {each.output: each.gain for each in found.ranking}
    assert gains["c"] is not None
    assert gains["c"] > 10
    (output,) = found.outputs
    assert output.rel_l2 is not None
    assert found.ranking[1].without is not None
    assert found.ranking[1].without < output.rel_l2 / 10
