"""What a diagnosis looks like in the terminal, as JSON, as a page and on Model Explorer's graph, and where it lies."""

from __future__ import annotations

import html
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import diagnosis_samples
import pytest
from diagnosis_samples import EVERY, culprit_at, diagnosis, layers_of
from report_samples import HOSTILE, names_of
from rich.cells import cell_len
from rich.console import Console
from test_reports_html import ALLOWED, Page
from test_reports_summary import refuse, validator

from sysnoise_conform.errors import UsageError
from sysnoise_conform.report.folder import DIAGNOSIS_FILES, begin_diagnosis
from sysnoise_conform.reports import diagnosis_html, diagnosis_json, diagnosis_publish, model_explorer
from sysnoise_conform.reports.diagnosis_terminal import render as to_terminal
from sysnoise_conform.reports.diagnosis_terminal import show

SCHEMA = validator("diagnosis.json")
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
RENDERERS = {
    "terminal": to_terminal,
    "json": diagnosis_json.render,
    "html": diagnosis_html.render,
    "introduced": model_explorer.introduced,
    "cumulative": model_explorer.cumulative,
}


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=refuse)


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("form", RENDERERS)
@pytest.mark.parametrize("kind", EVERY)
def test_every_diagnosis_is_rendered_twice_alike_and_without_a_control_character(form: str, kind: str) -> None:
    text = RENDERERS[form](EVERY[kind])
    assert text == RENDERERS[form](EVERY[kind])
    assert CONTROLS.findall(text) == []
    text.encode("utf-8")


@pytest.mark.parametrize("kind", EVERY)
def test_the_json_follows_the_schema_and_holds_only_finite_numbers(kind: str) -> None:
    text = diagnosis_json.render(EVERY[kind])
    assert text.isascii()
    found = strict(text)
    SCHEMA.validate(found)
    assert found == diagnosis_json.as_json(EVERY[kind])


def test_the_json_tells_of_a_culprit_what_a_program_asks() -> None:
    (found,) = strict(diagnosis_json.render(EVERY["one culprit"]))["culprits"]
    assert (found["node"], found["op_type"], found["method"], found["kind"]) == (
        "MaxPool_39", "MaxPool", "replay", "border",
    )  # fmt: skip
    assert found["introduced_z"] == pytest.approx(51_000)
    assert found["introduced_rel_l2"] == pytest.approx(3.06e-3)
    assert found["cumulative_before"] == 2.1e-7
    assert found["proof"]["after_rel_l2"] == 2.2e-7
    assert found["reproducer"] == "culprit-1-maxpool"
    assert "border" in found["reading"]


def test_culprits_and_layers_stay_in_graph_order_and_a_layer_is_one_line() -> None:
    text = diagnosis_json.render(EVERY["several culprits"])
    found = strict(text)
    assert [each["index"] for each in found["culprits"]] == [9, 20, 42]
    assert [each["index"] for each in found["layers"]] == list(range(60))
    assert sum('"replay_z"' in line for line in text.splitlines()) == 60
    assert found["layers"][42]["block"] == ["Conv_40", "Relu_41", "Conv_42"]
    assert "not_runnable" in found["layers"][5]


def test_hostile_names_come_back_as_they_are() -> None:
    found = strict(diagnosis_json.render(EVERY["hostile"]))
    assert [each["output"] for each in found["layers"]] == list(HOSTILE.values())


def test_the_first_line_says_what_watching_changed() -> None:
    first, *_ = to_terminal(EVERY["one culprit"]).splitlines()
    assert first.startswith("observer  watching 120 tensors moved the outputs by 1.20e-07 relative L2, 0.420")
    assert "no tensor was watched" in to_terminal(EVERY["unobservable"]).splitlines()[0]


