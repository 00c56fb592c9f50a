"""What a matrix looks like on the terminal, as JSON, as a table, in Markdown and as a page; and the list of noises."""

from __future__ import annotations

import base64
import csv
import html
import io
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matrix_samples as samples
import numpy as np
import polars as pl
import pytest
from PIL import Image
from rich.cells import cell_len
from test_reports_diagnosis import CONTROLS, squeezed, strict
from test_reports_html import ALLOWED, Page
from test_reports_summary import validator

from sysnoise_conform.cli import invoke
from sysnoise_conform.matrix.facts import Matrix
from sysnoise_conform.matrix.overall import overall
from sysnoise_conform.noise import AXES
from sysnoise_conform.report.folder import NOISE_FILES, begin_noise
from sysnoise_conform.reports import (
    noise_catalogue,
    noise_gallery,
    noise_html,
    noise_json,
    noise_markdown,
    noise_publish,
    noise_table,
    noise_terminal,
)
from sysnoise_conform.reports.noise_heat import shade, signed
from sysnoise_conform.reports.noise_rows import cannot_tell

SCHEMA = validator("noise.json")
EVERY: dict[str, Matrix] = {
    "passing": samples.passing(), "failing": samples.failing(), "open": samples.open_ones(),
    "nothing": samples.nothing(), "every status": samples.every_status(), "hostile": samples.hostile(),
    "without numbers": samples.without_numbers(),
}  # fmt: skip


def to_terminal(found: Matrix, *, verbose: bool = False) -> str:
    return noise_terminal.render(found, Path("out"), verbose=verbose)


RENDERERS = {
    "terminal": to_terminal,
    "json": noise_json.render,
    "html": noise_html.render,
    "markdown": noise_markdown.render,
    "csv": noise_table.csv,
}


def words_of(page: str) -> str:
    return squeezed(html.unescape(re.sub(r"<[^>]*>", " ", page)))


@pytest.mark.parametrize("form", RENDERERS)
@pytest.mark.parametrize("kind", EVERY)
def test_every_matrix_is_rendered_twice_alike_and_is_utf8(form: str, kind: str) -> None:
    text = RENDERERS[form](EVERY[kind])
    assert text == RENDERERS[form](EVERY[kind])
    text.encode("utf-8")
    if form != "csv":  # a program's table holds names as they are
        assert CONTROLS.findall(text) == []


# The verdict of all cells


@pytest.mark.parametrize(
    ("kind", "word", "codes"),
    [
        ("passing", "PASS", ()),
        ("failing", "FAIL", (1, 5)),
        ("open", "INCONCLUSIVE", (5,)),
        ("nothing", "INCONCLUSIVE", (5,)),  # nothing compared is never green
        ("every status", "FAIL", (1, 3, 6, 5)),
        ("hostile", "INCONCLUSIVE", (5,)),
    ],
)
def test_a_measured_failure_is_never_masked_and_every_code_is_told(kind: str, word: str, codes: tuple[int]) -> None:
    found = overall(EVERY[kind])
    assert (found.word, found.exit_codes, found.exit_code) == (word, codes, codes[0] if codes else 0)


def test_the_control_counts_for_nothing() -> None:
    assert sum(overall(samples.passing()).counts.values()) == 2


# noise.json


@pytest.mark.parametrize("kind", EVERY)
def test_the_json_follows_its_schema(kind: str) -> None:
    SCHEMA.validate(strict(noise_json.render(EVERY[kind])))


def test_a_cell_without_a_figure_must_say_why() -> None:
    found = strict(noise_json.render(samples.nothing()))
    found["cells"][1]["reason"] = ""
    assert not SCHEMA.is_valid(found)


def test_drops_and_figures_are_points_and_what_is_no_share_keeps_its_units() -> None:
    found = strict(noise_json.render(samples.failing()))
    worst = found["cells"][1]
    assert (worst["value"], worst["delta"], worst["ci"]) == (82.7, 6.1, [5.7, 6.5])
    assert found["margin"] == 1.0
    odd = strict(noise_json.render(samples.without_numbers()))
    assert odd["baseline"] == {"backend": "torch", "agreement": 100.0, "kl": 0.0, "smallest_lead": 0.001}
    assert odd["cells"][1]["others"] == {"kl": 0.25, "smallest_lead": 0.001, "agreement": None}
    assert odd["combined"][0]["ci"] == [None, None]
    assert (odd["cells"][2]["delta"], odd["cells"][2]["ci"], odd["cells"][2]["p"]) == (None, [None, None], None)


