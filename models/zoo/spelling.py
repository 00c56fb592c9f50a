"""The tokenizer.json of a member that reads texts: the weights' own, or made of the older files that lie beside them.

    conform zoo export opt-125m

Nothing of it needs the library that reads such files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sysnoise_conform.errors import UsageError
from sysnoise_conform.files import read_regular
from sysnoise_conform.models.zoo.member import TOKENIZER, Member
from sysnoise_conform.models.zoo.places import Missing
from sysnoise_conform.printable import one_line

_VOCABULARY, _MERGES = "vocab.json", "merges.txt"
_MAX_BYTES = 1 << 28
_UNKNOWN, _END = "<unk>", "<sos/eos>"  # of ESPnet's phonemes


def tokenizer(member: Member, weights: Path | None) -> str | Missing:
    """The content of a member's tokenizer.json. Raises UsageError for files that are none of a tokenizer.

    `weights` is the folder or the file of the weights; a member with letters of its own needs none.
    """
    if member.letters:
        return _written(_letters(member.letters))
    assert weights is not None
    folder = weights if weights.is_dir() else weights.parent
    by_name = [] if weights.is_dir() else [folder / f"{member.name}.{TOKENIZER}"]
    for place in (*by_name, folder / TOKENIZER):
        if place.is_file():
            found = _read(place)
            _parsed(found, place)
            return found
    vocabulary, merges = folder / _VOCABULARY, folder / _MERGES
    if member.table == "table5":
        if vocabulary.is_file() and merges.is_file():
            return _written(_pieces(_parsed(_read(vocabulary), vocabulary), _read(merges).splitlines()))
        looked = f"{vocabulary} with {_MERGES}"
    else:
        if vocabulary.is_file():
            return _written(_phonemes(_parsed(_read(vocabulary), vocabulary), vocabulary))
        looked = str(vocabulary)
    return Missing(looked=(*map(str, (*by_name, folder / TOKENIZER)), looked), command="")


def _read(place: Path) -> str:
    content = read_regular(place, what="the tokenizer", error=UsageError, limit=_MAX_BYTES)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as err:
        raise UsageError(f"the tokenizer {one_line(place, 200)!r} is not UTF-8 (byte {err.start})") from err


def _parsed(content: str, place: Path) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise UsageError(f"the tokenizer {one_line(place, 200)!r} is no JSON: {one_line(err, 120)}") from err
    if not isinstance(found, dict):
        raise UsageError(f"the tokenizer {one_line(place, 200)!r} holds no table")
    return found


def _pieces(vocabulary: Mapping[str, int], merges: Sequence[str]) -> dict[str, Any]:
    """GPT-2's, which OPT's are: pieces of words over the bytes of UTF-8. What begins a text is the card's."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    pairs = [each for each in merges if each and not each.startswith("#version")]
    return {"pre_tokenizer": level, "decoder": level, "model": {"type": "BPE", "vocab": vocabulary, "merges": pairs}}


def _phonemes(vocabulary: Mapping[str, int], place: Path) -> dict[str, Any]:
    """ESPnet's: phonemes with a space between two, and a token that ends the text."""
    for each in (_UNKNOWN, _END):
        if each not in vocabulary:
            raise UsageError(f"the tokenizer {one_line(place, 200)!r} has no {each}")
    text, end = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": _END, "type_id": 0}}
    ends = {
        "type": "TemplateProcessing", "single": [text, end], "pair": [text, end],
        "special_tokens": {_END: {"id": _END, "ids": [vocabulary[_END]], "tokens": [_END]}},
    }  # fmt: skip
    return {
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": ends,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": _UNKNOWN},
    }  # fmt: skip


def _letters(letters: str) -> dict[str, Any]:
    """One token for each letter, small ones alone; what is no letter is left out."""
    inside = "".join(f"\\{each}" if each in "-\\]^[" else each for each in letters)
    one = {"Regex": f"[{inside}]"}
    return {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Lowercase"},
                {"type": "Replace", "pattern": {"Regex": f"[^{inside}]"}, "content": ""},
            ],
        },
        "pre_tokenizer": {"type": "Split", "pattern": one, "behavior": "Isolated", "invert": False},
        "model": {
            "type": "WordLevel", "vocab": {each: at for at, each in enumerate(letters)}, "unk_token": letters[0],
        },
    }  # fmt: skip


def _written(parts: Mapping[str, Any]) -> str:
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    return json.dumps({"version": "1.0", "added_tokens": [], **empty, **parts}, ensure_ascii=False, indent=1) + "\n"
