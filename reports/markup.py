"""HTML that is escaped by construction: only what is already `Markup` goes in as it is."""

from __future__ import annotations

import html
from typing import Any

from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.wording import NOTHING


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object, limit: int = 400) -> Markup:
    """`value` as HTML: itself when it is Markup, else one printable line, escaped; a space at its edges stays."""
    if isinstance(value, Markup):
        return value
    said = str(value)
    before, after = " " * said.startswith(" "), " " * said.endswith(" ")
    return Markup(f"{before}{html.escape(one_line(said, limit))}{after}")


def join(*children: object) -> Markup:
    """Children side by side, each escaped unless it is Markup."""
    return Markup("".join(text(each) for each in children))


def element(name: str, *children: object, **attributes: Any) -> Markup:
    """One element. `class_` is `class`, `data_label` is `data-label`; an attribute of None is left out."""
    opening = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(one_line(value, 100_000))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{opening}>{join(*children)}</{name}>")


def _kinds(kind: str | None, cell: object) -> str | None:
    """A cell without a value says so, for narrow screens to leave it out."""
    return " ".join(filter(None, [kind, "none" if cell == NOTHING else None])) or None


def table(headings: list[str], rows: list[list[object]], *, numeric: frozenset[int] = frozenset()) -> Markup:
    """A table that turns into cards on a narrow screen; columns in `numeric` are set in tabular figures."""
    kinds = ["num" if at in numeric else None for at in range(len(headings))]
    head = element(
        "tr", *(element("th", each, class_=kind, scope="col") for each, kind in zip(headings, kinds, strict=True))
    )
    body = [
        element(
            "tr",
            *(
                element("td", cell, class_=_kinds(kind, cell), data_label=heading)
                for cell, kind, heading in zip(row, kinds, headings, strict=True)
            ),
        )
        for row in rows
    ]
    return element("table", element("thead", head), element("tbody", *body))
