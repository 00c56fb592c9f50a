"""One kind of disagreement between training and deployment: an axis, with the options that deployments choose from.

The taxonomy is that of SysNoise (MLSys 2023). An axis sits at one stage of the way from a file to a figure; its first
level is the identity, which is whatever the model's card says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from sysnoise_conform.errors import UsageError
from sysnoise_conform.pictures import elsewhere
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

# In the order in which a picture passes them. `input` is the picture at the network's size, still in 8 bits.
Stage = Literal["decode", "exif", "colour", "resize", "geometry", "input", "normalise", "graph", "output", "audio"]
STAGES: tuple[Stage, ...] = (
    "decode", "exif", "colour", "resize", "geometry", "input", "normalise", "graph", "output", "audio",
)  # fmt: skip

IDENTITY = "card"  # the name of every axis' first level


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One option of an axis.

    `imitates` is the deployment that it stands for, `source` where its definition comes from; `needs` is the module
    that must be importable, `package` what brings it; `elsewhere` a library in an environment of its own.
    """

    name: str
    about: str
    imitates: str = ""
    source: str = ""
    needs: str = ""
    package: str = ""
    elsewhere: str = ""

    @property
    def missing(self) -> str:
        """Why the level can't be had here, with the cure; "" where it can."""
        if self.elsewhere:
            return elsewhere.missing(self.elsewhere)
        if not self.needs or _importable(self.needs):
            return ""
        return f"{self.needs} is not installed: pip install {self.package or self.needs}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """The options of one disagreement.

    `paper` says whether SysNoise measured it, `mistake` whether its levels are faults of a deployment rather than
    choices: those are measured where they are asked for. So are the levels in `rare`, which many runtimes refuse.
    `tasks` are those that it can touch, all without any.
    """

    name: str
    stage: Stage
    about: str
    levels: tuple[Level, ...]
    paper: bool = False
    mistake: bool = False
    tasks: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [each.name for each in self.levels]
        assert names[0] == IDENTITY, f"{self.name} begins with {names[0]}"
        assert len(set(names)) == len(names), f"{self.name} has two levels of one name"

    @property
    def named(self) -> tuple[str, ...]:
        """The levels that the axis' own name asks for: all but the identity and those that few machines have."""
        return tuple(each.name for each in self.levels[1:] if not each.elsewhere)

    def level(self, name: str) -> Level:
        """Raises UsageError with the nearest names for one that is not there."""
        for each in self.levels:
            if each.name == name:
                return each
        raise UsageError(
            f"the noise {self.name!r} has no level {one_line(name, 60)!r}",
            hint=nearest(name, [each.name for each in self.levels]),
        )


def identity(about: str) -> Level:
    """The first level of an axis."""
    return Level(name=IDENTITY, about=about)


def by_name(axes: tuple[Axis, ...]) -> Mapping[str, Axis]:
    """The axes in the order of their stages, by name."""
    ordered = sorted(axes, key=lambda each: STAGES.index(each.stage))
    found = {each.name: each for each in ordered}
    assert len(found) == len(axes), "two axes of one name"
    return found


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a package whose parent is not there, or that is being torn down
        return False