def test_one_culprit_fits_on_a_screen_and_is_told_with_its_evidence() -> None:
    text = to_terminal(EVERY["one culprit"])
    assert len(text.splitlines()) <= 30
    told = squeezed(text)
    for words in (
        "118 of 120 layers (98.3 %)",
        "MaxPool 'MaxPool_39' (layer 40 of 120)",
        "kernel_shape=[3, 3]",
        "z 51,000, relative error 0.00306",
        "2.10e-07 in what it reads, 0.00309 after it",
        "an error at the border only",
        "99.9 % of the output's squared error",
        "3.10e-04 off, and 2.20e-07 with PyTorch's answer",
        "culprit-1-maxpool: python repro.py",
    ):
        assert words in told


def test_the_sentence_stays_on_one_line_in_a_pipe() -> None:
    sample = EVERY["one culprit"]
    assert f"CULPRITS: {sample.sentence}" in to_terminal(sample).splitlines()


def test_the_ranking_and_what_was_not_seen_are_told() -> None:
    ranked = to_terminal(EVERY["accumulated rounding"])
    assert "output without" in ranked
    assert "and 3 layers more" in ranked
    assert "inside one delegate node" in to_terminal(EVERY["unobservable"])


@pytest.mark.parametrize("kind", EVERY)
def test_no_line_is_wider_than_80_columns(kind: str) -> None:
    lines = [line for line in to_terminal(EVERY[kind]).splitlines() if not re.match(r"[A-Z ]+(:|$)", line)]
    assert max(map(cell_len, lines)) <= 80


def test_a_terminal_gets_colours_but_no_name_can_set_them() -> None:
    stream = io.StringIO()
    show(EVERY["hostile"], Console(file=stream, width=80, force_terminal=True, color_system="standard"))
    assert set(re.findall(r"\x1b\[[0-9;]*m", stream.getvalue())) <= {"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;31m"}


@pytest.mark.parametrize("kind", EVERY)
def test_the_page_nests_and_nothing_is_fetched_or_can_run(kind: str) -> None:
    source = diagnosis_html.render(EVERY[kind])
    page = Page(source)
    assert page.open == []
    assert page.tags <= ALLOWED
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value or "" for name, value in page.attributes if name in ("href", "src", "srcset", "action", "data")]
    assert all(re.fullmatch(r"#v\d+", each) for each in links)
    assert set(links) <= {f"#{value}" for name, value in page.attributes if name == "id"}
    assert "default-src 'none'" in source
    assert "url(" not in source


def test_both_errors_are_drawn_and_each_culprit_is_marked() -> None:
    source = diagnosis_html.render(EVERY["several culprits"])
    (line,) = re.findall('class="departs" d="([^"]*)"', source)
    marks, _ = re.findall('class="mark" d="([^"]*)"', source)  # the other stands in the legend
    assert (line.count("M"), marks.count("M")) == (3, 3)
    assert 'class="line c0"' in source
    assert 'class="line c1"' in source
    assert source.count("← culprit") == 3
    assert 'class="departs"' not in diagnosis_html.render(EVERY["clean"])


def test_the_page_tells_a_culprit_its_evidence_and_where_it_ran() -> None:
    text = squeezed(html.unescape(re.sub(r"<[^>]*>", " ", diagnosis_html.render(EVERY["one culprit"]))))
    for words in (
        "1 culprit",
        "MaxPool 'MaxPool_39' (layer 40 of 120)",
        "it divides by the size of the whole window",
        "with PyTorch's answer in place of 1 tensor",
        "culprit-1-maxpool",
        "avx512_bf16",
        "onnxruntime 1.31.1",
        "0.420 × the noise floor",
    ):
        assert words in text


def test_the_table_in_the_docs_names_every_key_of_the_schema_and_no_other() -> None:
    text = (Path(__file__).parents[1] / "docs" / "diagnose.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", text.partition("### diagnosis.json")[2].partition("\n### ")[0], re.M)
    told = {key: set(re.findall(r"`(\w+)`", holds)) for keys, holds in rows for key in re.findall(r"`(\w+)`", keys)}
    schema = SCHEMA.schema
    assert told.keys() == schema["properties"].keys()
    for key, part in schema["properties"].items():
        assert inner_keys(schema, part) <= told[key], key


