"""Strings: concatenation, splitting, matching, normalising, and counting of n-grams."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, op

Strings = npt.NDArray[np.object_]

# What Python's `re` reads differently from RE2, or RE2 does not know.
_NOT_RE2 = re.compile(
    r"\(\?[=!<>#(]|\(\?P[=>]|\\[1-9pPQEzZxC]|\[\[:|\[:|[*+?}]\+|\(\?[a-zA-Z^-]*[iLuUxa]|&&|--|~~|\|\||\[[^]]*\["
)


def _strings(values: list[Any], shape: tuple[int, ...]) -> Strings:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out.reshape(shape)


@op("StringConcat", since=20)
def string_concat(call: Call, x: Strings, y: Strings) -> Strings:
    """Each string of `x` followed by that of `y`, with broadcasting."""
    a, b = np.broadcast_arrays(x, y)
    return _strings([f"{first}{second}" for first, second in zip(a.flat, b.flat, strict=True)], a.shape)


@op("StringSplit", since=20)
def string_split(call: Call, x: Strings) -> tuple[Strings, Tensor]:
    """The pieces of each string, filled up with empty strings, and how many there are."""
    delimiter, most = call.get("delimiter") or None, call.get("maxsplit")
    given = [str(each) for each in x.flat]
    if delimiter is None:
        if any(letter.isspace() and letter not in " \t\n\r\v\f" for each in given for letter in each):
            call.unsupported("white space beyond ASCII's, which the text does not list")
        given = [each.strip() for each in given]
    pieces = [each.split(delimiter, -1 if most is None else int(most)) for each in given]
    longest = max((len(each) for each in pieces), default=0)
    filled = [piece for each in pieces for piece in (*each, *[""] * (longest - len(each)))]
    counts = torch.tensor([len(each) for each in pieces], dtype=torch.int64).reshape(x.shape)
    return _strings(filled, (*x.shape, longest)), counts


@op("RegexFullMatch", since=20)
def regex_full_match(call: Call, x: Strings) -> Tensor:
    """Whether each whole string matches `pattern`, an RE2 expression.

    Expressions that Python's engine might read in another way than RE2 are refused.
    """
    pattern = str(call.get("pattern", ""))
    if _NOT_RE2.search(pattern):
        call.unsupported("a pattern with syntax on which RE2 and Python's engine may differ")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # RE2's \d, \s, \w and \b are ASCII.
            compiled = re.compile(pattern, re.ASCII)
    except (re.error, Warning, OverflowError, RecursionError) as error:
        call.bad(f"pattern: {error}")
    found = [compiled.fullmatch(str(each)) is not None for each in x.flat]
    return torch.tensor(found, dtype=torch.bool).reshape(x.shape)


@op("StringNormalizer", since=10)
def string_normalizer(call: Call, x: Strings) -> Strings:
    """The strings that are no stop words, in the wanted case; one empty string where none is left."""
    if not (x.ndim == 1 or (x.ndim == 2 and x.shape[0] == 1)):
        call.bad(f"an input of shape {list(x.shape)}; the text takes [C] and [1, C]")
    action = str(call.get("case_change_action", "NONE"))
    if action not in ("LOWER", "UPPER", "NONE"):
        call.bad(f"case_change_action is {action!r}")
    words, stops = [str(each) for each in x.flat], [str(each) for each in call.get("stopwords") or []]
    exact = bool(call.get("is_case_sensitive", 0))
    if not all(each.isascii() for each in (*words, *stops)) and (action != "NONE" or (stops and not exact)):
        call.unsupported("the case of letters beyond ASCII, which depends on the platform's locale")
    refused = set(stops) if exact else {each.lower() for each in stops}
    kept = [each for each in words if (each if exact else each.lower()) not in refused]
    match action:
        case "LOWER":
            kept = [each.lower() for each in kept]
        case "UPPER":
            kept = [each.upper() for each in kept]
    result = kept or [""]
    return _strings(result, (len(result),) if x.ndim == 1 else (1, len(result)))


@op("TfIdfVectorizer", since=9)
def tfidf_vectorizer(call: Call, x: Any) -> Tensor:
    """How often each n-gram of the pool occurs in each row of `x`, weighted by `mode`.

    Elements of an n-gram may lie up to max_skip_count + 1 places apart, all equally far.
    """
    if len(x.shape) not in (1, 2):
        call.bad(f"an input of shape {list(x.shape)}; the text takes [C] and [N, C]")
    mode = call.get("mode")
    if mode not in ("TF", "IDF", "TFIDF"):
        call.bad(f"mode is {mode!r}")
    grams = _pool(call)
    shortest, longest = int(call.get("min_gram_length")), int(call.get("max_gram_length"))
    places = [int(v) for v in call.get("ngram_indexes")]
    rows = x.reshape(-1, x.shape[-1]).tolist()
    counts = np.zeros((len(rows), max(places) + 1))
    for row, items in enumerate(rows):
        for length in range(max(shortest, 1), longest + 1):
            # The distance does not matter to single elements: they count once.
            for step in range(1, 2 if length == 1 else int(call.get("max_skip_count")) + 2):
                for first in range(len(items) - step * (length - 1)):
                    place = grams.get(tuple(items[first : first + step * (length - 1) + 1 : step]))
                    if place is not None:
                        counts[row, places[place]] += 1
    if mode != "TF":
        weights = np.ones(counts.shape[1])
        for place, weight in zip(places, call.get("weights") or [], strict=False):
            weights[place] = weight
        counts = (np.minimum(counts, 1) if mode == "IDF" else counts) * weights
    return torch.from_numpy(counts.reshape((*x.shape[:-1], counts.shape[1]))).to(call.working)


def _pool(call: Call) -> dict[tuple[Any, ...], int]:
    """Each n-gram of the pool with its number, which counts through all lengths."""
    items = list(call.get("pool_strings") or call.get("pool_int64s") or [])
    starts = [int(v) for v in call.get("ngram_counts") or []]
    if not items or starts != sorted(starts) or (starts and not 0 <= starts[0] <= starts[-1] <= len(items)):
        call.bad("the pool and ngram_counts do not describe a list of n-grams")
    grams: dict[tuple[Any, ...], int] = {}
    number = 0
    for length, (start, end) in enumerate(zip(starts, [*starts[1:], len(items)], strict=True), 1):
        if (end - start) % length:
            call.bad(f"the pool has {end - start} elements of {length}-grams")
        for first in range(start, end, length):
            grams[tuple(items[first : first + length])] = number
            number += 1
    if number != len(call.get("ngram_indexes") or []):
        call.bad(f"the pool has {number} n-grams, ngram_indexes {len(call.get('ngram_indexes') or [])} values")
    return grams
