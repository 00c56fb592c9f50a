"""How a model is asked: `name[:precision][@device][+option=value...]`, comma-separated.

    ort   openvino:auto   tflite+delegate=none   ort:int8+opt=basic   trt:fp16@0

`precision` absent means the model's own types; `auto` is whatever the runtime chooses by itself;
`fp32 tf32 fp16 bf16 int8` mean the graph, rewritten. A variant prints to the text it parses from.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from sysnoise_conform.errors import UsageError
from sysnoise_conform.printable import one_line

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "auto")

# Options of runtimes, and of the golden's emulators, that choose the arithmetic or how weights are stored.
KNOBS = ("hint", "weights", "winograd", "u8s8", "requantise", "operands", "accumulate", "subnormals")

_NAME = re.compile(r"[a-z][a-z0-9_-]*", re.IGNORECASE)
_OPTION_START = re.compile(r"\+(?=[A-Za-z_][A-Za-z0-9_-]*=)")
_MOST_COMPARED, _LONGEST, _MOST_SHOWN = 2_000, 200, 20  # `known` may be the names in a model, of any number and length
GRAMMAR = "name[:precision][@device][+option=value...]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One backend, and everything that is asked of it."""

    backend: str
    precision: str | None = None
    device: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        text = self.backend
        if self.precision is not None:
            text += f":{self.precision}"
        if self.device is not None:
            text += f"@{self.device}"
        return text + "".join(f"+{name}={value}" for name, value in self.options)

    @property
    def knob(self) -> str:
        """What asks for another arithmetic than the graph's, as it is written: `:tf32`, `+hint=bf16`; "" without."""
        asked = [":tf32"] if self.precision == "tf32" else []
        return "".join(asked + [f"+{name}={value}" for name, value in self.options if name in KNOBS])

    def option(self, name: str) -> str | None:
        """The value of `+name=value`, or None."""
        return dict(self.options).get(name)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped word: "did you mean 'x'?", or the words there are."""
    names = sorted(known)
    close = difflib.get_close_matches(word[:_LONGEST], names, n=2, cutoff=0.6) if len(names) <= _MOST_COMPARED else []
    if close:
        return "did you mean " + " or ".join(repr(one_line(each, 80)) for each in close) + "?"
    if not names:
        return "nothing is known here"
    shown = ", ".join(one_line(each, 80) for each in names[:_MOST_SHOWN])
    return f"known: {shown}" + (f" and {len(names) - _MOST_SHOWN:,} more" if len(names) > _MOST_SHOWN else "")


def parse_variant(text: str) -> Variant:
    """Parse one spec. Raises UsageError naming the part that is wrong; backend names are not checked here."""
    spec = text.strip()
    if not spec:
        raise UsageError("an empty backend spec", hint=f"write {GRAMMAR}")
    head, *tail = _OPTION_START.split(spec)
    options: list[tuple[str, str]] = []
    for each in tail:
        name, _, value = each.partition("=")
        if not value:
            raise UsageError(f"option {one_line(name)!r} of {one_line(spec)!r} has no value", hint=f"write {GRAMMAR}")
        if name in dict(options):
            raise UsageError(f"option {one_line(name)!r} stands twice in {one_line(spec)!r}", hint="give it once")
        options.append((name, value))
    head, at, device = head.partition("@")
    name, colon, precision = head.partition(":")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{one_line(spec)!r} does not start with a backend's name", hint=f"write {GRAMMAR}")
    if at and not re.fullmatch(r"[A-Za-z0-9_.:-]+", device):
        raise UsageError(f"the device in {one_line(spec)!r} is missing or malformed", hint=f"write {GRAMMAR}")
    if colon and precision not in PRECISIONS:
        raise UsageError(
            f"precision {one_line(precision)!r} in {one_line(spec)!r} is not known", hint=nearest(precision, PRECISIONS)
        )
    return Variant(
        backend=name, precision=precision if colon else None, device=device if at else None, options=tuple(options)
    )


def parse_variants(text: str) -> tuple[Variant, ...]:
    """Parse a comma-separated list. Raises UsageError on an empty list or a spec that stands twice."""
    parts = [each for each in text.split(",") if each.strip()]
    if not parts or len(parts) != len(text.split(",")):
        raise UsageError(f"no backend between the commas of {one_line(text)!r}", hint="e.g. --backends ort,openvino")
    variants = tuple(parse_variant(each) for each in parts)
    for index, each in enumerate(variants):
        if each in variants[:index]:
            raise UsageError(f"backend {str(each)!r} stands twice", hint="name each variant once")
    return variants
