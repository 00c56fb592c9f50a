"""The zoo for people: which members there are, with or without weights here, and everything of one of them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from sysnoise_conform.models.zoo import paper
from sysnoise_conform.models.zoo.member import Member, Source, member
from sysnoise_conform.models.zoo.places import Found, Missing, look, zoo_folder
from sysnoise_conform.printable import one_line

_WIDE = 116


def as_text(*, verbose: bool = False) -> str:
    """Table by table: name, the paper's figure, and the weights that are here, or the command that would bring them."""
    found = {each.name: look(each) for each in _members()}
    here = sum(isinstance(each, Found) for each in found.values())
    lines = [
        f"{len(found)} models of the SysNoise paper, {here} with weights on this machine."
        f" Your own weights: {zoo_folder()}/NAME.safetensors"
    ]
    for name in paper.tables():
        if name == paper.FIGURE:
            continue
        table = paper.table(name)
        lines += ["", f"{table.title} ({name}, task {table.task})"]
        for one in dict.fromkeys(row.member for row in table.rows):
            lines += _lines(member(one), found[one], verbose=verbose)
    lines += [
        "",
        "Nothing is fetched. conform zoo export NAME makes the ONNX file and its card, --random-weights without any.",
    ]
    return "\n".join(lines) + "\n"


def as_json() -> str:
    """The same for programs."""
    return json.dumps([_record(each, look(each)) for each in _members()], indent=2, ensure_ascii=False) + "\n"


def of_one(name: str) -> str:
    """Raises UsageError for a name that is not there."""
    one = member(name)
    found = look(one)
    lines = [f"{one.name}: {one.row}, {paper.table(one.table).title}"]
    lines += textwrap.wrap(f"not the paper's: {one.note}", _WIDE) if one.note else []
    lines += ["", "the paper's figures, in points" if one.table != "table10" else "the paper's figures"]
    for row in (each for each in paper.table(one.table).rows if each.member == name):
        said = ", ".join(f"{key} {value:g}{'?' if key in row.doubts else ''}" for key, value in row.figures.items())
        lines += textwrap.wrap(f"{row.data}: {said}", _WIDE, initial_indent="  ", subsequent_indent="    ")
        for key, why in row.doubts.items():
            lines += textwrap.wrap(f"? {key}: {why}", _WIDE, initial_indent="  ", subsequent_indent="    ")
    lines += ["", "networks and weights"]
    lines += [f"  {_named(each)}" for each in one.sources]
    lines += ["", *_weights(found, verbose=True)]
    return "\n".join(lines) + "\n"


def _members() -> list[Member]:
    names = [row.member for table in paper.tables() if table != paper.FIGURE for row in paper.table(table).rows]
    return [member(each) for each in dict.fromkeys(names)]


def _lines(one: Member, found: Found | Missing, *, verbose: bool) -> Iterator[str]:
    head = f"  {one.name:24}{_figure(one):>8}  "
    first, *rest = _weights(found, verbose=verbose)
    yield head + first
    yield from (" " * len(head) + each for each in rest)


def _figure(one: Member) -> str:
    values = [each["trained"] for each in one.published.values() if "trained" in each]
    return f"{values[0]:.2f}" if values else ""


def _weights(found: Found | Missing, *, verbose: bool) -> list[str]:
    match found:
        case Found():
            return [f"here: {one_line(found.path, 300)}"]
        case Missing():
            lines = [f"missing; {found.command}" if found.command else "missing; no library has any"]
            return lines + ([f"looked for {one_line(each, 300)}" for each in found.looked] if verbose else [])


def _named(source: Source) -> str:
    figure = f", {source.figure:g} by its library" if source.figure is not None else ""
    weights = f", weights {source.weights or source.file}{figure}" if source.file else ", no weights of its own"
    return f"{source.library}: {source.model}{'' if source.library == 'transformers' else weights}"


def _record(one: Member, found: Found | Missing) -> dict[str, Any]:
    return {
        "name": one.name,
        "table": one.table,
        "row": one.row,
        "family": one.family,
        "note": one.note,
        "published": {data: dict(figures) for data, figures in one.published.items()},
        "weights": str(found.path) if isinstance(found, Found) else None,
        "looked_for": [] if isinstance(found, Found) else list(found.looked),
        "command": "" if isinstance(found, Found) else found.command,
    }
