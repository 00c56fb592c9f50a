from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from report_samples import diff, every_outcome, hostile, measured, names_of, odd, shipped, single, spoiled
from rich.cells import cell_len
from rich.console import Console

from sysnoise_conform.outcome import RuntimeFacts, Unsupported
from sysnoise_conform.reports.terminal import render, show

ODD = odd()


def widest(text: str) -> int:
    """Columns of the widest line but the verdict's, which a pipe gets whole."""
    return max(cell_len(line) for line in text.splitlines()[:-1])


@pytest.mark.parametrize("kind", ODD)
def test_no_line_is_wider_than_80_columns(kind: str) -> None:
    assert widest(render(*ODD[kind])) <= 80


def test_hostile_names_keep_to_80_columns() -> None:
    assert widest(render(*hostile())) <= 80


def test_the_verdict_sentence_is_the_last_line_of_a_pipe() -> None:
    report, judgement = every_outcome()
    assert render(report, judgement).splitlines()[-1] == judgement.sentence


def test_a_pipe_gets_neither_colours_nor_boxes() -> None:
    text = render(*every_outcome())
    assert "\x1b" not in text
    assert not re.search("[\u2500-\u257f]", text)


def test_a_terminal_gets_colours_but_no_name_can_set_them() -> None:
    stream = io.StringIO()
    show(*hostile(), Console(file=stream, width=80, force_terminal=True, color_system="standard", highlight=False))
    codes = set(re.findall(r"\x1b\[[0-9;]*m", stream.getvalue()))
    assert codes <= {"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m"}
    assert "[red]" in stream.getvalue()


def test_numbers_stay_whole_beside_a_long_name() -> None:
    text = render(*hostile())
    assert text.count("1.00e-06") == 11
    assert text.count("6.00e-06") == 11


def test_the_first_departure_is_told_with_operator_node_and_reading() -> None:
    text = " ".join(render(*every_outcome()).split())
    assert "departs Relu 'Relu_34' (layer 35 of 120) is 4,690 floor units off" in text
    assert "this looks like bfloat16 arithmetic" in text


def test_coverage_and_observer_effect_are_told() -> None:
    text = " ".join(render(*every_outcome()).split())
    assert "118 of 120 layers compared (98.3 %)" in text
    assert "12 more tensors inside If, Loop or Scan bodies" in text
    assert "tapping moves the outputs by up to 0.250 × the noise floor" in text


def test_nan_is_told_with_its_place() -> None:
    text = " ".join(render(*ODD["NaN"]).split())
    assert "NaN or Inf on one side only in 4 of 4 elements, first at sample 0, index 0,2" in text


def test_another_shape_is_told() -> None:
    assert "shape [1, 8] where the golden has [1, 4, 32, 32]" in " ".join(render(*ODD["another shape"]).split())


def test_the_file_that_ships_stands_beside_the_model() -> None:
    assert "deployed det[1].tflite (tflite, sha256 c0dec0dec0de)" in " ".join(render(*shipped()).split())


def test_nan_on_both_sides_is_never_called_exact() -> None:
    text = render(*spoiled())

    assert "exact" not in text
    assert re.search(r"sigmoid_0.tmp_0 +all NaN .*✗", text)
    assert "the model is broken, not the runtime" in text
    assert "departs" not in text


def test_empty_tensors_are_neither_compared_nor_changed() -> None:
    nothing = {"n": 0, "finite": 0, "mismatches": 0, "shape": (0, 6)}
    names = names_of(3)
    layers = (*measured(names, hidden=0).layers[:2], diff(names[2], **nothing))
    effect = (diff("boxes", rel=0.0), diff(names[2], **nothing))

    text = " ".join(render(*single(measured(names, hidden=0, layers=layers, observer_effect=effect), names)).split())

    assert "2 of 3 layers compared (66.6 %); 1 empty: there was nothing to compare" in text
    assert "gives the untouched graph's outputs, bit for bit" in text


def test_one_of_a_thing_is_singular() -> None:
    report, judgement = single(measured(names_of(1)), names_of(1))
    one = replace(report, header={**report.header, "inputs": {"kind": "images", "samples": 1}})

    text = " ".join(render(one, judgement).split())

    assert "1 node)" in text
    assert "1 sample: images" in text


def test_a_runtime_that_made_no_session_has_no_device_to_be_unknown() -> None:
    facts = RuntimeFacts(name="openvino", version="2026.4", device="", effective_precision="")
    refused = Unsupported(stage="compile", why="no kernel", runtime=facts)

    text = " ".join(render(*single(refused, names_of(1))).split())

    assert "openvino 2026.4, which made no session" in text
    assert "unknown" not in text


def test_what_conform_itself_declines_is_no_refusal() -> None:
    planned = Unsupported(stage="plan", why="this version does not rewrite graphs to int8")

    text = " ".join(render(*single(planned, names_of(1))).split())

    assert "reason this version does not rewrite graphs to int8" in text
    assert "refuse" not in text


def test_a_golden_that_was_computed_was_so_during_the_run_not_now() -> None:
    report, judgement = every_outcome()
    made = replace(report, header={**report.header, "golden": {"torch": "2.13.0", "cached": 0, "of": 8}})

    assert "float64, computed during the run" in render(made, judgement)


def test_a_stdout_without_the_letters_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    show(*every_outcome())
    assert b"\\u2713" in raw.getvalue()
