"""A small world in plain English, and what can be asked of it, in the layouts of four public collections.

A text is what a model reads in training: passages as they are, and questions in the form in which EleutherAI's
lm-evaluation-harness asks them. Chance draws the same number of each sort; what is held out stands in no text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sysnoise_conform.models.tiny.chance import Chance

SORTS = ("piqa", "hellaswag", "winogrande", "lambada")
# What is learnt from: what must be copied out of the text itself is harder than what can be remembered.
LEARNT = ("piqa", "hellaswag", "winogrande", "winogrande", "winogrande", "lambada", "lambada", "lambada")
LONGEST = 128  # characters of a text and a wrong ending

_WOMEN = ("Ada", "Eva", "Ida", "Mia", "Nora", "Rosa", "Tess", "Vera")
_MEN = ("Bob", "Carl", "Finn", "Gus", "Hugo", "Jack", "Luke", "Paul")
_NAMES = _WOMEN + _MEN
_COLOURS = ("red", "blue", "green", "white", "black", "tan", "new", "big")
_THINGS = ("apple", "book", "cup", "drum", "fan", "hat", "jar", "kite", "lamp", "pen", "ring", "vase")
_PLACES = ("park", "lake", "town", "shop", "farm", "school")

# goal, what serves it, and the things that it is done to
_WAYS = (
    ("cut", "a saw", ("plank", "branch", "log")), ("cut", "scissors", ("paper", "ribbon", "cloth")),
    ("cut", "a knife", ("bread", "cheese", "melon")), ("clean", "a mop", ("floor", "hall", "deck")),
    ("clean", "a toothbrush", ("teeth",)), ("clean", "a sponge", ("plate", "sink", "pan")),
    ("dry", "a towel", ("hands", "hair")), ("open", "a key", ("door", "gate", "chest")),
    ("open", "a corkscrew", ("wine",)), ("fix", "glue", ("chair", "toy", "shoe")),
    ("fix", "a needle", ("shirt", "sock", "coat")), ("carry", "a bucket", ("water", "sand", "milk")),
    ("carry", "a truck", ("stones", "bricks")), ("light", "a match", ("fire", "candle", "stove")),
    ("dig", "a spade", ("hole", "ditch")), ("see", "a telescope", ("moon", "stars")),
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "holiday")
_HOW = ("today", "quickly", "at home", "with care", "alone", "in the yard", "before noon", "after work")

# activity, and what follows what
_SCRIPTS = (
    ("Baking", ("mixes flour and eggs", "heats the oven", "puts the dough in", "eats the cake")),
    ("Fishing", ("walks to the river", "throws the line", "waits for a bite", "pulls out a fish")),
    ("Painting", ("takes a brush", "dips it in paint", "draws a tree", "hangs up the picture")),
    ("Sleeping", ("puts on pajamas", "turns off the light", "closes both eyes", "dreams till dawn")),
    ("Swimming", ("puts on a swimsuit", "jumps into the pool", "swims ten laps", "dries in the sun")),
    ("Gardening", ("digs a small hole", "drops in a seed", "waters the ground", "sees a flower grow")),
    ("Cycling", ("pumps up the tires", "gets on the bike", "rides down the hill", "locks the bike")),
    ("Posting", ("writes a letter", "finds a stamp", "goes to the mailbox", "sends it off")),
)

# what A and B do, what is then true of A, and what of B
_DEEDS = (
    ("gave the {} to", "because", ("had two of them", "did not want it"), ("asked for it", "had none")),
    ("sold the {} to", "so", ("got the money", "counted the coins"), ("paid the price", "took it home")),
    ("took the {} from", "so", ("now had it", "walked off with it"), ("lost it", "was left without it")),
    ("threw the {} to", "and", ("had a good aim", "let it go"), ("caught it", "held it tight")),
    ("hid the {} from", "but", ("did not tell", "kept the secret"), ("looked for it", "found it anyway")),
    ("drew the {} for", "and", ("used a pencil", "worked all day"), ("liked the picture", "gave thanks")),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question: `row` in its layout, `label` apart where the collection has it so, `text` with its answer."""

    sort: str
    row: Mapping[str, Any]
    label: int | None
    text: str


def item(seed: int, sort: str, number: int) -> Item:
    """A question of a sort, determined by its seed and number."""
    return _MAKERS[sort](Chance(seed, 3, SORTS.index(sort), number), number)


