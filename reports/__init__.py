"""Renderers: a report and its verdicts in, text out."""

from __future__ import annotations

from importlib import import_module

from sysnoise_conform.errors import UsageError
from sysnoise_conform.judge.verdict import Judgement
from sysnoise_conform.printable import one_line
from sysnoise_conform.report import Report
from sysnoise_conform.variant import nearest

FORMATS = {
    "terminal": "sysnoise_conform.reports.terminal:render",
    "html": "sysnoise_conform.reports.html:render",
    "junit": "sysnoise_conform.reports.junit:render",
    "markdown": "sysnoise_conform.reports.markdown:render",
    "summary": "sysnoise_conform.reports.summary:render",
}


def render(format: str, report: Report, judgement: Judgement) -> str:  # noqa: A002 - the word its users know
    """`report` and its verdicts as text in one of `FORMATS`. Raises UsageError for another format."""
    try:
        module, _, function = FORMATS[format].partition(":")
    except KeyError:
        raise UsageError(f"no format is called {one_line(format)!r}", hint=nearest(format, FORMATS)) from None
    text = getattr(import_module(module), function)(report, judgement)
    assert isinstance(text, str)
    return text
