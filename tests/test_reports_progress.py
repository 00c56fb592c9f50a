from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from sysnoise_conform.reports.progress import progress


def test_nothing_is_drawn_where_nobody_watches(capfd: pytest.CaptureFixture[str]) -> None:
    with progress() as watch:
        watch("ort", "running", 1, 4)
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_who_does_what() -> None:
    stream = io.StringIO()
    with progress(Console(file=stream, force_terminal=True, width=100)) as watch:
        watch("ort", "running", 1, 4)
        watch("openvino", "compiling", 0, 4)
        watch("ort", "done", 4, 4)
    text = stream.getvalue()
    assert "ort" in text
    assert "compiling" in text
    assert "4/4" in text


def test_a_name_can_neither_escape_nor_mark_up() -> None:
    stream = io.StringIO()
    with progress(Console(file=stream, force_terminal=True, width=100, color_system=None)) as watch:
        watch("[red]\x1b]0;title\x07ort\x9b31m", "[bold]run", 0, 1)
    assert "[red]ort" in stream.getvalue()
    assert "title" not in stream.getvalue()
    assert "\x9b" not in stream.getvalue()


def test_variants_may_report_side_by_side() -> None:
    stream = io.StringIO()
    with progress(Console(file=stream, force_terminal=True, width=100)) as watch, ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(watch, f"ort+threads={at % 5}", "running", at, 100) for at in range(100)]
        for job in jobs:
            job.result()
