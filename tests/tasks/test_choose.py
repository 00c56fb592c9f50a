"""What is kept of a question, where a model's outputs are not what they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from told_samples import VOCABULARY, bags, bigrams, piqa

from sysnoise_conform.card import load_card
from sysnoise_conform.datasets.questions import read_questions
from sysnoise_conform.errors import UsageError
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.tasks.choose import Continued, Likened
from sysnoise_conform.texts.tokens import tokens_of


@pytest.fixture(params=[Continued, Likened])
def task(request: pytest.FixtureRequest, tmp_path: Path) -> Continued | Likened:
    model = (bigrams if request.param is Continued else bags)(tmp_path / "net.onnx")
    card = load_card(model.with_suffix(".toml"))
    assert card.text is not None
    asked = read_questions(piqa(tmp_path / "q.jsonl"))
    return request.param(card, asked, tokens_of(card.text, tmp_path), open_model(model), on_bad="fail")


def outputs(task: Continued | Likened, value: float) -> list[dict[str, np.ndarray]]:
    shape = (1, 200, VOCABULARY) if isinstance(task, Continued) else (1, 8)
    name = "logits" if isinstance(task, Continued) else "vector"
    return [{name: np.full(shape, value, np.float32)} for _ in task.feeds(0, {})]


def test_nan_is_an_answer_of_nobody(task: Continued | Likened) -> None:
    good, bad = (task.result(0, outputs(task, value), {}) for value in (1.0, np.nan))

    assert (int(good["chosen"]) >= 0, int(bad["chosen"])) == (True, -1)
    assert task.shown(0, bad).text == "no answer (NaN)"
    assert task.shown(0, bad).right is False
    assert task.differs(0, good, bad)
    assert task.figures([bad], [0], [bad])["agreement"] == 0  # NaN agrees with nothing, nor with itself
    found = task.compare([good] * 6, [bad] * 6, range(6), margin=0.01, seed=0)
    assert found.lost - found.won == 6 * found.delta
    assert found.changed == 6


def test_outputs_of_another_kind_are_refused(task: Continued | Likened) -> None:
    wrong = [{name: array[0, ..., :50] for name, array in each.items()} for each in outputs(task, 0.0)]

    with pytest.raises(UsageError):
        task.result(0, wrong, {})


def test_a_tokenizer_of_another_model_is_told(tmp_path: Path) -> None:
    model = bigrams(tmp_path / "net.onnx")
    card = load_card(model.with_suffix(".toml"))
    assert card.text is not None
    task = Continued(card, read_questions(piqa(tmp_path / "q.jsonl")), tokens_of(card.text, tmp_path),
                     open_model(model), on_bad="fail")  # fmt: skip

    with pytest.raises(UsageError, match="has 50 of them"):
        task.result(0, [{"logits": np.zeros((1, 200, 50))} for _ in task.feeds(0, {})], {})