def texts(seed: int, count: int, *, without: frozenset[str] = frozenset()) -> Iterator[str]:
    """`count` texts to learn from, as often of each sort as `LEARNT` has it, none of them one of `without`."""
    number = found = 0
    while found < count:
        text = item(seed, LEARNT[number % len(LEARNT)], number).text
        number += 1
        if text not in without:
            found += 1
            yield text


def _piqa(chance: Chance, number: int) -> Item:
    del number
    verb, tool, things = chance.choice(_WAYS)
    goal = f"{verb} the {chance.choice(_COLOURS)} {chance.choice(things)} {chance.choice(_HOW)}"
    other = chance.choice([each for _, each, _ in _WAYS if each != tool])
    label = chance.below(2)
    right, wrong = f"Use {tool}.", f"Use {other}."
    sols = (right, wrong) if label == 0 else (wrong, right)
    return Item(
        sort="piqa", row={"goal": f"To {goal}.", "sol1": sols[0], "sol2": sols[1]}, label=label,
        text=f"Question: To {goal}.\nAnswer: {right}",
    )  # fmt: skip


def _hellaswag(chance: Chance, number: int) -> Item:
    activity, steps = chance.choice(_SCRIPTS)
    name = chance.choice(_NAMES)
    who = "she" if name in _WOMEN else "he"
    at = chance.between(1, 3)  # which step is asked for
    day = chance.choice(_DAYS)
    before = " ".join(f"{f'On {day} {name}' if each == 0 else who.capitalize()} {steps[each]}." for each in range(at))
    others = [steps[each] for each in range(4) if each not in (at, at - 1)][:1]
    others += [chance.choice(each) for _, each in chance.order([s for s in _SCRIPTS if s[0] != activity])[:2]]
    endings = chance.order([steps[at], *others])
    label = endings.index(steps[at])
    row = {
        "ind": number, "activity_label": activity, "ctx_a": before, "ctx_b": who, "ctx": f"{before} {who}",
        "endings": [f"{each}." for each in endings], "source_id": f"tiny~{number}", "split": "val",
        "split_type": "indomain", "label": label,
    }  # fmt: skip
    return Item(sort="hellaswag", row=row, label=None, text=f"{activity}: {before} {who.capitalize()} {steps[at]}.")


def _winogrande(chance: Chance, number: int) -> Item:
    deed, link, first, second = chance.choice(_DEEDS)
    a, b = chance.order(_NAMES)[:2]
    mine = chance.below(2)
    rest = chance.choice(second if mine else first)
    head = f"{a} {deed.format(f'{chance.choice(_COLOURS)} {chance.choice(_THINGS)}')} {b} {link} "
    options = chance.order((a, b))
    right = (a, b)[mine]
    row = {
        "qID": f"tiny-{number}", "sentence": f"{head}_ {rest}.", "option1": options[0], "option2": options[1],
        "answer": str(options.index(right) + 1),
    }  # fmt: skip
    return Item(sort="winogrande", row=row, label=None, text=f"{head}{right} {rest}.")


def _lambada(chance: Chance, number: int) -> Item:
    del number
    a, b = chance.order(_NAMES)[:2]
    things, colours = chance.order(_THINGS)[:2], chance.order(_COLOURS)[:2]
    facts = " ".join(f"{n} has a {c} {t}." for n, c, t in zip((a, b), colours, things, strict=True))
    mine = chance.below(2)
    walk = f"{(a, b)[chance.below(2)]} goes to the {chance.choice(_PLACES)}."
    text = f"{facts} {walk} {(a, b)[mine]} still has the {colours[mine]} {things[mine]}"
    return Item(sort="lambada", row={"text": text}, label=None, text=text)


_MAKERS: Mapping[str, Callable[[Chance, int], Item]] = {
    "piqa": _piqa, "hellaswag": _hellaswag, "winogrande": _winogrande, "lambada": _lambada,
}  # fmt: skip


def held_out_items(seed: int, sort: str, count: int) -> list[Item]:
    """`count` questions of a sort, no two alike."""
    found: dict[str, Item] = {}
    number = 0
    while len(found) < count:
        one = item(seed, sort, number)
        found.setdefault(one.text, one)
        number += 1
    return list(found.values())


def lines(items: list[Item]) -> str:
    """JSON lines, as the collections are published."""
    return "".join(json.dumps(each.row) + "\n" for each in items)
