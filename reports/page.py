"""A page that holds all it shows: the frame around a body, its style, and the policy that forbids anything else."""

from __future__ import annotations

from importlib.resources import files
from string import Template

from sysnoise_conform.reports.markup import Markup, text

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, body: Markup, *, styles: tuple[str, ...] = ("report.css",), pictures: bool = False) -> str:
    """The whole page. No script; its policy forbids any, and any picture that does not lie in it."""
    folder = files("sysnoise_conform.reports") / "templates"
    frame = Template((folder / "report.html").read_text(encoding="utf-8"))
    return frame.substitute(
        title=text(title),
        policy=f"{_POLICY}; img-src data:" if pictures else _POLICY,
        style="\n".join((folder / each).read_text(encoding="utf-8").strip() for each in styles),
        body=body,
    )
