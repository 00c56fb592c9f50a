"""Whose doing a difference is, on a converted graph: the runtime's, the conversion's, or nobody's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from report_samples import converted, diff, runtime

from sysnoise_conform.compare.tensors import measure
from sysnoise_conform.judge import Judgement, VariantVerdict, Verdict, judge
from sysnoise_conform.judge.conversion import in_steps, keeps_more, kept, not_integers, precisions
from sysnoise_conform.judge.policy import Policy, parse_policy
from sysnoise_conform.outcome import Floor, Measured, Result, TensorDiff
from sysnoise_conform.report import Report
from sysnoise_conform.store import GoldenTensor

NAME = "sigmoid_0.tmp_0"


def judged(policy: Policy | None = None, **changes: Any) -> VariantVerdict:
    """The verdict on the quantised variant of `converted`, with facts of it changed."""
    report, _ = converted()
    plain, quantised = report.results
    assert isinstance(quantised.outcome, Measured)
    other = Result(variant=quantised.variant, outcome=replace(quantised.outcome, **changes))
    found: Judgement = judge(Report(report.header, (plain, other), report.footer), policy or Policy())
    return found.variants[1]


def test_a_cost_below_the_limit_is_told_and_passes() -> None:
    found = judged()

    assert found.verdict is Verdict.PASS
    assert found.owners == ()
    assert f"the quantisation costs {NAME!r} 0.04 of its values (SQNR 28.0 dB)" in found.sentence


def test_a_policy_can_limit_the_cost_and_names_the_quantisation() -> None:
    found = judged(parse_policy("max_design_rel_l2 = 0.03"))

    assert (found.verdict, found.exit_code, found.owners) == (Verdict.FAIL, 1, ("design",))
    assert "loses 0.04 of its values (SQNR 28.0 dB) to the quantisation (limit 0.03)" in found.sentence
    assert "the runtime computes it as declared" in found.sentence
    assert found.findings[-1].owner == "design"


def test_one_tensor_can_be_allowed_to_lose_more() -> None:
    rule = f"""max_design_rel_l2 = 0.03\n[[tensor]]\nname = "{NAME}"\nbecause = "a mask"\nmax_design_rel_l2 = 0.05\n"""

    assert judged(parse_policy(rule)).verdict is Verdict.PASS


def test_a_cost_beyond_the_values_themselves_fails_without_being_asked_and_inf_allows_it() -> None:
    lost = {"design": (diff(NAME, rel=1.2, floor=0.0),)}

    assert judged(**lost).owners == ("design",)
    assert judged(parse_policy("max_design_rel_l2 = inf"), **lost).verdict is Verdict.PASS


def test_an_expected_cost_is_expected() -> None:
    policy = parse_policy(
        """max_design_rel_l2 = 0.03
        [[deviation]]
        variant = "ort:int8"
        tensor = "*"
        because = "known"
        owner = "ada@example.org"
        link = "https://example.org/issue/1"
        expires = 2999-01-01"""
    )

    assert judged(policy).verdict is Verdict.EXPECTED


def test_nan_that_the_conversion_makes_is_the_conversions() -> None:
    made = {"design": (diff(NAME, nan_got=7, nan_mismatch=7, floor=0.0),)}

    found = judged(parse_policy("max_design_rel_l2 = inf"), **made)

    assert found.owners == ("design",)
    assert "makes NaN or Inf" in found.sentence


def test_a_runtime_that_is_off_is_blamed_alone() -> None:
    found = judged(outputs=(diff(NAME, rel=0.1, floor=1e-6),))

    assert (found.verdict, found.owners) == (Verdict.FAIL, ("implementation",))
    assert "the runtime's doing, not the conversion's" in found.sentence


def test_both_can_be_to_blame_at_once() -> None:
    found = judged(parse_policy("max_design_rel_l2 = 0.03"), outputs=(diff(NAME, rel=0.1, floor=1e-6),))

    assert found.owners == ("implementation", "design")
    assert "to the quantisation" in found.sentence


def test_asked_for_int8_and_got_float32_fails() -> None:
    found = judged(runtime=runtime(precision="fp32", asked="int8"))

    assert (found.verdict, found.owners) == (Verdict.FAIL, ("implementation",))
    assert "asked for int8 and got fp32" in found.sentence


@pytest.mark.parametrize(
    ("said", "fails"),
    [
        ("int8", False), ("fp32 62 %, int8 38 %", False), ("i8", False), ("int8, emulated in fp32", False),
        ("fp32", True), ("fp32 93 %, bf16 7 %", True), ("fp32 (int8 weights)", True),
        ("int8 weights, computed in a type that was not read back", False),
        ("fp32 requested (precision=high); MNN does not report it", False), ("not reported by MNN", False), ("", False),
    ],
)  # fmt: skip
def test_only_what_a_runtime_reports_is_held_against_it(said: str, fails: bool) -> None:
    assert bool(not_integers(runtime(precision=said, asked="int8"))) is fails
    assert not not_integers(runtime(precision=said, asked="fp16"))


def test_more_precision_than_asked_for_is_told() -> None:
    assert "keeps more precision than fp16" in kept(runtime(precision="fp32 67 %, fp16 33 %", asked="fp16"))
    assert kept(runtime(precision="fp16", asked="fp16")) == ""
    assert kept(runtime(precision="bf16", asked="fp16")) == ""  # fewer digits, if more range
    assert kept(runtime(precision="fp16, emulated in fp32", asked="fp16")) == ""
    assert precisions(runtime(precision="f16 50 %, f32 50 %")) == ["fp16", "fp32"]


@pytest.fixture
def half() -> dict[str, np.ndarray]:
    """A value, what float16 storage makes of it with weights rounded before, and what other computations give."""
    rng = np.random.default_rng(5)
    original = rng.standard_normal(4096)
    weights = original + 3e-4 * rng.standard_normal(4096)
    exact = weights + 4e-4 * rng.standard_normal(4096)
    return {"original": original, "weights": weights, "exact": exact, "noise": rng.standard_normal(4096)}


def between(golden: np.ndarray, got: np.ndarray) -> TensorDiff:
    tensor = GoldenTensor(name="y", elem_type=TensorProto.DOUBLE, shape=golden.shape, data=golden, floor=Floor())
    return measure(tensor, got, sample=0)


def facts(half: dict[str, np.ndarray], got: np.ndarray, asked: str) -> tuple[TensorDiff, Measured]:
    outcome = Measured(
        runtime=runtime(asked=asked),
        outputs=(between(half["exact"], got),),
        design=(between(half["original"], half["exact"]),),
        total=(between(half["original"], got),),
    )
    return outcome.outputs[0], outcome


def test_a_runtime_that_leaves_roundings_out_lies_nearer_to_the_original(half: dict[str, np.ndarray]) -> None:
    assert keeps_more(*facts(half, half["weights"], "fp16"))
    assert keeps_more(*facts(half, (half["weights"] + half["exact"]) / 2, "bf16"))  # half of them


def test_an_error_of_the_same_size_that_has_nothing_to_do_with_them_does_not(half: dict[str, np.ndarray]) -> None:
    assert not keeps_more(*facts(half, half["exact"] + 4e-4 * half["noise"], "fp16"))
    assert not keeps_more(*facts(half, half["exact"] * 1.001, "fp16"))


def test_who_leaves_out_the_rounding_to_integers_is_not_excused(half: dict[str, np.ndarray]) -> None:
    assert not keeps_more(*facts(half, half["weights"], "int8"))


def test_an_output_out_of_integers_may_be_off_by_one_step_here_and_there() -> None:
    step, codes = 0.03, np.arange(1000) % 251

    def off(count: int, by: int) -> TensorDiff:
        moved = codes.copy()
        moved[:count] += by
        return between(codes * step, moved * step)

    steps = {"y": step}
    assert in_steps(off(10, 1), steps, 0.01)
    assert not in_steps(off(11, 1), steps, 0.01)  # too many
    assert not in_steps(off(1, 2), steps, 0.01)  # too far
    assert not in_steps(off(1, 1), {}, 0.01)  # no integers there
    assert not in_steps(replace(off(1, 1), nan_mismatch=1), steps, 0.01)