def test_what_is_volatile_is_marked_and_nothing_else_is_told_of_the_clock() -> None:
    schema: Any = SCHEMA.schema
    marked = {name for name, each in schema["properties"].items() if each.get("volatile")}
    assert marked == {"environment", "seconds", "resumed"}


# The terminal


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("kind", EVERY)
def test_no_line_of_a_table_is_wider_than_100_columns(kind: str, verbose: bool) -> None:
    text = to_terminal(EVERY[kind], verbose=verbose)
    _, _, tables = text.partition("\n\n")  # sentences stay on one line in a pipe
    loose = ("refused", "crashed", "not a", "6 pictures", "2 pictures")
    assert max(cell_len(each) for each in tables.splitlines() if not each.startswith(loose)) <= 100


def test_the_first_line_is_the_verdict_with_baseline_and_margin_and_the_second_the_count() -> None:
    first, second, third, *_ = to_terminal(samples.failing()).splitlines()
    assert first == (
        "FAIL: top1 88.80 on 5,000 pictures (labels.csv), baseline torch; a drop of 1 point is allowed"
    )
    assert second == "4 cells measured: 2 pass, 1 fail, 1 inconclusive"
    assert third == "5,000 pictures can't tell 1 point in 1 cell: 8,000 would"


def test_sixty_cells_that_cannot_be_told_are_one_line_and_not_sixty() -> None:
    text = to_terminal(samples.open_ones())
    assert "5,000 pictures can't tell 1 point in 60 cells: 8,000 would" in text
    assert text.count("INCONCLUSIVE") == 2  # the verdict, and the axis
    assert to_terminal(samples.open_ones(), verbose=True).count("INCONCLUSIVE") == 62


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ((8_000, 40_000), "8,000 would in half of them, 40,000 in all"),
        ((8_000, 794_845), "8,000 would in 2 of them, not even 50,000 in the others"),
        ((794_845, 794_845), "8,000 would in 1 of them, not even 50,000 in the others"),
    ],
)
def test_where_cells_need_different_numbers_those_that_anybody_has_are_told(wanted: tuple[int, int], said: str) -> None:
    few = samples.matrix(*(samples.cell("colour", str(at), width=0.02) for at in range(3)))
    for cell, number in zip(few.cells[1:3], wanted, strict=True):
        assert cell.figures is not None
        object.__setattr__(cell.figures, "images_to_decide", number)

    assert cannot_tell(few) == f"5,000 pictures can't tell 1 point in 3 cells: {said}"


def test_drops_at_the_margin_ask_for_no_number_of_pictures() -> None:
    one = samples.matrix(samples.cell("colour", "0", width=0.02))
    (figures,) = (each.figures for each in one.cells if each.figures is not None and each.figures.images_to_decide)
    object.__setattr__(figures, "images_to_decide", 794_845)

    assert cannot_tell(one).endswith("their drops are so near the margin that not even 50,000 would")


def test_what_fails_and_what_is_really_other_stands_out_and_the_rest_does_not() -> None:
    _, _, told = to_terminal(samples.failing()).partition("what stands out")
    assert re.findall(r"^(\w+=[\w-]+)", told, re.MULTILINE) == [
        "decoder=ffmpeg", "resize=opencv-nearest", "decoder=opencv"
    ]  # fmt: skip
    assert "what stands out" not in to_terminal(samples.passing())


def test_an_axis_says_how_many_of_its_levels_its_mean_is_over_and_has_none_without_any() -> None:
    """Where nothing changes, 0.00 would be a finding that nobody made."""
    why = "it changes no value of any of these pictures"
    found = samples.matrix(
        samples.cell("decoder", "opencv", delta=0.006), samples.without("decoder", "ffmpeg", "noop", why),
        samples.without("exif", "ignore", "noop", why), samples.without("exif", "turned", "noop", why),
    )  # fmt: skip

    decoder, exif = strict(noise_json.render(found))["axes"]
    assert (decoder["mean_delta"], decoder["worst"]) == (0.6, "opencv")
    assert decoder["deltas"] == {"opencv": 0.6, "ffmpeg": None}
    assert (exif["mean_delta"], exif["max_delta"], exif["worst"]) == (None, None, None)
    said = to_terminal(found)
    assert re.search(r"^decoder +ort +1 of 2 +0\.60 +0\.60 +opencv", said, re.MULTILINE)
    assert re.search(r"^exif +ort +0 of 2 +– +– +no effect$", said, re.MULTILINE)
    assert "| `exif` | `ort` | 0 of 2 | – | – | – | no effect |" in noise_markdown.render(found)
    assert "0 of 2" in noise_html.render(found)


