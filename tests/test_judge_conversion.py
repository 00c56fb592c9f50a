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
from sysnoise_conform.judge.computed import kept, not_integers, off_precision, precisions
from sysnoise_conform.judge.conversion import in_steps, keeps_more
from sysnoise_conform.judge.policy import Policy, parse_policy
from sysnoise_conform.judge.sentences import size_of
from sysnoise_conform.outcome import Floor, Measured, Result, RuntimeFacts, TensorDiff
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
    assert bool(not_integers(runtime(precision=said, asked="int8"), "ort:int8", None, 0.5)) is fails
    assert not not_integers(runtime(precision=said, asked="fp16"), "ort:fp16", None, 0.5)


@pytest.mark.parametrize(("done", "declared", "fails"), [
    (0.01, 1.0, True), (0.49, 1.0, True), (0.51, 1.0, False), (0.3, 0.4, False), (0.1, 0.4, True), (0.01, None, False),
])  # fmt: skip
def test_integers_are_counted_in_operations_of_those_that_the_graph_has(
    done: float, declared: float | None, fails: bool
) -> None:
    shares = {"flops": {"int8": done, "fp32": 1 - done}, "layers": {"int8": 0.4, "fp32": 0.6}}
    facts = replace(runtime(precision="fp32 60 %, int8 40 %", asked="int8"), shares=shares)
    said = not_integers(facts, "ort:int8", declared, 0.5)
    assert bool(said) is fails
    assert ("+preset=ort_per_channel" in said) is fails
    assert not not_integers(facts, "ort:int8", declared, 0.0)


def test_each_cure_is_of_what_was_asked() -> None:
    facts = runtime(precision="fp32", asked="int8")
    assert "tflite+hint=int8" in not_integers(facts, "tflite:int8", None, 0.5)
    assert "+opt=extended" in not_integers(facts, "ort:int8+opt=disable", None, 0.5)
    assert "preset" not in not_integers(facts, "ort:int8+preset=qnn", None, 0.5)
    for preset in ("snpe", "qnn"):
        said = not_integers(facts, f"openvino:int8+preset={preset}", None, 0.5)
        assert said.endswith(f"the preset {preset} has uint8: +preset=openvino has int8")
    assert "preset" not in not_integers(facts, "openvino:int8", None, 0.5)
    assert not_integers(facts, "ours:int8", None, 0.5).endswith("in integers")


def test_more_precision_than_asked_for_is_told() -> None:
    assert "keeps more precision than fp16" in kept(runtime(precision="fp32 67 %, fp16 33 %", asked="fp16"))
    assert kept(runtime(precision="fp16", asked="fp16")) == ""
    few = {"flops": {"bf16": 1.0}, "layers": {"bf16": 0.9, "fp32": 0.1}}
    assert kept(replace(runtime(precision="bf16 90 %, fp32 10 %", asked="bf16"), shares=few)) == ""
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


def in_own_integers(
    policy: Policy | None = None, *outputs: TensorDiff, variant: str = "x+hint=int8", ran: RuntimeFacts | None = None
) -> VariantVerdict:
    """The verdict on a runtime that made integers of the float model by itself."""
    report, _ = converted()
    plain, _ = report.results
    assert isinstance(plain.outcome, Measured)
    made = replace(plain.outcome, outputs=outputs or (diff(NAME, rel=0.04, floor=1e-7),),
                   runtime=ran or runtime(precision="int8"))
    other = Result(variant=variant, outcome=made)
    return judge(Report(report.header, (other,), report.footer), policy or Policy()).variants[0]


def test_integers_of_a_runtimes_own_have_no_floor_and_no_pass_without_a_limit() -> None:
    found = in_own_integers()

    assert (found.verdict, found.exit_code, found.owners) == (Verdict.INCONCLUSIVE, 5, ())
    assert f"output {NAME!r} is 0.04 of its values (SQNR 28.0 dB) off in all, which is not judged" in found.sentence
    assert "+hint=int8 quantises by a recipe of the runtime's own" in found.sentence
    assert in_own_integers(parse_policy("max_design_rel_l2 = inf")).verdict is Verdict.INCONCLUSIVE
    assert in_own_integers(variant="x+weights=int8").verdict is Verdict.INCONCLUSIVE
    assert in_own_integers(variant="x+hint=bf16").verdict is Verdict.FAIL  # a float format is held to float32


