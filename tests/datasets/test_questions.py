"""Questions in the layouts of their collections, and what is wrong with them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from told_samples import lines

from sysnoise_conform.datasets.questions import Question, read_questions
from sysnoise_conform.errors import BadInput

PIQA = {"goal": "Dry a cup", "sol1": "Use a towel.", "sol2": "Use a stone.", "label": 0}
TASK = {"input": "2 + 2?", "target_scores": {"four": 1, "five": 0}}


def only(path: Path) -> Question:
    (found,) = read_questions(path).questions
    return found


def told(found: Question) -> list[tuple[str, str, int]]:
    return [(each.context, each.text, each.length) for each in found.options]


def test_piqa(tmp_path: Path) -> None:
    found = only(lines(tmp_path / "valid.jsonl", PIQA))

    asked = "Question: Dry a cup\nAnswer:"
    assert told(found) == [(asked, " Use a towel.", 12), (asked, " Use a stone.", 12)]
    assert (found.name, found.right, found.asked) == ("valid.jsonl:1", {0}, "Dry a cup")


def test_piqa_s_answers_may_lie_beside_it(tmp_path: Path) -> None:
    bare = {key: value for key, value in PIQA.items() if key != "label"}
    path = lines(tmp_path / "valid.jsonl", bare, bare)
    (tmp_path / "valid-labels.lst").write_text("1\n0\n")

    assert [each.right for each in read_questions(path).questions] == [{1}, {0}]

    (tmp_path / "valid-labels.lst").write_text("1\n")
    with pytest.raises(BadInput, match="1 for 2 questions"):
        read_questions(path)
    (tmp_path / "valid-labels.lst").unlink()
    with pytest.raises(BadInput, match="have no label"):
        read_questions(path)


def test_hellaswag(tmp_path: Path) -> None:
    row = {
        "activity_label": "Making tea", "ctx_a": "[header] A woman boils  water.", "ctx_b": "she",
        "endings": ["pours it. [title] Then", "sings.", "runs.", "sleeps."], "label": "2",
    }  # fmt: skip

    found = only(lines(tmp_path / "h.jsonl", row))

    assert told(found)[0] == ("Making tea: A woman boils water. She", " pours it.. Then", 15)
    assert (found.right, len(found.options)) == ({2}, 4)


def test_winogrande_s_option_stands_before_what_is_judged(tmp_path: Path) -> None:
    row = {"sentence": "The cup fell since _ was wet.", "option1": "it", "option2": "he", "answer": "1"}

    found = only(lines(tmp_path / "w.jsonl", row))

    assert told(found) == [
        ("The cup fell since it", " was wet.", 8), ("The cup fell since he", " was wet.", 8),
    ]  # fmt: skip
    assert (found.right, found.shown) == ({0}, ("it", "he"))


def test_lambada_asks_for_the_last_word(tmp_path: Path) -> None:
    found = read_questions(lines(tmp_path / "l.jsonl", {"text": "She took the old red key\n"}))

    assert (found.layout, found.asks) == ("LAMBADA", "last word")
    assert told(found.questions[0]) == [("She took the old red", " key", 3)]


def test_big_bench_s_prompt_is_that_of_its_task(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(json.dumps({"examples": [TASK]}))
    plain = only(tmp_path)  # a folder with one file
    (tmp_path / "task.json").write_text(json.dumps({
        "task_prefix": "Add.\n", "example_input_prefix": "\nI: ", "example_output_prefix": "\nO:",
        "append_choices_to_input": False, "examples": [TASK | {"target_scores": {"four": 1, "4": 1, "five": 0}}],
    }))  # fmt: skip
    own = only(tmp_path / "task.json")

    assert told(plain)[0] == ("\nQ: 2 + 2?\n  choice: four\n  choice: five\nA: ", "four", 4)
    assert told(own)[1] == ("Add.\n\nI: 2 + 2?\nO:", " 4", 1)
    assert (plain.right, own.right, own.asked) == ({0}, {0, 1}, "2 + 2?")


@pytest.mark.data
def test_real_tasks_of_big_bench(test_data: Path) -> None:
    for name, count, chance in (("social_iqa", 1954, 33.4), ("emoji_movie", 100, 20.0), ("truthful_qa", 299, 25.4)):
        questions = read_questions(test_data / "bigbench" / name).questions
        shares = [len(each.right) / len(each.options) for each in questions]
        assert (len(questions), round(100 * sum(shares) / count, 1)) == (count, chance)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "are empty"),
        ("\n \n", "are empty"),
        ("{", "are not JSON"),
        ('{"goal": NaN}', "NaN is no number"),
        ("[" * 100_000, "are not JSON"),
        ("[1]", "a question is"),
        ('{"a": 1}', "known are BIG-bench"),
        (b"\xff\xfe{", "not UTF-8"),
    ],
)
def test_a_file_that_can_t_be_read_is_named(tmp_path: Path, content: str | bytes, words: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(BadInput) as found:
        read_questions(path)

    assert words in f"{found.value}"
    assert "q.jsonl" in str(found.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (PIQA | {"label": 2}, "its label is 2, not 0 to 1"),
        (PIQA | {"label": True}, "its label is True"),
        (PIQA | {"label": "9" * 5000}, "its label is"),
        (PIQA | {"sol1": 3}, "its sol1 is no text"),
        (PIQA | {"sol1": " "}, "an option is empty"),
        ({"goal": "a", "sol1": "b", "sol2": "c"}, "its label is None"),
        ({"goal": "x"}, "has not the keys"),
        (7, "has not the keys"),
    ],
)
def test_a_wrong_question_is_named_or_left_out(tmp_path: Path, row: object, words: str) -> None:
    path = lines(tmp_path / "q.jsonl", PIQA, row, PIQA)

    with pytest.raises(BadInput, match=r"q\.jsonl:2") as found:
        read_questions(path)
    kept = read_questions(path, on_bad="skip")

    assert words in str(found.value)
    assert [each.name for each in kept.questions] == ["q.jsonl:1", "q.jsonl:3"]
    assert words in kept.problems[0].why


def test_other_layouts_say_what_is_wrong_with_a_question(tmp_path: Path) -> None:
    for row, words in (
        ({"sentence": "no gap", "option1": "a", "option2": "b", "answer": "1"}, "has no _"),
        ({"sentence": "a _ b", "option1": "a", "option2": "b", "answer": "3"}, "its answer is 3, not 1 to 2"),
        ({"text": "word"}, "a single word"),
        ({"ctx": "x", "endings": "no", "label": 0}, "no list of texts"),
    ):
        with pytest.raises(BadInput, match=words):
            read_questions(lines(tmp_path / "q.jsonl", row))
    for scores in ({}, ["a"], {"a": "1"}):
        (tmp_path / "task.json").write_text(json.dumps({"examples": [{"input": "x", "target_scores": scores}]}))
        with pytest.raises(BadInput, match="no options with a score"):
            read_questions(tmp_path / "task.json")


def test_a_folder_needs_one_file_and_keeps_to_itself(tmp_path: Path) -> None:
    folder, other = tmp_path / "data", tmp_path / "other.jsonl"
    folder.mkdir()
    with pytest.raises(BadInput, match="holds none"):
        read_questions(folder)
    os.symlink(lines(other, PIQA), folder / "q.jsonl")
    with pytest.raises(BadInput, match="leaves the folder"):
        read_questions(folder)
    assert len(read_questions(folder, allow_linked=True).questions) == 1
    lines(folder / "r.jsonl", PIQA)
    with pytest.raises(BadInput, match="several files of questions"):
        read_questions(folder, allow_linked=True)
    with pytest.raises(BadInput, match="no such file"):
        read_questions(folder / "gone.jsonl")