def test_every_axis_has_a_line_with_its_worst_level() -> None:
    lines = [each.split() for each in to_terminal(samples.failing()).splitlines()]
    assert ["decoder", "ort", "2", "3.30", "6.10", "ffmpeg", "FAIL"] in lines
    assert ["resize", "ort", "2", "0.45", "0.90", "opencv-nearest", "INCONCLUSIVE"] in lines


def test_what_could_not_be_measured_is_told_once_for_each_reason_with_the_cure() -> None:
    text = to_terminal(samples.every_status())
    assert "not applicable on ort: ceil_mode=on: node Reshape_12 has a fixed size" in text
    assert "pip install jpeglib" in text
    assert "2 pictures or labels were left out, the first: broken.jpg: it ends early" in text
    assert "12 pictures from the journal" in text


# Tables


def test_the_table_has_a_row_for_each_cell_and_the_same_columns_whatever_happened() -> None:
    found = noise_table.frame(samples.every_status())
    assert found.height == len(samples.every_status().cells)
    assert found.columns == [*noise_table.COLUMNS, "top5"]
    crashed = found.filter(pl.col("status") == "crashed").row(0, named=True)
    assert (crashed["delta"], crashed["verdict"], crashed["reason"]) == (None, None, "the session died by SIGSEGV")
    assert noise_table.frame(samples.nothing()).schema.items() >= {
        name: found.schema[name] for name in noise_table.COLUMNS
    }.items()


def test_the_csv_and_the_parquet_hold_what_the_json_holds() -> None:
    told = strict(noise_json.render(samples.failing()))["cells"]
    rows = list(csv.DictReader(io.StringIO(noise_table.csv(samples.failing()))))
    stored = pl.read_parquet(io.BytesIO(noise_table.parquet(samples.failing()))).rows(named=True)
    for cell, row, kept in zip(told, rows, stored, strict=True):
        assert (cell["axis"], cell["level"], cell["delta"]) == (row["axis"], row["level"], float(row["delta"]))
        assert (kept["delta"], kept["ci_low"], kept["verdict"]) == (cell["delta"], cell["ci"][0], cell["verdict"])


@pytest.mark.parametrize("kind", EVERY)
def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head(kind: str) -> None:
    for block in noise_markdown.render(EVERY[kind]).split("\n\n"):
        rows = [re.sub(r"`[^`]*`", "", line).count("|") for line in block.splitlines() if line.startswith("|")]
        assert len(set(rows)) <= 1


def test_a_name_has_nothing_left_to_act_on_in_markdown() -> None:
    text = re.sub(r"`[^`\n]*`", "", noise_markdown.render(samples.hostile()))
    assert "<script" not in text
    assert "@team" not in text
    assert "](https" not in text


# The page


@pytest.mark.parametrize("kind", EVERY)
def test_the_page_nests_and_nothing_is_fetched_or_can_run(kind: str) -> None:
    source = noise_html.render(EVERY[kind])
    page = Page(source)
    assert page.open == []
    assert page.tags <= ALLOWED  # no picture either: nobody asked for one
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [value for name, value in page.attributes if name in ("href", "src", "srcset", "action", "data")]
    assert "default-src 'none'; style-src 'unsafe-inline'\"" in source
    assert "url(" not in source


def test_every_level_of_every_backend_is_a_tile_and_what_was_not_measured_is_hatched() -> None:
    found = samples.every_status()
    page = noise_html.render(found)
    assert len(re.findall(r'class="tile ', page)) == len(found.cells) - 1  # but for the control
    assert len(re.findall(r'class="tile noop"', page)) == 2
    assert len(re.findall(r'class="tile none"', page)) == 8