def inner_keys(schema: dict[str, Any], part: dict[str, Any]) -> set[str]:
    """The keys of an object, or of the objects in a list."""
    choices = [schema["$defs"][each["$ref"].rpartition("/")[2]] if "$ref" in each else each
               for each in part.get("anyOf", [part])]  # fmt: skip
    own = {key for each in choices for key in each.get("properties", ())}
    return own.union(*(inner_keys(schema, each["items"]) for each in choices if "items" in each))


@pytest.mark.parametrize("form", ["terminal", "html"])
def test_how_a_converted_graph_came_about_is_told_with_the_command_that_brings_it_back(form: str) -> None:
    text = squeezed(html.unescape(re.sub(r"<[^>]*>", " ", RENDERERS[form](EVERY["converted"]))))
    for words in (
        "int8 (preset ort, observer minmax)",
        "16 samples, split off from the inputs, not judged (sha256 ca1bca1bca1b)",
        "conform diagnose --model models/det.onnx --keep-fp32 'sigmoid_0.tmp_0'",
    ):
        assert words in text, words
    assert ("The exact command conform diagnose --model models/det.onnx --backend ort:int8" in text) == (form == "html")


def test_the_json_tells_how_a_converted_graph_came_about() -> None:
    found = diagnosis_json.as_json(EVERY["converted"])
    assert found["command"] == "conform diagnose --model models/det.onnx --backend ort:int8"
    made = found["conversion"]
    assert (made["precision"], made["preset"], made["observer"]) == ("int8", "ort", "minmax")
    assert made["keep_fp32"] == ["sigmoid_0.tmp_0"]
    assert (made["calibration"]["origin"], made["calibration"]["samples"]) == ("split", 16)
    assert made["command"].startswith("conform diagnose ")
    assert diagnosis_json.as_json(EVERY["clean"])["conversion"] is None


def test_three_thousand_layers_stay_below_three_megabytes() -> None:
    assert len(diagnosis_html.render(diagnosis_samples.one_culprit(3000)).encode()) < 3_000_000


def test_a_name_of_ten_thousand_letters_is_shortened_for_people() -> None:
    for form in (to_terminal, diagnosis_html.render):
        assert HOSTILE["long"] not in form(EVERY["hostile"])


def test_an_overlay_is_keyed_by_node_and_coloured_by_decades() -> None:
    found = strict(model_explorer.introduced(EVERY["one culprit"]))
    culprit = found["results"]["MaxPool_39"]
    assert culprit["value"] == pytest.approx(3.06e-3)
    assert culprit["bgColor"] == "#a3140a"
    assert "bgColor" not in found["results"]["Conv_0"]
    limits = [each["value"] for each in found["thresholds"]]
    assert limits == sorted(limits)
    assert all(each["value"] < limits[-1] for each in found["results"].values())


def test_the_cumulative_overlay_shows_the_outputs_of_the_untouched_graph() -> None:
    found = strict(model_explorer.cumulative(EVERY["one culprit"]))
    assert found["results"]["[value] sigmoid_0.tmp_0"]["value"] == pytest.approx(3e-4)
    assert found["results"]["MaxPool_39"]["value"] > found["results"]["Relu_34"]["value"]


def test_what_has_no_number_is_a_word_in_an_overlay_and_a_node_without_a_name_goes_by_its_tensor() -> None:
    found = strict(model_explorer.cumulative(EVERY["broken"]))["results"]
    first, second, third, fourth, fifth = names_of(5)
    assert found[first]["value"] == found[second]["value"] == found[fourth]["value"] == "NaN, Inf or another shape"
    assert third not in found
    assert found[fifth]["value"] == 0.0
    assert found[f"[value] {fifth}"]["value"] == pytest.approx(3e-4)  # of the untouched graph


