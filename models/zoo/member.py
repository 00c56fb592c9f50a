"""A member of the zoo: a model card with a table `[zoo]`, which says what the paper measured and where weights lie.

    [zoo]
    table = "table2"                      # of the paper
    row = "ResNet-18"                     # as it is called there
    family = "ResNet"
    note = "..."                          # how it departs from the paper's model, where it does
    letters = "_-! abc"                   # its tokens, where each is a letter; else they come with the weights
    untrained = 'tokenizer = "bytes"'     # for [text], where weights are random: those know no tokens

    [[zoo.sources]]                       # in the order in which they are looked for
    library = "torchvision"               # which builds the network
    model = "resnet18"                    # by this name
    file = "resnet18-f37072fd.pth"        # of the weights, in the library's cache
    figure = 69.758                       # the weights' own, as their library tells it

    [zoo.published.ImageNet]              # by data set: the paper's figures, in points; an absent one was not measured
    trained = 69.96
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal, get_args

from sysnoise_conform.card import WRITTEN, Card, load_card
from sysnoise_conform.errors import UsageError
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

TOKENIZER = "tokenizer.json"  # as a member's card calls it until it is exported
Library = Literal["torchvision", "timm", "transformers", "torchaudio", "mcunet", "conform"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A library that builds the network, and the weights that it has for it, if any.

    `model` is the library's name for it, `arguments` what else its builder is told; `weights` names one of several
    sets, `file` is what theirs is called where the library keeps it, `config` a file beside it that building needs.
    """

    library: Library
    model: str
    weights: str = ""
    file: str = ""
    config: str = ""
    figure: float | None = None
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One row of a table of the paper. `card` is as any model's; `text` is its file, which an export gets beside it."""

    name: str
    table: str
    row: str
    family: str
    note: str
    letters: str
    untrained: str
    sources: tuple[Source, ...]
    published: Mapping[str, Mapping[str, float]]  # data set -> column -> figure
    card: Card
    text: str


@lru_cache
def names() -> tuple[str, ...]:
    """All members' names."""
    return tuple(sorted(each.name.removesuffix(".toml") for each in _folder().iterdir() if each.name.endswith(".toml")))


@lru_cache
def member(name: str) -> Member:
    """A member by its name. Raises UsageError with the nearest for one that is not there."""
    if name not in names():
        raise UsageError(f"the zoo has no {one_line(name, 60)!r}", hint=nearest(name, names()))
    with resources.as_file(_folder() / f"{name}.toml") as path:
        card, text = load_card(path), path.read_text(encoding="utf-8")
    zoo = tomllib.loads(text)["zoo"]
    return Member(
        name=name, table=zoo["table"], row=zoo["row"], family=zoo["family"], note=zoo.get("note", ""),
        letters=zoo.get("letters", ""), untrained=zoo.get("untrained", ""),
        sources=tuple(_source(each) for each in zoo["sources"]), published=zoo["published"], card=card, text=text,
    )  # fmt: skip


def exported_card(member: Member, sha256: str, weights: str, tokenizer: str | None) -> str:
    """The card of a member's export: its own, and which file with which weights it stands beside.

    `tokenizer` is what its tokenizer.json is called there; None for one whose weights are random.
    """
    text = member.text.rstrip()
    if member.card.text is not None:
        named = f"tokenizer = {json.dumps(tokenizer)}" if tokenizer else member.untrained
        text = text.replace(f'tokenizer = "{TOKENIZER}"', named, 1)
    about = f'[export]\nsha256 = "{sha256}"\nweights = {json.dumps(one_line(weights, 200))}'
    return f"{WRITTEN}\n{text}\n\n{about}\n"


def _source(table: Mapping[str, Any]) -> Source:
    found = Source(**({"arguments": {}} | dict(table)))
    assert found.library in get_args(Library), found.library
    return found


def _folder() -> resources.abc.Traversable:
    return resources.files("sysnoise_conform.models.zoo") / "members"