def test_a_drop_points_down_and_a_gain_up_and_both_have_their_shade() -> None:
    assert (signed(0.0123, "top1"), signed(-0.0123, "top1"), signed(0.00001, "top1")) == ("▼ 1.23", "▲ 1.23", "0.00")
    assert (shade(0.05, 0.05, "top1"), shade(-0.05, 0.05, "top1"), shade(0.0, 0.05, "top1")) == ("d6", "g6", "")
    assert shade(9.0, 0.05, "top1") == "d6"
    assert shade(0.002, 0.05, "top1") == "d2"  # 4 % of the largest is still seen
    assert shade(float("nan"), 0.05, "top1") == ""


def test_each_step_of_the_waterfall_begins_where_the_one_before_ended() -> None:
    page = noise_html.render(samples.every_status())
    bars = [
        (float(left), float(left) + float(width))
        for left, width in re.findall(r'class="bar (?:worse|better)" style="left:([\d.]+)%;width:([\d.]+)%"', page)
    ]
    (zero,) = set(re.findall(r'class="zero" style="left:([\d.]+)%"', page.partition("One after another")[2])[:4])
    first, second, third, fourth = bars[:4]
    assert first[0] == pytest.approx(float(zero), abs=0.02)
    assert second[0] == pytest.approx(first[1], abs=0.02)
    assert third[1] == pytest.approx(second[1], abs=0.02)  # it gives some back: its bar goes to the left
    assert fourth[0] == pytest.approx(third[0], abs=0.02)


def test_the_page_tells_shares_work_problems_and_what_the_words_mean() -> None:
    text = words_of(noise_html.render(samples.every_status()))
    for said in (
        "Whose drop it is", "gone without it", "Shapley", "broken.jpg", "it ends early",
        "5,000 decodes (each cell by itself: 62,000)", "onnxruntime 1.31.1", "tench (62 %) ✓", "goldfish (41 %) ✗",
        "exit code 1 (also applied: 3, 6, 5)", "the baseline, run again, gives the same answers",
    ):  # fmt: skip
        assert said in text, said


def test_four_hundred_cells_stay_below_a_megabyte() -> None:
    cells = [samples.cell("colour", f"level-{at}", f"backend-{at % 4}", delta=0.02) for at in range(400)]
    assert len(noise_html.render(samples.matrix(*cells)).encode()) < 1_000_000


# Pictures


