"""Tokens, and the likelihood of a text's end, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sysnoise_conform.card import TextInput
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.texts.scoring import Spelled, likelihood, shortened, spelled
from sysnoise_conform.texts.tokens import Tokens, tokens_of


def tokens(tokenizer: str = "bytes", folder: Path = Path(), **more) -> Tokens:
    return tokens_of(TextInput(tokenizer=tokenizer, **more), folder)


def test_bytes_and_characters() -> None:
    assert tokens()("aé") == [97, 195, 169]
    assert tokens(first=3, begin=1)("a") == [1, 100]
    assert tokens("characters", alphabet="abc", first=10, unknown=0)("cab!") == [12, 10, 11, 0]
    with pytest.raises(BadInput, match="the character '!' is not in the card's alphabet"):
        tokens("characters", alphabet="abc")("a!")
    with pytest.raises(BadInput, match="half of a pair"):
        tokens()("a\ud800")


def test_a_tokenizer_file_s_own_cutting_and_padding_are_passed_over(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "red": 1, "key": 2, "[END]": 3}, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="$A [END]", special_tokens=[("[END]", 3)])
    made.enable_truncation(2)
    made.enable_padding(length=9)
    made.save(str(tmp_path / "t.json"))

    assert tokens("t.json", tmp_path)("red key red car") == [1, 2, 1, 0]
    assert tokens("t.json", tmp_path, special=True)("red") == [1, 3]
    with pytest.raises(BadInput, match="half of a pair"):
        tokens("t.json", tmp_path)("\udfff")


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"model": {"type": "x"}}'])
def test_a_broken_tokenizer_is_named(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "t.json").write_bytes(content)

    with pytest.raises(UsageError, match=r"the tokenizer 't\.json' can't be read"):
        tokens("t.json", tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        tokens("gone.json", tmp_path)


def test_spaces_before_a_continuation_are_judged_with_it() -> None:
    assert spelled(tokens(), "ab ", "c") == Spelled((97, 98, 32, 99), 2)
    assert spelled(tokens(), "ab", " c") == Spelled((97, 98, 32, 99), 2)
    with pytest.raises(BadInput, match="nothing stands before"):
        spelled(tokens(), " ", "c")
    with pytest.raises(BadInput, match="adds no token"):
        spelled(tokens(), "ab", "")
    assert spelled(tokens(begin=0), "", "c") == Spelled((0, 99), 1)


def test_what_is_too_long_loses_its_beginning() -> None:
    assert shortened(Spelled((1, 2, 3, 4), 2), 3) == Spelled((2, 3, 4), 2)
    with pytest.raises(BadInput, match="the model reads 2 tokens, and 2 are to be judged"):
        shortened(Spelled((1, 2, 3, 4), 2), 2)


def test_likelihood_by_hand() -> None:
    logits = np.array([[0.0, 1.0, 2.0], [0.5, 0.0, 0.0], [3.0, 1.0, 0.0], [9.0, 9.0, 9.0]], np.float32)
    shares = [[math.exp(each) / sum(map(math.exp, row)) for each in row] for row in logits.tolist()]

    found, greedy = likelihood(logits, Spelled((0, 2, 1), 2))  # the last row stands behind the end, or is padding
    best, surely = likelihood(logits, Spelled((1, 2, 0), 2))

    assert found == pytest.approx(math.log(shares[0][2] * shares[1][1]))
    assert not greedy
    assert best == pytest.approx(math.log(shares[0][2] * shares[1][0]))
    assert surely


def test_one_number_that_is_none_spoils_what_is_judged_and_nothing_else() -> None:
    logits = np.zeros((3, 4))
    logits[2, 1] = np.nan
    assert likelihood(logits, Spelled((0, 1, 2), 2))[0] == pytest.approx(2 * math.log(1 / 4))
    logits[1, 3] = np.inf
    assert math.isnan(likelihood(logits, Spelled((0, 1, 2), 2))[0])
