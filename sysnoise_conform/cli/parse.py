"""The small texts of the command line: NAME=VALUE, sizes in bytes, shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sysnoise_conform.errors import UsageError
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def refuse_empty(arguments: Sequence[str]) -> None:
    """An empty argument is an unset variable of a script: as a path it would mean the working directory.

    One that holds a null byte is refused with it, before anything takes it for a path.

    >>> refuse_empty(["run", "--inputs", "photos"])
    """
    for before, text in zip(("", *arguments), arguments, strict=False):
        if "\0" in text:  # no shell can pass one, but a caller in this process can
            raise UsageError(f"{one_line(text, 60)!r} holds a null byte, as no file name and no option does")
        if not text:
            option = before
        elif re.fullmatch(r"--[a-z-]+=", text):
            option = text[:-1]
        else:
            continue
        after = f" after {one_line(option, 60)}" if option.startswith("-") else ""
        raise UsageError(f"an empty argument{after}", hint="give a value, or leave the option out")


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """`name=value` texts as a dict. The last `=` splits, since ONNX names may hold one and values never do."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.rpartition("=")
        if not equals or not name or not value:
            raise UsageError(f"{option} {one_line(text)!r} is not NAME=VALUE", hint=f"e.g. {option} x=1")
        if name in found:
            raise UsageError(f"{option} names {one_line(name)!r} twice", hint="give it once")
        found[name] = value
    return found


def shape(name: str, text: str) -> tuple[int, ...]:
    """`1,3,640,640` as sizes; an empty size list is written `scalar`."""
    if text == "scalar":
        return ()
    parts = text.replace("x", ",").split(",")
    if not all(re.fullmatch(r"[0-9]{1,9}", each) for each in parts):
        raise UsageError(
            f"--shape {one_line(name)}={one_line(text)} is not a list of sizes", hint="e.g. --shape x=1,3,224,224"
        )
    return tuple(int(each) for each in parts)


def size(text: str | None, option: str) -> int | None:
    """`4G`, `800M` or plain bytes; None stays None. Units are powers of 1024."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or float(match[1]) * _UNITS[match[2].upper()] < 1:
        raise UsageError(f"{option} {one_line(text)!r} is not a size", hint="e.g. 800M or 4G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def layouts(given: Mapping[str, str]) -> dict[str, str]:
    """`--layout name=NHWC`: the only layout besides ONNX's own NCHW that a file can be declared to hold."""
    for name, value in given.items():
        if value not in {"NHWC", "NCHW"}:
            raise UsageError(
                f"--layout {one_line(name)}={one_line(value)}: not a layout", hint="write NHWC or NCHW"
            )
    return {name: value for name, value in given.items() if value == "NHWC"}


def choice(option: str, text: str, known: Sequence[str]) -> str:
    """One of the known words. Raises UsageError with the nearest."""
    if text not in known:
        raise UsageError(f"{option} {one_line(text, 60)!r} is not known", hint=nearest(text, known))
    return text


def choices(option: str, text: str, known: Sequence[str]) -> frozenset[str]:
    """Some of the known words, comma-separated; `none` for none of them."""
    if text == "none":
        return frozenset()
    return frozenset(choice(option, each.strip(), known) for each in text.split(","))