def embedded(page: str) -> list[Image.Image]:
    found = re.findall(r'<img src="data:image/jpeg;base64,([A-Za-z0-9+/=]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_pictures_are_in_the_page_only_where_they_were_asked_for_and_lie_in_it_whole(tmp_path: Path) -> None:
    page = noise_html.render(samples.with_pictures(tmp_path))
    checked = Page(page)
    assert checked.open == []
    assert checked.tags <= ALLOWED | {"img"}
    sources = [value or "" for name, value in checked.attributes if name == "src"]
    assert sources
    assert all(each.startswith("data:image/jpeg;base64,") for each in sources)
    assert "img-src data:" in page
    assert all(max(each.size) <= noise_gallery.THUMB and not each.getexif() for each in embedded(page))


def test_a_detectors_boxes_are_drawn_in_two_colours_and_wild_ones_do_no_harm(tmp_path: Path) -> None:
    found = samples.with_pictures(tmp_path)
    wild = (float("nan"), 0.0, 1.0, 1.0), (-1e30, 5.0, 1e30, 1e30), (3.0, 3.0, -4.0, 2.0)
    flips = tuple(
        replace(each, boxes_before=((10.0, 10.0, 40.0, 30.0), *wild), boxes_after=((50.0, 20.0, 30.0, 30.0),))
        for each in found.flips
    )
    grey = np.full((70, 90, 3), 128, np.uint8)
    drawn = noise_gallery.with_boxes(grey, flips[0])
    assert drawn.shape == grey.shape
    assert tuple(drawn[10, 30]) == noise_gallery.BASELINE_COLOUR
    assert tuple(drawn[20, 60]) == noise_gallery.CELL_COLOUR
    text = words_of(noise_html.render(replace(found, flips=flips)))
    assert "boxes: blue the baseline’s, orange those of resize=pillow-nearest" in text


def test_a_changed_picture_stands_with_both_answers_and_one_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    text = words_of(noise_html.render(samples.with_pictures(tmp_path)))
    assert "can’t be read broken.jpg baseline: tench (62 %) ✓" in text
    assert "changed.jpg baseline: tench (62 %) ✓" in text
    assert "resize=pillow-box on ort: goldfish (41 %) ✗" in text


def test_a_difference_is_drawn_for_each_noise_that_a_picture_shows(tmp_path: Path) -> None:
    page = noise_html.render(samples.with_pictures(tmp_path))
    drawn = re.findall(r'alt="difference of ([^"]+)"', page)
    assert drawn == ["resize=pillow-nearest", "resize=pillow-box", "colour=range-full-as-narrow"]
    assert re.findall(r'alt="spectrum of ([^"]+)"', page) == drawn


def test_a_difference_is_stretched_from_its_smallest_to_its_largest_value() -> None:
    values = np.array([[[2.0, 4.0, 3.0]]])
    assert noise_gallery.stretched(values).tolist() == [[[0, 255, 128]]]
    assert noise_gallery.stretched(np.full((2, 2, 3), 7.0)).max() == 0


def test_a_spectrum_shows_a_stripe_of_one_frequency_as_two_points_around_the_middle() -> None:
    columns = np.cos(2 * np.pi * 8 * np.arange(64) / 64)
    drawn = noise_gallery.spectrum(np.broadcast_to(columns[None, :, None], (64, 64, 3)))
    bright = np.argwhere(drawn > 200)
    assert bright.tolist() == [[32, 24], [32, 40]]


def test_a_difference_is_cut_out_and_not_made_smaller() -> None:
    pixels = np.random.default_rng(1).random((301, 200, 3))
    found = noise_gallery.cut(pixels)
    assert found.shape == (noise_gallery.CUT, noise_gallery.CUT, 3)
    assert np.array_equal(found[0], pixels[86, 36 : 36 + noise_gallery.CUT])
    assert noise_gallery.cut(pixels[:9, :7]).shape == (9, 7, 3)


# The folder


def test_publishing_writes_every_file_and_the_json_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present: list[set[str]] = []
    write = noise_publish.atomic_write

    def watched(path: Path, content: str | bytes) -> None:
        present.append({each.name for each in tmp_path.iterdir()})
        write(path, content)

    monkeypatch.setattr(noise_publish, "atomic_write", watched)
    for _ in range(2):
        begin_noise(tmp_path, keep_journal=False)
        noise_publish.publish(tmp_path, samples.hostile())
    assert all("noise.json" not in each for each in present)
    assert {each.name for each in tmp_path.iterdir()} == {*NOISE_FILES, ".conform-noise"}


# The list


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = invoke(["noise", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_list_has_a_line_for_every_axis_in_the_order_of_the_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = listed(capsys, "--list")
    names = [each.split()[0] for each in out.splitlines() if each and not each.startswith((" ", "conform"))]
    assert (code, names) == (0, list(AXES))


def test_one_axis_is_listed_with_its_levels_what_they_imitate_and_their_source(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = listed(capsys, "--list", "resize")
    assert code == 0
    assert re.findall(r"^  (\S+)$", out, re.MULTILINE) == [each.name for each in AXES["resize"].levels]
    assert "imitates: tf.image.resize, method nearest" in out
    assert "source: SysNoise 3.2" in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_level_that_is_not_there_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["sysnoise_conform.noise.axis"]  # the package has a function of the same name
    monkeypatch.setattr(module, "_importable", lambda name: name != "simplejpeg")
    _, out, _ = listed(capsys, "--list", "decoder")
    assert out.count("not available here: simplejpeg is not installed: pip install simplejpeg") == 3
    _, out, _ = listed(capsys, "--list")
    assert "without turbo-fast-dct, turbo-fast-upsample, turbo-fast: simplejpeg is not installed" in out


def test_a_mistyped_axis_is_one_line_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = listed(capsys, "--list", "resise")
    assert (code, out) == (2, "")
    assert err == "error: no noise is called 'resise'; did you mean 'resize'?\n"


def test_the_catalogue_in_the_docs_is_the_one_of_the_code() -> None:
    page = Path(__file__).parents[1] / "docs" / "noises.md"
    assert page.read_text(encoding="utf-8") == noise_catalogue.markdown()


def test_no_cell_of_the_catalogue_breaks_its_table() -> None:
    rows: list[Any] = [line.count("|") for line in noise_catalogue.markdown().splitlines() if line.startswith("|")]
    assert set(rows) == {6}