def test_a_limit_of_the_policy_judges_the_whole_error_of_a_runtimes_own_integers() -> None:
    within, beyond = (in_own_integers(parse_policy(f"max_design_rel_l2 = {limit}")) for limit in (0.05, 0.03))

    assert (within.verdict, within.exit_code) == (Verdict.PASS, 0)
    assert "worst 0.04 of its values (SQNR 28.0 dB) off in all, within what the policy allows" in within.sentence
    assert "floor unit" not in within.sentence
    assert (beyond.verdict, beyond.exit_code, beyond.owners) == (Verdict.FAIL, 1, ("implementation",))
    assert "is 0.04 of its values (SQNR 28.0 dB) off in all (+hint=int8; limit 0.03)" in beyond.sentence


@pytest.mark.parametrize("knob", ["int8", "int16x8", "dynamic_int8"])
def test_a_knob_that_asks_for_integers_and_gets_floats_fails_whatever_the_numbers_say(knob: str) -> None:
    lax = parse_policy("max_design_rel_l2 = 0.5")
    floats = in_own_integers(lax, variant=f"x+hint={knob}", ran=runtime(precision="fp32"))

    assert (floats.verdict, floats.exit_code, floats.owners) == (Verdict.FAIL, 1, ("implementation",))
    assert f"+hint={knob} asks for integers and got fp32: " in floats.sentence
    # Weights in integers are computed in floats; who reports nothing has claimed nothing.
    for variant, said in (("x+hint=weights_int8", "fp32 (int8 weights)"), (f"x+hint={knob}", "not reported by it")):
        assert in_own_integers(lax, variant=variant, ran=runtime(precision=said)).verdict is Verdict.PASS


def test_how_far_builds_of_one_engine_differ_is_told_beside_the_verdict() -> None:
    facts = replace(runtime(precision="int8"), options={"rebuilds": 3, "rebuild_spread": {"y": 0.0021, "z": 1e-7}})

    found = in_own_integers(parse_policy("max_design_rel_l2 = 0.5"), ran=facts)

    assert "3 builds of the same graph differ by up to 0.0021 of the values of 'y'" in found.sentence


def test_what_is_no_rounding_fails_in_integers_of_a_runtimes_own_too() -> None:
    nothing = in_own_integers(None, diff(NAME, rel=1.2, floor=1e-7))
    broken = in_own_integers(parse_policy("max_design_rel_l2 = 0.5"), replace(diff(NAME, rel=0.04, floor=1e-7),
                                                                             nan_mismatch=3, nan_got=3))  # fmt: skip

    assert (nothing.verdict, broken.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert "limit 1)" in nothing.sentence
    assert "has NaN or Inf where PyTorch has a number" in broken.sentence


@pytest.mark.parametrize(("variant", "precision", "said"), [
    ("tflite+hint=int8", "int8", "ran in int8, as +hint=int8 asks"),
    ("tflite+hint=weights_int8", "fp32 (int8 weights)", "ran in fp32 (int8 weights), as +hint=weights_int8 asks"),
    ("mnn+weights=int8", "fp32 requested, int8 weights; MNN does not report it", "does not report what it ran in"),
    ("torch:tf32", "fp32 with tf32 operands, emulated", "as :tf32 asks"),
    ("ort", "int8", "though the model's own types were asked for"), ("openvino+hint=f32", "fp32", ""),
])  # fmt: skip
def test_who_wanted_another_precision_is_told_as_it_was(variant: str, precision: str, said: str) -> None:
    facts = replace(runtime(precision=precision), asked_precision="tf32" if ":tf32" in variant else None)
    found = off_precision(facts, frozenset({"float32"}), variant)
    assert said in found if said else not found
    assert size_of(diff(NAME, rel=5e-3), facts, variant) == ""
    assert "ran the deployed file in int8" in off_precision(runtime(precision="int8"), frozenset({"float32"}), "ort",
                                                            deployed=True)  # fmt: skip


def test_a_converted_graph_is_told_in_the_unit_of_the_tables() -> None:
    loud = diff(NAME, rel=3e-4, floor=1e-8)
    assert loud.rmse is not None
    sigma = loud.n * loud.rmse**2 / 4
    loud = replace(loud, floor=replace(loud.floor, n=loud.n, sigma_sq=sigma, sigma_max=loud.max_abs, sigma_runs=1))
    found = judged(outputs=(loud,))
    assert "worst 2 times what correct arithmetic of its types may be off (limit 5" in found.sentence
    assert "floor units" not in found.sentence.split(";")[1]
