"""The noises as a catalogue: for `conform noise --list`, and as the page docs/noises.md."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from sysnoise_conform.noise import AXES, IDENTITY, Axis, Level, axis
from sysnoise_conform.reports.markdown import prose

_WIDE = 100
_HEAD = """\
# The noises

Every disagreement between training and deployment that [`conform noise`](noise.md) can put into a model's way, in the
order in which a picture meets them. Level 0 of each axis is `card`: whatever the model's card says. `conform noise
--list` prints the same list, with what is missing on this machine.

Axes of SysNoise (MLSys 2023) are marked with "paper"; `--noise paper` takes those. Axes marked with "mistake" are
faults of a deployment rather than choices: they are measured where they are asked for by name, or by `--noise all`.
This page is made from the code: `python -m sysnoise_conform.reports.noise_catalogue > docs/noises.md`.
"""


def all_axes() -> str:
    """One line for each axis: its stage, how many levels it has besides the card's, what it is."""
    wide = max(len(each) for each in AXES)
    lines = []
    for each in AXES.values():
        levels = len(each.levels) - 1
        head = f"{each.name:{wide}}  {each.stage:9}  {levels:3}  "
        lines += textwrap.wrap(
            f"{each.about}{_marks(each)}", _WIDE, initial_indent=head, subsequent_indent=" " * len(head)
        )
        lines += [f"{'':{wide}}  {'':9}       {said}" for said in _missing(each)]
    lines += ["", "conform noise --list AXIS tells of the levels of one; --noise takes axes, or axis=level."]
    return "\n".join(lines) + "\n"


def one_axis(name: str) -> str:
    """The levels of one axis, with what each imitates, where it comes from, and what it lacks here.

    Raises UsageError for a name that is not there.
    """
    found = axis(name)
    head = f"{found.name} ({found.stage}): {found.about}{_marks(found)}"
    lines = [*textwrap.wrap(head, _WIDE, subsequent_indent=" " * 4), ""]
    for level in found.levels:
        lines.append(f"  {level.name}")
        for said in (level.about, *_origin(level), level.missing and f"not available here: {level.missing}"):
            if said:
                lines += textwrap.wrap(said, _WIDE, initial_indent="      ", subsequent_indent="        ")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The page docs/noises.md; nothing in it depends on the machine."""
    return "\n".join([_HEAD, *(line for each in AXES.values() for line in _section(each))])


def _section(each: Axis) -> Iterator[str]:
    yield f"## `{each.name}`"
    yield ""
    yield f"{prose(each.about[:1].upper() + each.about[1:])}. Stage: {each.stage}{_marks(each, ', ')}."
    yield ""
    yield "| level | what it does | imitates | source | needs |"
    yield "|---|---|---|---|---|"
    for level in each.levels:
        cells = (prose(level.about), prose(level.imitates), prose(level.source), level.package and f"`{level.package}`")
        yield f"| `{level.name}` | {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")
    yield ""


def _marks(each: Axis, before: str = " [") -> str:
    marks = [word for word, given in (("paper", each.paper), ("mistake", each.mistake)) if given]
    marks += [f"for {' and '.join(each.tasks)} only"] if each.tasks else []
    return f"{before}{', '.join(marks)}{']' if '[' in before else ''}" if marks else ""


def _origin(level: Level) -> Iterator[str]:
    if level.imitates:
        yield f"imitates: {level.imitates}"
    if level.source:
        yield f"source: {level.source}"


def _missing(each: Axis) -> Iterator[str]:
    """One line for each cure."""
    lacking: dict[str, list[str]] = {}
    for level in each.levels:
        if level.name != IDENTITY and level.missing:
            lacking.setdefault(level.missing, []).append(level.name)
    for cure, names in lacking.items():
        yield f"without {', '.join(names)}: {cure}"


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
