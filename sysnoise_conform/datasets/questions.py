"""Multiple-choice questions as their collections publish them, and passages whose last word is to be found.

What stands before an option, and what is asked of the model, is that of EleutherAI's lm-evaluation-harness 0.4.13
(piqa, hellaswag, winogrande, lambada_openai), and for BIG-bench that of its own json_task.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sysnoise_conform.datasets.facts import OnBad, Problem, Problems
from sysnoise_conform.errors import BadInput
from sysnoise_conform.files import read_regular
from sysnoise_conform.printable import one_line

MAX_BYTES = 1 << 30
MOST_OPTIONS = 1000
SUFFIXES = (".jsonl", ".json")

Asks = Literal["choice", "last word"]
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """What a model reads: how likely is `text` behind `context`? `length` are the characters of the option itself."""

    context: str
    text: str
    length: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question. `name` is its file and line, `right` the options that are; `asked` what an embedding is made of."""

    name: str
    asked: str
    options: tuple[Option, ...]
    shown: tuple[str, ...]
    right: frozenset[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionSet:
    """Questions in a fixed order; `asks` whether an option is chosen, or the last word is told."""

    layout: str
    asks: Asks
    questions: tuple[Question, ...]
    problems: tuple[Problem, ...] = ()


class _Wrong(Exception):
    """What is wrong with one question."""


def read_questions(place: Path, *, on_bad: OnBad = "fail", allow_linked: bool = False) -> QuestionSet:
    """The questions of a file, or of the only such file of a folder; their layout is told by their keys.

    Raises BadInput naming the file where no layout fits, and for the first problem of a question unless `on_bad` is
    `skip`; then each is counted in `problems`.
    """
    problems = Problems(on_bad, allow_linked=allow_linked)
    path = _file(place)
    if path != place and not problems.stays(place, path, path.name):
        raise BadInput(f"the questions {one_line(path.name, 120)!r} are a link that leaves the folder")
    rows = _rows(path)
    layout = next((each for each in _LAYOUTS if each.keys <= rows[0][1].keys()), None)
    if layout is None:
        known = "; ".join(f"{each.name} {', '.join(sorted(each.keys))}" for each in _LAYOUTS)
        raise BadInput(
            f"the questions {one_line(path.name, 120)!r} are of no known layout: their keys are "
            f"{one_line(', '.join(sorted(rows[0][1])), 120)}",
            hint=f"known are {known}",
        )
    rows = _with_labels(path, rows) if layout.labels else rows
    questions = []
    for name, row in rows:
        try:
            if not isinstance(row, dict) or not layout.keys <= row.keys():
                raise _Wrong(f"it has not the keys {', '.join(sorted(layout.keys))} of the others")
            questions.append(_checked(layout.read(row), name))
        except _Wrong as err:
            problems.add(name, str(err))
    if not questions:
        raise BadInput(f"the questions {one_line(path.name, 120)!r} hold none that can be asked")
    return QuestionSet(
        layout=layout.name, asks=layout.asks, questions=tuple(questions), problems=tuple(problems.found)
    )


# Files.


def _file(place: Path) -> Path:
    if not place.is_dir():
        return place
    found = sorted(each for each in place.iterdir() if each.name.endswith(SUFFIXES) and os.path.isfile(each))
    if len(found) != 1:
        many = ", ".join(one_line(each.name, 60) for each in found[:5])
        raise BadInput(
            f"the folder {one_line(place, 200)!r} holds {f'several files of questions: {many}' if found else 'none'}",
            hint="name the file with --data",
        )
    return found[0]


def _rows(path: Path) -> list[tuple[str, Row]]:
    """Every question with its name: its file and line, in BIG-bench's files its number."""
    shown = one_line(path.name, 120)
    try:
        text = read_regular(path, what="the questions", error=BadInput, limit=MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise BadInput(f"the questions {shown!r} are not UTF-8 (byte {err.start})") from err
    if path.suffix == ".json":
        whole = _parsed(text, shown)
        if not isinstance(whole, dict) or not isinstance(whole.get("examples"), list):
            raise BadInput(
                f"the questions {shown!r} are no task of BIG-bench: it has no list of examples",
                hint="name a task.json with examples; other layouts are lines of JSON, in a file of .jsonl",
            )
        about = {f"task:{key}": value for key, value in whole.items() if key != "examples"}
        rows = [
            (f"{shown}:{at}", {**about, **each} if isinstance(each, dict) else each)
            for at, each in enumerate(whole["examples"], start=1)
        ]
    else:
        lines = enumerate(text.split("\n"), start=1)
        rows = [(f"{shown}:{at}", _parsed(line, f"{shown}:{at}")) for at, line in lines if line.strip()]
    if not rows:
        raise BadInput(f"the questions {shown!r} are empty")
    if not isinstance(rows[0][1], dict):
        raise BadInput(f"the questions {shown!r} are of no known layout: a question is {one_line(rows[0][1], 60)}")
    return rows


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        raise BadInput(f"the questions {name!r} are not JSON: {one_line(err, 120)}") from err


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _with_labels(path: Path, rows: list[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """PIQA's answers lie in a file beside it, one a line."""
    if any("label" in row for _, row in rows if isinstance(row, dict)):
        return rows
    beside = path.with_name(f"{path.stem}-labels.lst")
    if not os.path.isfile(beside):
        raise BadInput(
            f"the questions {one_line(path.name, 120)!r} have no label",
            hint=f"put the answers into {one_line(beside.name, 120)} beside it, one a line, as PIQA has them",
        )
    text = read_regular(beside, what="the labels", error=BadInput, limit=MAX_BYTES).decode("utf-8-sig", "replace")
    labels = text.split()
    if len(labels) != len(rows):
        raise BadInput(
            f"the labels {one_line(beside.name, 120)!r} are {len(labels)} for {len(rows)} questions",
            hint="one a line, in the order of the questions",
        )
    return [(name, {**row, "label": label}) for (name, row), label in zip(rows, labels, strict=True)]


def _checked(question: Question, name: str) -> Question:
    if not question.options or len(question.options) > MOST_OPTIONS:
        raise _Wrong(f"it has {len(question.options)} options; 1 to {MOST_OPTIONS} can be asked")
    if any(not each.text.strip() for each in question.options):
        raise _Wrong("an option is empty")
    if not question.right:
        raise _Wrong("no option is right")
    return Question(
        name=name, asked=question.asked, options=question.options, shown=question.shown, right=question.right
    )


# Layouts.


def _piqa(row: Row) -> Question:
    goal, options = _text(row, "goal"), [_text(row, "sol1"), _text(row, "sol2")]
    return _of(f"Question: {goal}\nAnswer:", goal, options, _number(row.get("label"), "label", 2))


def _hellaswag(row: Row) -> Question:
    endings = row["endings"]
    if not isinstance(endings, list) or not all(isinstance(each, str) for each in endings):
        raise _Wrong("its endings are no list of texts")
    context = f"{_text(row, 'ctx_a')} {_text(row, 'ctx_b').capitalize()}" if "ctx_a" in row else _text(row, "ctx")
    head = f"{_text(row, 'activity_label')}: " if "activity_label" in row else ""
    label = _number(row["label"], "label", len(endings))
    return _of(_wikihow(head + context), _wikihow(context), [_wikihow(each) for each in endings], label)


def _wikihow(text: str) -> str:
    """Without the marks that WikiHow's part of HellaSwag has."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def _winogrande(row: Row) -> Question:
    """The option stands before what is judged: how likely is the rest of the sentence behind it?"""
    before, gap, after = _text(row, "sentence").partition("_")
    if not gap:
        raise _Wrong("its sentence has no _ to be filled")
    options = [_text(row, "option1"), _text(row, "option2")]
    rest = after.strip()
    return Question(
        name="",
        asked=before + gap + after,
        options=tuple(Option(context=before + each, text=f" {rest}", length=len(rest)) for each in options),
        shown=tuple(options),
        right=frozenset({_number(row["answer"], "answer", 2, first=1)}),
    )


def _lambada(row: Row) -> Question:
    context, _, word = _text(row, "text").rstrip("\n").rpartition(" ")
    if not context:
        raise _Wrong("it is a single word: nothing stands before the last")
    return _of(context, context, [word], 0)


def _bigbench(row: Row) -> Question:
    scores = row["target_scores"]
    if not isinstance(scores, dict) or not scores or not all(type(v) in (int, float) for v in scores.values()):
        raise _Wrong("its target_scores are no options with a score each")
    asked = _text(row, "input")
    parts = {key: row.get(f"task:{key}", default) for key, default in _BIGBENCH.items()}
    choices = "".join(f"{parts['choice_prefix']}{each}" for each in scores) if parts["append_choices_to_input"] else ""
    context = f"{parts['task_prefix']}{parts['example_input_prefix']}{asked}{choices}{parts['example_output_prefix']}"
    options = [each if context.endswith((" ", "\n")) else f" {each}" for each in scores]
    best = max(scores.values())
    return Question(
        name="",
        asked=asked,
        options=tuple(
            Option(context=context, text=text, length=len(each)) for text, each in zip(options, scores, strict=True)
        ),
        shown=tuple(scores),
        right=frozenset(at for at, score in enumerate(scores.values()) if score == best),
    )


# Defaults of a task: bigbench 1.0.0, api/json_task.py.
_BIGBENCH = {
    "task_prefix": "", "example_input_prefix": "\nQ: ", "example_output_prefix": "\nA: ",
    "choice_prefix": "\n  choice: ", "append_choices_to_input": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Layout:
    """`keys` tell it; `labels` may lie in a file beside it."""

    name: str
    keys: frozenset[str]
    read: Callable[[Row], Question]
    asks: Asks = "choice"
    labels: bool = False


_LAYOUTS = (
    _Layout("BIG-bench", frozenset({"target_scores", "input"}), _bigbench),
    _Layout("PIQA", frozenset({"goal", "sol1", "sol2"}), _piqa, labels=True),
    _Layout("HellaSwag", frozenset({"endings", "label"}), _hellaswag),
    _Layout("WinoGrande", frozenset({"sentence", "option1", "option2", "answer"}), _winogrande),
    _Layout("LAMBADA", frozenset({"text"}), _lambada, asks="last word"),
)


def layouts() -> Iterator[tuple[str, tuple[str, ...]]]:
    """The layouts with their keys."""
    for each in _LAYOUTS:
        yield each.name, tuple(sorted(each.keys))


def _of(context: str, asked: str, options: list[str], right: int) -> Question:
    return Question(
        name="",
        asked=asked,
        options=tuple(Option(context=context, text=f" {each}", length=len(each)) for each in options),
        shown=tuple(options),
        right=frozenset({right}),
    )


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise _Wrong(f"its {key} is {'missing' if value is None else 'no text'}")
    return value


def _number(value: object, key: str, count: int, *, first: int = 0) -> int:
    """A label, as a number or as its digits."""
    digits = str(value) if type(value) in (int, str) else ""
    if not digits.isascii() or not digits.isdigit() or not first <= int(digits[:9]) < first + count:
        raise _Wrong(f"its {key} is {one_line(value, 40)}, not {first} to {first + count - 1}")
    return int(digits) - first
