"""Facts and a policy in, verdicts out: when a release may go, and what is said when it may not."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from report_samples import OUTCOMES, diff, header, measured
from scipy.stats import f as snedecor

from sysnoise_conform.judge import Judgement, VariantVerdict, Verdict, judge
from sysnoise_conform.judge.departure import carriers, departure, floor_of, plain, widening
from sysnoise_conform.judge.policy import Policy, parse_policy
from sysnoise_conform.outcome import (
    Crashed,
    Floor,
    Measured,
    NoOp,
    Outcome,
    Reading,
    Result,
    RuntimeFacts,
    Skipped,
    TensorDiff,
    Unavailable,
    Unobservable,
    Unsupported,
)
from sysnoise_conform.report import Report, ReportWriter

DAY = date(2026, 11, 21)
NAMES = ["a", "b", "c", "y"]


def tensor(name: str = "y", *, units: float = 1.0, n: int = 100_000, **changes: Any) -> TensorDiff:
    """A float tensor that is `units` floor units off."""
    return diff(name, rel=units * 1e-6, floor=1e-6, n=n, **changes)


def integers(name: str = "y", *, wrong: int = 0, n: int = 1000, ties: int = 0, **changes: Any) -> TensorDiff:
    facts = {
        "name": name, "dtype": "INT64", "shape": (n,), "samples": 1, "n": n, "finite": n, "mismatches": wrong,
        "sum_sq_err": float(wrong), "max_abs": 1.0 if wrong else 0.0, "sum_sq_golden": float(n),
        "floor": Floor(n=n, mismatches=ties),
    }  # fmt: skip
    return TensorDiff(**{**facts, **changes})


def runtime(name: str, **changes: Any) -> RuntimeFacts:
    return RuntimeFacts(**{"name": name, "version": "1", "device": "cpu", **changes})


def ran(*outputs: TensorDiff, layers: Sequence[TensorDiff] | None = None, **changes: Any) -> Measured:
    seen = tuple(tensor(each) for each in NAMES[:-1]) if layers is None else tuple(layers)
    return measured([], **{"outputs": outputs, "layers": seen, "observer_effect": (), **changes})


def report(
    *,
    kind: str = "images",
    outputs: Sequence[str] = ("y",),
    inputs: Mapping[str, Any] | None = None,
    reads: Mapping[str, Sequence[str]] | None = None,
    **outcomes: Outcome,
) -> Report:
    head = header(NAMES)
    if reads is not None:
        head["layers"] = [{**each, "reads": reads.get(each["tensor"], [])} for each in head["layers"]]
    head = {
        **head, "outputs": list(outputs), "variants": [name.replace("__", ":") for name in outcomes],
        "inputs": {**head["inputs"], "kind": kind, **(inputs or {})},
    }  # fmt: skip
    results = tuple(Result(variant=name.replace("__", ":"), outcome=each) for name, each in outcomes.items())
    return Report(header=head, results=results, footer={})


def judged(policy: str = "", **given: Any) -> Judgement:
    return judge(report(**given), parse_policy(policy), today=DAY)


def only(policy: str = "", **given: Any) -> VariantVerdict:
    (one,) = judged(policy, **given).variants
    return one


# What passes.


@pytest.mark.parametrize("units", [0.0, 1.0, 3.0, 4.9])
def test_an_output_within_the_limit_passes(units: float) -> None:
    verdict = judged(ort=ran(tensor(units=units)))

    assert (verdict.verdict, verdict.exit_code, verdict.exit_codes) == (Verdict.PASS, 0, (0,))


def test_a_pass_says_what_was_compared_and_how_close_it_is() -> None:
    assert (
        judged(ort=ran(tensor(units=2.1))).sentence
        == "PASS ort: 1 output over 8 samples, worst 2.1 floor units (limit 5)"
    )


def test_a_pass_on_synthetic_inputs_says_that_it_is_no_evidence() -> None:
    one = judged(kind="synthetic", ort=ran(tensor()))
    two = judged(kind="synthetic", ort=ran(tensor()), mnn=ran(tensor()))

    assert one.sentence.startswith("PASS on synthetic inputs: no evidence for a release")
    assert two.sentence.startswith("PASS on synthetic inputs: no evidence for a release")
    assert (one.exit_code, two.exit_code) == (0, 0)


def test_synthetic_inputs_are_inconclusive_where_real_ones_are_required() -> None:
    verdict = judged("require_real_inputs = true", kind="synthetic", ort=ran(tensor()))

    assert (verdict.verdict, verdict.exit_code) == (Verdict.INCONCLUSIVE, 5)
    assert "--inputs" in verdict.sentence


def test_real_inputs_are_real_also_where_they_are_required() -> None:
    assert judged("require_real_inputs = true", kind="arrays", ort=ran(tensor())).exit_code == 0


# Layers: "b" is read by "c".

READS = {"b": ["a"], "c": ["b"], "y": ["c"]}


def watched(**units: float) -> Measured:
    return ran(tensor(), layers=[tensor(name, units=units.get(name, 1.0)) for name in NAMES[:-1]])


def test_a_layer_that_departs_fails_the_variant_though_no_output_does() -> None:
    one = only(reads=READS, ort=watched(b=9, c=4))

    assert (one.verdict, one.exit_code, one.first_departure, one.worst) == (Verdict.FAIL, 1, "b", "b")
    assert one.sentence == (
        "FAIL ort: Relu 'Relu_1' (layer 2 of 4) is 9 floor units off (limit 5); no output does on these inputs"
    )


def test_a_layer_informs_where_the_policy_wants_it_so() -> None:
    one = only("layers_gate = false", reads=READS, ort=watched(b=9, c=4))

    assert (one.verdict, one.first_departure) == (Verdict.PASS, "b")
    assert "1 layer on the way beyond the limit for layers, the first: Relu 'Relu_1'" in one.sentence


def test_a_layer_that_is_off_while_nothing_computed_from_it_is_off_is_only_shown_otherwise() -> None:
    one = only(reads=READS, ort=watched(b=1e6))

    assert (one.verdict, one.first_departure) == (Verdict.PASS, "b")
    assert one.sentence.endswith("nothing that is computed from it is off: it is only shown otherwise")


def test_what_is_shown_otherwise_does_not_hide_the_first_departure_behind_it() -> None:
    one = only(reads=READS, ort=watched(a=1e6, b=40, c=30))

    assert (one.verdict, one.first_departure) == (Verdict.FAIL, "b")
    assert {each.tensor for each in one.findings} == {"a", "b", "c"}


def test_a_shape_that_is_only_shown_otherwise_does_not_hide_the_first_departure_behind_it() -> None:
    layers = [tensor("a", shape_got=(32, 32, 4)), tensor("b", units=40), tensor("c", units=30)]

    assert only(reads=READS, ort=ran(tensor(), layers=layers)).first_departure == "b"
    layers[1] = tensor("b", units=1e6)
    assert only(reads=READS, ort=ran(tensor(), layers=layers)).first_departure == "a"


def test_a_layer_whose_reader_could_not_be_watched_is_evidence() -> None:
    facts = ran(tensor(), layers=[tensor("a"), tensor("b", units=1e6)])

    assert only(reads=READS, ort=facts).verdict is Verdict.FAIL


def test_layers_of_a_graph_that_gives_other_outputs_are_no_evidence() -> None:
    facts = watched(b=9, c=9)
    moved = only(reads=READS, ort=replace(facts, observer_effect=(tensor(units=2.1),)))
    flipped = only(reads=READS, ort=replace(facts, observer_effect=(integers(wrong=1),)))
    still = only(reads=READS, ort=replace(facts, observer_effect=(tensor(units=1.9), integers())))

    assert [each.verdict for each in (moved, flipped, still)] == [Verdict.PASS, Verdict.PASS, Verdict.FAIL]
    assert moved.first_departure == "b"
    assert "the layers were watched under a different graph" in moved.sentence


def test_a_report_that_does_not_know_what_reads_what_is_gated_by_its_outputs() -> None:
    assert only(ort=watched(b=9, c=9)).verdict is Verdict.PASS


def test_a_departing_layer_can_be_expected() -> None:
    waiver = """
    [[deviation]]
    variant = "ort"
    tensor = "b"
    because = "known"
    owner = "ada@example.org"
    link = "https://example.org/issue/12"
    expires = 2027-01-31
    """
    assert only(waiver, reads=READS, ort=watched(b=9)).verdict is Verdict.EXPECTED


# What fails.


@pytest.mark.parametrize("units", [10.2, 100.0, 1e5])
def test_an_output_beyond_the_limit_fails(units: float) -> None:
    verdict = judged(ort=ran(tensor(units=units)))

    assert (verdict.verdict, verdict.exit_code) == (Verdict.FAIL, 1)


def test_a_failure_names_output_number_limit_first_departure_and_reading() -> None:
    layers = [
        tensor("c", units=9000),
        tensor("b", units=8700, readings=(Reading(kind="bfloat16", residual=0.0),)),
        tensor("a", units=1.3),
    ]
    facts = runtime("openvino", effective_precision="bf16", asked_precision="auto")

    one = only(openvino__auto=ran(tensor(units=11312), layers=layers, runtime=facts))

    assert one.sentence == (
        "FAIL openvino:auto: output 'y' is 11,300 floor units off (limit 5); "
        "first departure: Relu 'Relu_1' (layer 2 of 4), 8,700 floor units; this looks like bfloat16 arithmetic; "
        "openvino chose bfloat16 by itself on this host: pin it with openvino (no :auto)"
    )
    assert (one.first_departure, one.worst) == ("b", "c")
    assert [each.tensor for each in one.findings] == ["b", "y", "c"]
    assert (one.findings[0].op_type, one.findings[0].node) == ("Relu", "Relu_1")
    assert one.findings[0].number == pytest.approx(8700)
    assert one.findings[0].reading == "this looks like bfloat16 arithmetic"


def test_a_failure_that_no_layer_shows_says_so() -> None:
    assert "no layer departs by itself" in only(ort=ran(tensor(units=50))).sentence


def test_an_error_without_a_reading_is_told_by_its_size() -> None:
    measured_in_fp32 = ran(diff("y", rel=5e-3, floor=1e-6))
    unsaid = replace(measured_in_fp32.runtime, effective_precision="not reported by MNN")

    assert "usual for bfloat16" in only(ort=replace(measured_in_fp32, runtime=unsaid)).sentence
    # Where the runtime is known to have computed in float32, precision is not where to look.
    assert "bfloat16" not in only(ort=measured_in_fp32).sentence


def test_a_reading_is_told_of_the_tensor_that_the_sentence_names() -> None:
    shifted = replace(tensor("b", units=1e4), readings=())
    output = replace(tensor(units=1e4), readings=(Reading(kind="scale", residual=0.0, value="1.02"),))

    one = only(ort=ran(output, layers=(shifted,)))

    assert "first departure" in one.sentence
    assert "1.02" not in one.sentence
    assert "1.02" in next(each.reading for each in one.findings if each.tensor == "y")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nan_mismatch": 3, "nan_got": 3, "first_nonfinite": (2, 0, 7)}, "has NaN or Inf where PyTorch has a number"),
        ({"nan_mismatch": 3, "nan_golden": 3}, "hides PyTorch's NaN or Inf"),
        ({"nan_mismatch": 1, "nan_golden": 2, "nan_got": 2}, "other NaN and Inf than PyTorch"),
    ],
)
def test_nan_against_a_number_fails_whatever_the_limits(changes: dict[str, Any], words: str) -> None:
    lax = "max_floor_ratio = inf\nmax_peak_ratio = inf\nmax_z = inf\nmax_mismatch_share = 1\nmax_code_share = 1"

    one = only(lax, ort=ran(tensor(units=0.0, **changes)))

    assert one.verdict is Verdict.FAIL
    assert words in one.sentence


def test_the_place_of_the_first_nan_is_named() -> None:
    one = only(ort=ran(tensor(nan_mismatch=3, nan_got=3, first_nonfinite=(2, 0, 7))))

    assert "first at index (0, 7) of sample 2" in one.sentence


def test_another_shape_or_type_fails_before_any_value() -> None:
    shape = only(ort=ran(tensor(shape_got=(1, 8), n=0, finite=0)))
    dtype = only(ort=ran(tensor(dtype_got="FLOAT16", n=0, finite=0)))

    assert "has shape (1, 8), PyTorch has (1, 4, 32, 32)" in shape.sentence
    assert "has type FLOAT16, the model declares FLOAT" in dtype.sentence
    assert shape.exit_code == dtype.exit_code == 1


def test_an_output_without_a_finite_value_is_a_broken_model_even_where_both_agree() -> None:
    one = only(ort=ran(tensor(units=0.0, finite=0, nan_golden=100_000, nan_got=100_000, sum_sq_err=0.0)))

    assert one.verdict is Verdict.FAIL
    assert "output 'y' holds no finite value, and PyTorch's golden holds the same: the model is broken" in one.sentence
    assert "rounding that accumulates" not in one.sentence
    assert one.first_departure is None


def test_inputs_that_hold_nan_are_blamed_for_what_comes_of_them() -> None:
    spoiled = tensor(units=0.0, finite=0, nan_golden=100_000, nan_got=100_000, sum_sq_err=0.0)
    partly = tensor(units=0.0, nan_golden=8, nan_got=8)

    whole = only(inputs={"nonfinite": 3}, ort=ran(spoiled))
    part = only(inputs={"nonfinite": 3}, ort=ran(partly))

    assert (whole.exit_code, part.exit_code) == (1, 1)
    assert "the inputs hold 3 NaN or Inf" in whole.sentence
    assert "the inputs hold 3 NaN or Inf" in part.sentence
    assert only(ort=ran(partly)).exit_code == 0


def test_a_model_that_turns_everything_to_nan_is_told_from_which_layer_on() -> None:
    gone = {"units": 0.0, "finite": 0, "nan_golden": 100_000, "nan_got": 100_000, "sum_sq_err": 0.0}

    one = only(ort=ran(tensor(**gone), layers=[tensor("c", **gone), tensor("b", **gone), tensor("a")]))

    assert one.sentence.endswith("nothing finite is left from Relu 'Relu_1' (layer 2 of 4) on")


def test_a_departure_goes_before_an_output_that_is_broken_anyway() -> None:
    broken = tensor("z", units=0.0, finite=0, nan_golden=100_000, nan_got=100_000, sum_sq_err=0.0)

    one = only(outputs=("y", "z"), ort=ran(tensor(units=500), broken))

    assert one.sentence.startswith("FAIL ort: output 'y' is 500 floor units off (limit 5), and 1 other output")


@pytest.mark.parametrize("name", ["sum_sq_err", "max_abs"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_never_passes(name: str, value: float) -> None:
    assert only(ort=ran(tensor(**{name: value, "mismatches": 9}))).verdict is Verdict.FAIL


def test_one_wrong_element_among_a_million_fails_though_the_rms_drowns_it() -> None:
    n = 1_000_000
    one = only(ort=ran(tensor(n=n, units=1.0, max_abs=2e-3)))

    assert one.verdict is Verdict.FAIL
    assert "has an element that is" in one.sentence


# Small tensors, luck, and theory.


@pytest.mark.parametrize("n", [1, 2, 3, 10, 64, 199, 201, 5000])
def test_the_widening_is_the_quantile_of_the_f_distribution(n: int) -> None:
    assert widening(n) == pytest.approx(math.sqrt(snedecor.ppf(0.999, n, n)), rel=1e-4)


def test_a_scalar_is_not_failed_for_a_lucky_float32() -> None:
    assert only(ort=ran(tensor(units=50, n=1, finite=1))).verdict is Verdict.PASS
    assert only(ort=ran(tensor(units=50, n=1000))).verdict is Verdict.FAIL


def test_a_floor_of_zero_by_luck_is_no_less_than_one_rounding() -> None:
    lucky = diff("y", rel=5e-8, floor=0.0, n=100)

    assert lucky.floor_ratio is None
    assert floor_of(lucky) == pytest.approx(2**-24 / math.sqrt(6))
    assert only(ort=ran(lucky)).verdict is Verdict.PASS
    assert only(ort=ran(diff("y", rel=3e-3, floor=0.0, n=100))).verdict is Verdict.FAIL


def test_a_sigmoid_is_held_to_roundings_of_one_not_of_its_tiny_results() -> None:
    limits = Policy().limits("ort", "y")
    flushed = diff("y", rel=1.0, floor=1e-7, rms=1e-9)
    wrong = diff("y", rel=1e-4, floor=1e-7, rms=0.5)

    assert departure(replace(flushed, op_type="Sigmoid"), limits, max_code_share=0) is None
    assert departure(replace(flushed, op_type="Mul"), limits, max_code_share=0) is not None
    assert departure(replace(wrong, op_type="Sigmoid"), limits, max_code_share=0) is not None


def test_an_error_that_the_operands_explain_is_no_departure() -> None:
    loud = tensor(units=50)
    assert loud.rmse is not None
    explained = replace(
        loud, floor=replace(loud.floor, sigma_sq=loud.n * loud.rmse**2, sigma_max=loud.max_abs, sigma_runs=1)
    )
    unexplained = replace(explained, floor=replace(explained.floor, sigma_sq=loud.n * (loud.rmse / 50) ** 2))

    assert only(ort=ran(explained)).verdict is Verdict.PASS
    assert only(ort=ran(unexplained)).verdict is Verdict.FAIL


def test_double_precision_is_held_to_float64_theory() -> None:
    close = diff("y", rel=1e-14, floor=0.0, dtype="DOUBLE")
    single = diff("y", rel=1e-8, floor=0.0, dtype="DOUBLE")

    assert only(ort=ran(close)).verdict is Verdict.PASS
    assert only(ort=ran(single)).verdict is Verdict.FAIL


def test_a_pass_on_one_element_says_one_element() -> None:
    assert only(ort=ran(tensor(units=50, n=1, mismatches=1))).sentence.endswith(
        "worst 50 floor units (limit 3,180 at 1 element)"
    )


def test_a_pass_names_the_output_that_is_nearest_to_its_own_limit_not_the_largest_number() -> None:
    scalar, image = tensor(units=50, n=1, mismatches=1), tensor("z", units=4.5)

    assert only(outputs=("y", "z"), ort=ran(scalar, image)).sentence.endswith("at 4.5 floor units (limit 5)")


def test_a_pass_that_only_the_derived_sigma_explains_says_so() -> None:
    loud = tensor(units=50)
    assert loud.rmse is not None
    explained = replace(
        loud, floor=replace(loud.floor, sigma_sq=loud.n * loud.rmse**2 / 4, sigma_max=loud.max_abs, sigma_runs=1)
    )

    assert only(ort=ran(explained)).sentence.endswith(
        "worst 50 floor units (limit 5; correct arithmetic may be that far off here: z 2)"
    )


def heavy(units: float, *, floor_on: int, error_on: int, n: int = 1000) -> TensorDiff:
    """A tensor whose floor and whose error are carried by so many of its elements."""
    plain_one = tensor(units=units, n=n)
    squares, own = plain_one.sum_sq_err, plain_one.floor.sum_sq
    return replace(
        plain_one,
        sum_quad_err=3 * squares**2 / (error_on + 2),
        floor=replace(plain_one.floor, sum_quad=3 * own**2 / (floor_on + 2)),
    )


@pytest.mark.parametrize("carrying", [1, 7, 1000])
def test_as_many_elements_widen_the_limit_as_carry_the_rounding(carrying: int) -> None:
    assert carriers(heavy(1, floor_on=carrying, error_on=carrying)) == carrying


def test_one_huge_element_that_carries_the_rounding_is_judged_as_a_single_one() -> None:
    one = only(ort=ran(heavy(200, floor_on=1, error_on=1)))

    assert one.verdict is Verdict.PASS
    assert one.sentence.endswith("(limit 3,180: 1 of 1,000 elements carries the rounding)")


def test_an_error_that_is_spread_wider_than_the_rounding_is_not_excused_by_it() -> None:
    assert only(ort=ran(heavy(200, floor_on=1, error_on=1000))).verdict is Verdict.FAIL


def test_one_wrong_element_does_not_excuse_itself() -> None:
    assert only(ort=ran(heavy(200, floor_on=1000, error_on=1))).verdict is Verdict.FAIL


def test_where_the_floor_is_the_roundings_of_the_values_these_tell_how_many_carry_it() -> None:
    few = diff("y", rel=1e-6, floor=0.0, n=1000)
    few = replace(few, sum_quad_err=few.sum_sq_err**2, sum_quad_golden=few.sum_sq_golden**2 / 2)

    assert carriers(few) == 2


# Integers.


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"wrong": 0}, Verdict.PASS),
        ({"wrong": 1}, Verdict.FAIL),
        ({"wrong": 1, "n": 20_000}, Verdict.PASS),
        ({"wrong": 5, "ties": 1}, Verdict.PASS),
        ({"wrong": 6, "ties": 1}, Verdict.FAIL),
        ({"wrong": 9, "dtype": "UINT8"}, Verdict.PASS),
        ({"wrong": 11, "dtype": "UINT8"}, Verdict.FAIL),
        ({"wrong": 9, "dtype": "UINT8", "max_abs": 2.0}, Verdict.FAIL),
        ({"wrong": 1, "dtype": "BOOL"}, Verdict.FAIL),
        ({"wrong": 1, "dtype": "STRING"}, Verdict.FAIL),
    ],
)
def test_integers_are_judged_by_equality_but_for_pytorchs_own_ties(facts: dict[str, Any], verdict: Verdict) -> None:
    assert only(ort=ran(integers(**facts))).verdict is verdict


def test_a_tie_that_pytorch_itself_resolves_differently_is_neither_right_nor_wrong() -> None:
    tie = judged(ort=ran(integers(n=1, wrong=1, ties=1)))
    own = Floor(n=1000, mismatches=1000, shapes_differ=True)
    shape = judged(ort=ran(integers(shape_got=(999,), floor=own)))

    assert (tie.exit_code, shape.exit_code) == (5, 5)
    assert "float32 and float64 disagree" in tie.sentence
    assert judged(ort=ran(integers(n=1, wrong=0, ties=1))).exit_code == 0
    assert judged(ort=ran(integers(shape_got=(999,), ties=0))).exit_code == 1


@pytest.mark.parametrize("ties", [1, 1000])
def test_a_wrong_shape_or_type_is_not_excused_by_ties_that_have_nothing_to_do_with_it(ties: int) -> None:
    assert judged(ort=ran(integers(shape_got=(999,), ties=ties))).exit_code == 1
    assert judged(ort=ran(integers(dtype_got="INT32", ties=ties))).exit_code == 1


def test_values_that_overflow_in_pytorchs_float32_alone_unsettle_only_a_whole_tensor() -> None:
    wrong = {"nan_got": 10, "nan_mismatch": 10}
    some = replace(tensor(**wrong), floor=Floor(n=60_000, mismatches=40_000))
    whole = replace(tensor(**wrong), floor=Floor(n=0, mismatches=100_000))

    assert judged(ort=ran(some)).exit_code == 1
    assert judged(ort=ran(whole)).exit_code == 5


# Chance.


def random(name: str, **given: Any) -> VariantVerdict:
    facts = report(**given)
    (one,) = judge(replace(facts, header={**facts.header, "random": [name]}), Policy(), today=DAY).variants
    return one


def test_an_output_that_a_random_operator_draws_anew_is_neither_right_nor_wrong() -> None:
    drawn = ran(tensor(units=1e6), nondeterministic=("y",))

    one = random("noise", ort=drawn)

    assert (one.verdict, one.exit_code) == (Verdict.INCONCLUSIVE, 5)
    assert "it hangs on a random operator (noise)" in one.sentence
    assert only(ort=drawn).exit_code == 1


def test_a_departure_that_starts_at_a_random_operator_is_chance_also_when_it_draws_the_same_twice() -> None:
    seeded = ran(tensor(units=1e6), layers=[tensor("a"), tensor("b", units=1e6)])

    assert random("Relu_1", ort=seeded).verdict is Verdict.INCONCLUSIVE
    assert random("Conv_2", ort=seeded).verdict is Verdict.FAIL


def test_chance_excuses_no_shape() -> None:
    assert random("noise", ort=ran(tensor(shape_got=(1,), n=0, finite=0), nondeterministic=("y",))).exit_code == 1


# What is never green.


@pytest.mark.parametrize(
    "outcome",
    [
        ran(missing_outputs=(Unobservable(tensor="y", why="not kept"),)),
        ran(),
        ran(tensor("other")),
        ran(tensor(samples=0, n=0, finite=0)),
        ran(tensor(samples=1, n=0, finite=0, shape=(0, 6))),
        ran(tensor(), missing_outputs=(Unobservable(tensor="y", why="not kept"),)),
        *OUTCOMES.values(),
    ],
)
def test_what_was_not_compared_is_never_green(outcome: Outcome) -> None:
    verdict = judged(ort=outcome)

    assert verdict.exit_code in (3, 5, 6)
    assert verdict.verdict is Verdict.INCONCLUSIVE


def test_one_of_two_outputs_missing_is_no_pass() -> None:
    verdict = judged(outputs=("y", "z"), ort=ran(tensor()))

    assert (verdict.verdict, verdict.exit_code) == (Verdict.INCONCLUSIVE, 5)
    assert "output 'z' was not compared" in verdict.sentence


def test_nothing_at_all_is_inconclusive() -> None:
    verdict = judged()

    assert (verdict.verdict, verdict.exit_code, verdict.variants) == (Verdict.INCONCLUSIVE, 5, ())


def test_a_variant_that_was_asked_for_and_has_no_result_is_missed() -> None:
    facts = report(ort=ran(tensor()))
    facts = replace(facts, header={**facts.header, "variants": ["ort", "mnn"]})

    verdict = judge(facts, Policy(), today=DAY)

    assert verdict.exit_code == 5
    assert "mnn" in verdict.sentence


def test_an_empty_output_beside_a_full_one_is_compared() -> None:
    empty = tensor("z", samples=1, n=0, finite=0, shape=(0, 6))

    assert judged(outputs=("y", "z"), ort=ran(tensor(), empty)).exit_code == 0


def test_too_few_layers_for_the_policy_are_inconclusive() -> None:
    hidden = (Unobservable(tensor="c", why="fused"),)
    facts = ran(tensor(), layers=[tensor("a"), tensor("b")], unobservable=hidden)

    assert only("min_layer_coverage = 0.5", ort=facts).verdict is Verdict.PASS
    assert only("min_layer_coverage = 0.9", ort=facts).verdict is Verdict.INCONCLUSIVE


# Exit codes.

GOOD, BAD = ran(tensor()), ran(tensor(units=500))
CRASH = Crashed(stage="run", cause="crash", why="the child ended", signal="SIGSEGV")
ABSENT = Unavailable(why="not installed", cure="pip install x")
REFUSED = Unsupported(stage="compile", why="no kernel")


@pytest.mark.parametrize(
    ("outcomes", "code", "codes"),
    [
        ([GOOD, GOOD], 0, (0,)),
        ([GOOD, BAD], 1, (1, 0)),
        ([GOOD, CRASH], 3, (3, 0)),
        ([GOOD, ABSENT], 6, (6, 0)),
        ([GOOD, REFUSED], 5, (5, 0)),
        ([BAD, CRASH, ABSENT, REFUSED], 1, (1, 3, 6, 5)),
        ([CRASH, ABSENT, REFUSED], 3, (3, 6, 5)),
        ([ABSENT, REFUSED], 6, (6, 5)),
        ([GOOD, Skipped(why="no")], 5, (5, 0)),
        ([GOOD, NoOp(same_as="v0")], 5, (5, 0)),
    ],
)
def test_of_several_codes_the_gravest_wins_and_all_are_listed(
    outcomes: list[Outcome], code: int, codes: tuple[int, ...]
) -> None:
    verdict = judged(**{f"v{number}": each for number, each in enumerate(outcomes)})

    assert (verdict.exit_code, verdict.exit_codes) == (code, codes)


def test_several_variants_are_summed_up_in_one_sentence() -> None:
    sentence = judged(ort=GOOD, mnn=GOOD, tflite=BAD).sentence

    assert sentence.startswith("FAIL: 2 of 3 conform (ort, mnn); tflite: output 'y' is 500 floor units off")
    assert "\n" not in sentence


# Deviations.

EXPECT = """
[[deviation]]
variant = "ort"
tensor = "{tensor}"
because = "softmax saturates"
owner = "ada"
link = "https://example.org/1"
expires = {day}
"""


def test_a_failure_that_is_expected_lets_the_release_go() -> None:
    verdict = judged(EXPECT.format(tensor="y", day="2026-11-21"), ort=BAD)

    assert (verdict.verdict, verdict.exit_code) == (Verdict.EXPECTED, 0)


def test_an_expectation_ends_on_its_day() -> None:
    verdict = judged(EXPECT.format(tensor="y", day="2026-11-20"), ort=BAD)

    assert (verdict.verdict, verdict.exit_code) == (Verdict.FAIL, 1)
    assert "expired on 2026-11-20 (owner ada)" in verdict.sentence


def test_an_expectation_that_no_longer_occurs_fails_the_run() -> None:
    verdict = judged(EXPECT.format(tensor="y", day="2027-01-01"), ort=GOOD)

    assert (verdict.verdict, verdict.exit_code) == (Verdict.STALE, 1)
    assert "remove it" in verdict.sentence


def test_an_expectation_covers_no_other_tensor() -> None:
    two = ran(tensor("y", units=500), tensor("z", units=500))
    verdict = judged(EXPECT.format(tensor="y", day="2027-01-01"), outputs=("y", "z"), ort=two)

    assert (verdict.verdict, verdict.exit_code) == (Verdict.FAIL, 1)
    assert "output 'z'" in verdict.sentence


def test_an_expectation_for_a_variant_of_another_run_is_not_stale() -> None:
    assert judged(EXPECT.format(tensor="y", day="2027-01-01"), mnn=GOOD).exit_code == 0


def test_an_expectation_of_a_variant_that_could_not_run_is_not_stale() -> None:
    assert judged(EXPECT.format(tensor="y", day="2027-01-01"), ort=ABSENT).exit_code == 6


# What else is said.


def test_a_precision_that_the_runtime_chose_is_told_also_in_a_pass() -> None:
    facts = runtime("openvino", effective_precision="bf16 93 %, fp32 7 %", asked_precision="auto")

    assert "openvino chose bfloat16 by itself" in only(openvino__auto=ran(tensor(), runtime=facts)).sentence


def test_the_models_own_precision_is_not_worth_a_word() -> None:
    facts = runtime("openvino", effective_precision="fp32", asked_precision=None)

    assert "float32" not in only(ort=ran(tensor(), runtime=facts)).sentence


def test_a_precision_that_was_not_asked_for_is_told() -> None:
    facts = runtime("openvino", effective_precision="bf16", asked_precision=None)

    assert "though the model's own types were asked for" in only(ort=ran(tensor(), runtime=facts)).sentence


def test_outputs_that_change_from_run_to_run_are_told() -> None:
    assert (
        "output 'y' differed when the same input ran twice" in only(ort=ran(tensor(), nondeterministic=("y",))).sentence
    )


def test_layers_that_were_watched_under_another_graph_are_told_so() -> None:
    layers = [tensor("a", units=40)]
    moved = only(ort=ran(tensor(units=40), layers=layers, observer_effect=(tensor(units=8),))).sentence
    still = only(ort=ran(tensor(units=40), layers=layers, observer_effect=(tensor(units=0.5),))).sentence

    assert "watched under a different graph" in moved
    assert "watched under a different graph" not in still


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("float16", "", "float16 arithmetic"),
        ("scale", "1.02", "a constant scale of 1.02"),
        ("offset", "+0.5", "a constant offset of +0.5"),
        ("shift", "by 1 pixel to the right", "a shift by 1 pixel to the right"),
        ("channels_swapped", "2, 1, 0", "swapped channels (2, 1, 0)"),
        ("transposed", "NCHW read as NHWC", "a transposed layout (NCHW read as NHWC)"),
        ("constant", "0", "a constant output (0)"),
        ("sign_flip", "", "a flipped sign"),
        ("nan_hidden", "3 of 3", "3 of 3 of PyTorch's NaN"),
        ("clipped", "at 6 above", "values that are clipped at 6 above"),
        ("border", "right", "an error at the border only (right)"),
        ("one_channel", "channel 7 of 64", "an error in one channel only (channel 7 of 64)"),
    ],
)
def test_every_reading_has_its_words(kind: str, value: str, words: str) -> None:
    found = (Reading(kind=kind, residual=0.1, value=value),)

    assert words in only(ort=ran(tensor(units=500, readings=found))).sentence


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb", "\u202eevil", "x" * 5000])
def test_hostile_names_make_one_printable_line(name: str) -> None:
    facts = ran(tensor(name, units=500), layers=[tensor(name, units=500)])

    verdict = judged(outputs=(name,), ort=facts)

    for said in (verdict.sentence, verdict.variants[0].sentence, verdict.variants[0].findings[0].sentence):
        assert said.isprintable()
        assert len(said) < 1000


def test_what_conform_itself_declines_is_not_laid_at_the_runtimes_door() -> None:
    planned = Unsupported(stage="plan", why="this version does not rewrite graphs to int8")

    assert only(ort__int8=planned).sentence == "INCONCLUSIVE ort:int8: this version does not rewrite graphs to int8"


def test_why_an_output_was_not_compared_is_said() -> None:
    lost = (Unobservable(tensor="y", why="the golden keeps no sequence"),)

    assert "output 'y' was not compared: the golden keeps no sequence" in only(ort=ran(missing_outputs=lost)).sentence


def test_empty_layers_count_neither_as_watched_nor_as_missed() -> None:
    nothing = tensor("b", samples=1, n=0, finite=0)
    facts = ran(tensor(), layers=[tensor("a"), nothing], unobservable=(Unobservable(tensor="c", why="fused"),))

    assert "1 of 3 layers" in only("min_layer_coverage = 0.5", ort=facts).sentence


def test_every_outcome_has_a_sentence_of_its_own() -> None:
    verdict = judged(**dict(OUTCOMES))

    said = [each.sentence for each in verdict.variants]
    assert len(set(said)) == len(OUTCOMES)
    assert all(each.startswith("INCONCLUSIVE ") for each in said)


@pytest.mark.parametrize(
    ("number", "text"),
    [(11312.3, "11,300"), (9.8765, "9.88"), (10.0, "10"), (0.0123, "0.0123"), (0, "0"), (99.96, "100")],
)
def test_numbers_have_three_digits(number: float, text: str) -> None:
    assert plain(number) == text


def test_a_stricter_policy_flips_the_verdict_of_a_written_report(tmp_path: Path) -> None:
    facts = report(ort=ran(tensor(units=5)))
    with ReportWriter(tmp_path) as writer:
        writer.header(facts.header)
        for each in facts.results:
            writer.result(each)
        writer.footer()

    read = Report.read(tmp_path)

    assert judge(read, Policy(), today=DAY).exit_code == 0
    assert judge(read, parse_policy("max_floor_ratio = 2"), today=DAY).exit_code == 1


def test_judging_needs_neither_numpy_nor_a_runtime() -> None:
    code = "import sysnoise_conform.judge, sys; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"numpy", "torch", "onnxruntime", "openvino", "polars"} & set(loaded)


def test_the_limits_of_a_departure_are_the_policys() -> None:
    limits = Policy().limits("ort", "y")

    assert departure(tensor(units=4.5), limits, max_code_share=0) is None
    assert departure(tensor(units=11), limits, max_code_share=0) is not None
