"""A policy says what it means or is refused: nothing in it is silently ignored."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from sysnoise_conform.errors import UsageError
from sysnoise_conform.judge.policy import Policy, default_toml, glob, load_policy, parse_policy

WAIVER = """
[[deviation]]
variant = "openvino:auto"
tensor = "logits"
because = "bfloat16 is accepted"
owner = "ada@example.org"
link = "https://example.org/issue/12"
expires = 2027-01-31
"""


def test_no_file_means_the_defaults() -> None:
    assert load_policy(None) == Policy()


def test_the_printed_defaults_read_back_as_the_defaults_and_explain_each_key() -> None:
    text = default_toml()

    assert parse_policy(text) == Policy()
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert lines[number - 1].startswith("# ")


def test_the_examples_in_the_printed_defaults_are_valid_once_uncommented() -> None:
    _, _, tail = default_toml().partition("# Other thresholds")
    lines = [line[2:] for line in tail.splitlines() if line.startswith("# ") and ("=" in line or "[[" in line)]

    policy = parse_policy("\n".join(lines))

    assert len(policy.tensors) == len(policy.deviations) == 1


def test_keys_override_the_defaults() -> None:
    policy = parse_policy("max_floor_ratio = 3\nrequire_real_inputs = true\n")

    assert (policy.max_floor_ratio, policy.require_real_inputs) == (3.0, True)
    assert policy.max_z == Policy().max_z


def test_a_tensor_rule_changes_its_own_thresholds_for_its_own_names() -> None:
    policy = parse_policy(
        'max_z = 5\n[[tensor]]\nname = "box*"\nvariant = "tflite*"\nbecause = "pixels"\nmax_floor_ratio = 50\n'
    )

    assert policy.limits("tflite", "boxes").max_floor_ratio == 50
    assert policy.limits("tflite", "boxes").max_z == 5
    assert policy.limits("tflite", "scores").max_floor_ratio == Policy().max_floor_ratio
    assert policy.limits("ort", "boxes").max_floor_ratio == Policy().max_floor_ratio


def test_of_two_rules_the_last_wins() -> None:
    rule = '[[tensor]]\nname = "{}"\nbecause = "x"\nmax_floor_ratio = {}\n'
    policy = parse_policy(rule.format("*", 1) + rule.format("y", 2))

    assert policy.limits("ort", "y").max_floor_ratio == 2
    assert policy.limits("ort", "z").max_floor_ratio == 1


def test_layers_have_a_threshold_of_their_own() -> None:
    policy = parse_policy("max_floor_ratio = 3\nmax_floor_ratio_layer = 7\n")

    assert policy.limits("ort", "y").max_floor_ratio == 3
    assert policy.limits("ort", "y", layer=True).max_floor_ratio == 7


def test_brackets_in_a_glob_stand_for_themselves() -> None:
    assert glob("a[0]*", "a[0]/Relu")
    assert not glob("a[0]", "a0")
    assert not glob("relu", "Relu")


def test_a_deviation_has_a_reason_an_owner_a_link_and_a_day() -> None:
    (deviation,) = parse_policy(WAIVER).deviations

    assert deviation.expires == date(2027, 1, 31)
    assert deviation.applies("openvino:auto", "logits")
    assert not deviation.applies("openvino", "logits")


@pytest.mark.parametrize("key", ["variant", "because", "owner", "link", "expires"])
def test_a_deviation_without_one_of_them_is_refused(key: str) -> None:
    text = "\n".join(line for line in WAIVER.splitlines() if not line.startswith(key))

    with pytest.raises(UsageError, match=f"lacks '{key}'"):
        parse_policy(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_flor_ratio = 3", "did you mean 'max_floor_ratio'"),
        ("colour = 3", "known: max_floor_ratio"),
        ("max_z = nan", "NaN"),
        ("max_z = -1", "negative"),
        ("max_z = -inf", "negative"),
        ('max_z = "3"', "not a number"),
        ("max_z = true", "not a number"),
        ("max_mismatch_share = 1.5", "from 0 to 1"),
        ("require_real_inputs = 1", "neither true nor false"),
        ("max_z = 1\nmax_z = 2", "not valid TOML"),
        ("max_z = ", "not valid TOML"),
        ("[tensor]\nname = 'y'", r"\[\[tensor\]\]"),
        ("deviation = 3", r"\[\[deviation\]\]"),
        ("[[tensor]]\nname = 'y'\nbecause = 'x'\nmax_flor_ratio = 3", "did you mean"),
        ("[[tensor]]\nmax_floor_ratio = 3", "lacks 'name'"),
        ("[[tensor]]\nname = ''\nbecause = 'x'", "not a text"),
        ("[[tensors]]\nname = 'y'", "did you mean 'tensor'"),
        (WAIVER.replace("2027-01-31", "'soon'"), "not a day"),
        (WAIVER.replace("2027-01-31", "'2027-02-30'"), "not a day"),
    ],
)
def test_a_policy_that_does_not_say_what_it_means_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_policy(text)

    assert "\n" not in str(caught.value)


def test_an_infinite_threshold_switches_a_rule_off() -> None:
    assert parse_policy("max_z = inf").max_z == float("inf")


def test_a_missing_unreadable_or_huge_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"# \xe4")
    (tmp_path / "huge.toml").write_bytes(b"#" * (2 << 20))

    for name, said in (
        ("none.toml", "no policy"),
        (".", "no policy"),
        ("latin.toml", "UTF-8"),
        ("huge.toml", "larger"),
    ):
        with pytest.raises(UsageError, match=said):
            load_policy(tmp_path / name)


def test_a_control_character_in_a_key_is_not_printed() -> None:
    with pytest.raises(UsageError) as caught:
        parse_policy('"\\u001b[31m" = 1')

    assert "\x1b" not in str(caught.value)