def test_of_several_outputs_of_a_node_the_worst_stands_for_it() -> None:
    first, second = layers_of(["a", "b"], guilty={0: 900.0, 1: 2.0})
    twins = tuple(replace(each, node="split") for each in (first, second))
    found = strict(model_explorer.introduced(diagnosis("culprits", "", twins, culprits=(culprit_at(twins, 0),))))
    assert list(found["results"]) == ["split"]
    assert found["results"]["split"]["value"] == pytest.approx(900 * 6e-8)


def test_a_node_called_results_does_not_spoil_the_overlay_of_the_others() -> None:
    layers = layers_of(["results", "b"])
    layers = tuple(replace(each, node="") for each in layers)
    assert list(strict(model_explorer.introduced(diagnosis("clean", "", layers)))["results"]) == ["b"]


def test_publishing_writes_every_file_and_the_json_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present: list[set[str]] = []
    write = diagnosis_publish.atomic_write

    def watched(path: Path, content: str | bytes) -> None:
        present.append({each.name for each in tmp_path.iterdir()})
        write(path, content)

    monkeypatch.setattr(diagnosis_publish, "atomic_write", watched)
    for _ in range(2):
        diagnosis_publish.publish(tmp_path, EVERY["hostile"])
    assert all("diagnosis.json" not in each for each in present)
    assert {each.name for each in tmp_path.iterdir()} == {*DIAGNOSIS_FILES, ".conform-diagnosis"}


def test_a_former_diagnosis_is_removed_and_nothing_else(tmp_path: Path) -> None:
    begin_diagnosis(tmp_path)
    diagnosis_publish.publish(tmp_path, EVERY["clean"])
    for name in ("culprit-1-conv", "culprit-2-add"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "repro.py").write_text("")
    (tmp_path / "culprit-2-add" / "mine.txt").write_text("")
    (tmp_path / "logs").mkdir()
    for name in ("golden", "openvino-auto", "openvino-auto-islands-1", "reproducers"):
        (tmp_path / "logs" / f"{name}.txt").write_text("")
    begin_diagnosis(tmp_path)
    left = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")}
    assert left == {".conform-diagnosis", "culprit-2-add", "culprit-2-add/mine.txt"}


def test_a_report_beside_a_diagnosis_keeps_its_files_and_logs(tmp_path: Path) -> None:
    diagnosis_publish.publish(tmp_path, EVERY["clean"])
    (tmp_path / "report.jsonl").write_text("")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "golden.txt").write_text("")
    begin_diagnosis(tmp_path)
    left = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")}
    assert left == {".conform-diagnosis", "report.jsonl", "logs", "logs/golden.txt"}


@pytest.mark.parametrize("name", [*DIAGNOSIS_FILES, "culprit-1-conv"])
def test_a_strangers_file_is_refused_and_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    for act in (begin_diagnosis, lambda folder: diagnosis_publish.publish(folder, EVERY["clean"])):
        with pytest.raises(UsageError, match="--out"):
            act(tmp_path)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(name, "mine")]


def test_reproducers_that_were_written_before_are_kept(tmp_path: Path) -> None:
    begin_diagnosis(tmp_path)
    (tmp_path / "culprit-1-conv").mkdir()
    (tmp_path / "culprit-1-conv" / "repro.py").write_text("")
    diagnosis_publish.publish(tmp_path, EVERY["one culprit"])
    assert (tmp_path / "culprit-1-conv" / "repro.py").exists()


@pytest.mark.parametrize("form", ["terminal", "html"])
def test_fusion_boundaries_and_a_share_below_zero_are_told_as_such(form: str) -> None:
    said = squeezed(html.unescape(re.sub("<[^>]+>", " ", RENDERERS[form](diagnosis_samples.several_culprits()))))

    assert "watched at 41 fusion boundaries, which moved the outputs by 1.20e-07 relative L2" in said
    assert "it makes up for 20.0% of the output's squared error, which others bring" in said


def test_what_the_optimiser_has_to_do_with_a_culprit_is_in_the_json() -> None:
    *_, last = diagnosis_json.as_json(diagnosis_samples.several_culprits())["culprits"]

    assert last["optimiser"] == {"level": "opt=basic", "passes": ["ConvMulFusion"]}
