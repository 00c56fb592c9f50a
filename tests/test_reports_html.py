from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest
from report_samples import every_outcome, hostile, odd

from sysnoise_conform.reports.chart import Trace, chart
from sysnoise_conform.reports.html import render
from sysnoise_conform.reports.markup import Markup, element, text

ODD = odd()
VOID = {"meta", "br", "img"}
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "section", "header", "h1", "h2", "h3", "p", "div", "span",
    "strong", "small", "code", "pre", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "ul", "li", "a",
    "br", "details", "summary", "figure", "figcaption", "svg", "path", "g", "rect",
}  # fmt: skip


class Page(HTMLParser):
    """Tags in order, checked to nest as they must."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


REPORTS = {"every outcome": every_outcome(), "hostile": hostile(), **ODD}


@pytest.mark.parametrize("kind", REPORTS)
def test_the_page_nests_and_holds_only_elements_that_show(kind: str) -> None:
    page = Page(render(*REPORTS[kind]))
    assert page.open == []
    assert page.tags <= ALLOWED
    assert not [name for name, _ in page.attributes if name.startswith("on")]


@pytest.mark.parametrize("kind", REPORTS)
def test_nothing_is_fetched_and_nothing_can_run(kind: str) -> None:
    source = render(*REPORTS[kind])
    page = Page(source)
    links = [value or "" for name, value in page.attributes if name in ("href", "src", "srcset", "action", "data")]
    assert all(re.fullmatch(r"#v\d+", each) for each in links)
    assert "url(" not in source
    assert "@import" not in source
    assert "default-src 'none'" in source


def test_two_thousand_layers_stay_below_two_megabytes() -> None:
    assert len(render(*every_outcome(2000)).encode()) < 2_000_000


def test_twenty_variants_stay_below_two_megabytes() -> None:
    assert len(render(*ODD["twenty variants"]).encode()) < 2_000_000


def test_a_layer_under_the_pointer_is_named_with_its_operator_and_its_numbers() -> None:
    title = (
        r"<title>layer 35  Relu  /backbone/stage0/block4/Relu_34_output_0\nrel\. L2 [\d.e-]+, [\d,]+ × the noise floor<"
    )
    assert re.search(title, render(*every_outcome()))


def test_a_hidden_layer_is_named_with_the_reason() -> None:
    assert "not observable: fused into the Conv before it</title>" in render(*every_outcome())


def test_the_departure_is_marked_in_the_drawing() -> None:
    assert 'class="departs"' in render(*every_outcome())


def test_provenance_is_whole() -> None:
    source = render(*every_outcome())
    for fact in (
        "5e8c" * 16,
        "77aa" * 16,
        "avx512_bf16",
        "torch 2.13.0",
        "conform run --model models/det.onnx",
        "bf16",
    ):
        assert fact in source


def drawn(*values: float | None) -> str:
    return chart([Trace(label="a", values=values)], [None] * len(values), about="", title=str, columns=100)


def test_exact_layers_have_a_shelf_of_their_own_below_the_log_axis() -> None:
    assert ">exact<" in drawn(0.0, 1e-6)
    assert ">exact<" not in drawn(1e-6, 1e-6)


def test_nan_has_a_shelf_of_its_own_above_the_log_axis() -> None:
    assert ">NaN, Inf<" in drawn(math.nan, 1e-6)


def test_no_coordinate_is_nan_or_infinite() -> None:
    assert not re.search(
        r"(?<![A-Za-z])(nan|inf)", drawn(math.nan, math.inf, 0.0, 1e-300, 1e300, None, 1e-6).replace("NaN, Inf", "")
    )


def test_the_line_breaks_where_a_layer_was_not_observable() -> None:
    assert drawn(1e-6, 1e-6, None, 1e-6, 1e-6).count("M") > drawn(1e-6, 1e-6, 1e-6, 1e-6, 1e-6).count("M")


def test_of_many_layers_in_one_place_the_worst_can_be_pointed_at() -> None:
    values = [1e-7] * 1000
    values[503] = 1e-2
    titles = re.findall("<title>(.*?)</title>", drawn(*values))
    assert len(titles) == 100
    assert "503" in titles


def test_a_thinned_line_keeps_the_worst_of_each_place() -> None:
    quiet, loud = [1e-7] * 5000, [1e-7] * 5000
    loud[2501] = 1e-5
    assert drawn(*quiet) != drawn(*loud)


def test_everything_that_is_no_markup_is_escaped() -> None:
    assert element("p", "<b>", text("&"), Markup("<br>"), title='"') == '<p title="&quot;">&lt;b&gt;&amp;<br></p>'
