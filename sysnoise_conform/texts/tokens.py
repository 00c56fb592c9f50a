"""From a text to the numbers of its tokens: bytes, characters of an alphabet, or a tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from sysnoise_conform.card import TextInput
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.files import read_regular
from sysnoise_conform.printable import one_line

MAX_BYTES = 1 << 28


class Tokens(Protocol):
    """A tokenizer."""

    identity: str  # of all that determines what it gives

    def __call__(self, text: str) -> list[int]:
        """The numbers of a text's tokens. Raises BadInput for a text that has none."""

    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens; what is no part of a text is left out."""


class _Bytes:
    def __init__(self, spec: TextInput) -> None:
        self._spec = spec
        self.identity = "bytes"

    def __call__(self, text: str) -> list[int]:
        return _begun(self._spec, [self._spec.first + each for each in _utf8(text)])

    def text(self, ids: Sequence[int]) -> str:
        values = (each - self._spec.first for each in ids if each != self._spec.begin)
        return bytes(each for each in values if 0 <= each < 256).decode(errors="replace")


class _Characters:
    def __init__(self, spec: TextInput) -> None:
        self._spec = spec
        self._numbers: Mapping[str, int] = {each: spec.first + at for at, each in enumerate(spec.alphabet)}
        self.identity = "characters"

    def __call__(self, text: str) -> list[int]:
        return _begun(self._spec, [self._number(each) for each in text])

    def text(self, ids: Sequence[int]) -> str:
        places = (each - self._spec.first for each in ids if each != self._spec.begin)
        return "".join(self._spec.alphabet[each] for each in places if 0 <= each < len(self._spec.alphabet))

    def _number(self, character: str) -> int:
        found = self._numbers.get(character, self._spec.unknown)
        if found is None:
            raise BadInput(
                f"the character {one_line(character)!r} is not in the card's alphabet",
                hint="add unknown = the number of such characters to its [text]",
            )
        return found


class _File:
    """A tokenizer.json, by the library that defines it. What it says of cutting and padding is not wanted here."""

    def __init__(self, spec: TextInput, path: Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as err:
            raise UsageError(
                "tokenizers is not installed, and the card's tokenizer needs it",
                hint="pip install 'sysnoise-conform[text]'",
            ) from err
        content = read_regular(path, what="the tokenizer", error=UsageError, limit=MAX_BYTES)
        shown = one_line(path.name, 120)
        try:
            whole: dict[str, Any] = json.loads(content)
            whole["truncation"] = whole["padding"] = None
            self._tokenizer = Tokenizer.from_str(json.dumps(whole))
        except Exception as err:  # the library has no error of its own
            raise UsageError(f"the tokenizer {shown!r} can't be read: {one_line(err, 160)}") from err
        self._spec = spec
        self.identity = content.decode(errors="replace")

    def __call__(self, text: str) -> list[int]:
        _utf8(text)
        encoded: list[int] = self._tokenizer.encode(text, add_special_tokens=self._spec.special).ids
        return _begun(self._spec, encoded)

    def text(self, ids: Sequence[int]) -> str:
        found: str = self._tokenizer.decode(list(ids))
        return found


def tokens_of(spec: TextInput, folder: Path) -> Tokens:
    """The tokenizer of a card that lies in `folder`. Raises UsageError for one that can't be had."""
    match spec.tokenizer:
        case "bytes":
            return _Bytes(spec)
        case "characters":
            return _Characters(spec)
        case _:
            return _File(spec, folder / spec.tokenizer)


def _begun(spec: TextInput, numbers: list[int]) -> list[int]:
    return numbers if spec.begin is None else [spec.begin, *numbers]


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as err:  # half of a surrogate pair, which JSON can spell
        why = f"character {err.start + 1} is half of a pair"
        raise BadInput(f"the text {one_line(text, 60)!r} is no Unicode: {why}") from err
