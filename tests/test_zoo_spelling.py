"""The tokenizer of a member: the weights' own, made of older files, or of letters; nothing else is taken for one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from sysnoise_conform.card import WRITTEN, load_card
from sysnoise_conform.errors import UsageError
from sysnoise_conform.models.zoo.member import exported_card, member, names
from sysnoise_conform.models.zoo.places import Missing
from sysnoise_conform.models.zoo.spelling import tokenizer

TELL = [name for name in names() if member(name).table in ("table5", "table10")]


def ids(content: str | Missing, text: str, *, special: bool = False) -> list[int]:
    assert isinstance(content, str)
    found: list[int] = Tokenizer.from_str(content).encode(text, add_special_tokens=special).ids
    return found


@pytest.mark.parametrize("name", TELL)
def test_a_card_of_texts_says_its_task_and_its_tokens_with_weights_and_without(name: str, tmp_path: Path) -> None:
    one = member(name)
    for named in ("n.tokenizer.json", None):
        if named is None and one.letters:
            continue
        (tmp_path / "n.toml").write_text(exported_card(one, "0" * 64, "w.pth", named))
        card = load_card(tmp_path / "n.toml")
        assert card.text is not None
        assert card.text.tokenizer == named or card.text.tokenizer in ("bytes", "characters")
        assert card.task == ("choose" if name.startswith("opt") else "speak")
        assert (card.speech is None) == (card.task == "choose")
        assert (tmp_path / "n.toml").read_text().startswith(WRITTEN)
    assert one.card.text is not None
    (length,) = {sizes[1] for key, sizes in one.card.shapes.items() if key in (one.card.text.ids, one.card.text.mask)}
    assert length > 64
    if name.startswith("opt"):
        assert one.card.text.begin == 2


def test_pieces_are_made_of_a_vocabulary_and_its_merges(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "\u0120": 2, "ab": 3, "\u0120ab": 4}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n\u0120 ab\n")

    found = tokenizer(member("opt-125m"), tmp_path)

    assert ids(found, "ab ab b") == [3, 4, 2, 1]
    (tmp_path / "model.safetensors").touch()  # a file of weights has its tokenizer beside it
    assert tokenizer(member("opt-13b"), tmp_path / "model.safetensors") == found


def test_phonemes_have_an_end_and_what_is_none_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"<blank>": 0, "<unk>": 1, "AH0": 2, "<sos/eos>": 3}))

    found = tokenizer(member("fastspeech2"), tmp_path)

    assert ids(found, " AH0  x AH0", special=True) == [2, 1, 2, 3]


def test_letters_are_small_and_what_is_none_is_left_out() -> None:
    letters = member("tacotron2").letters

    found = tokenizer(member("tacotron2"), None)

    assert ids(found, "A-b!\u00e9 [c]") == [letters.index(each) for each in "a-b! c"]
    assert ids(found, letters) == list(range(38))


def test_a_tokenizer_of_todays_form_goes_before_the_older_files(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "opt-125m.tokenizer.json"):
        (tmp_path / name).write_text(json.dumps({"is": name}))
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "merges.txt").touch()

    assert tokenizer(member("opt-125m"), tmp_path) == json.dumps({"is": "tokenizer.json"})
    own = tokenizer(member("opt-125m"), tmp_path / "opt-125m.pth")
    assert own == json.dumps({"is": "opt-125m.tokenizer.json"})


def test_where_none_is_all_places_are_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")  # without merges: another member's

    found = tokenizer(member("opt-125m"), tmp_path / "opt-125m.pth")

    assert isinstance(found, Missing)
    assert [Path(each).name for each in found.looked] == [
        "opt-125m.tokenizer.json", "tokenizer.json", "vocab.json with merges.txt",
    ]  # fmt: skip


@pytest.mark.parametrize(("content", "said"), [(b"[]", "no table"), (b"{", "no JSON"), (b"\xff", "not UTF-8")])
def test_a_broken_one_is_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)

    with pytest.raises(UsageError, match=said):
        tokenizer(member("opt-125m"), tmp_path)


def test_phonemes_without_an_end_are_none(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"<unk>": 0}')

    with pytest.raises(UsageError, match="has no <sos/eos>"):
        tokenizer(member("fastspeech2"), tmp_path)
