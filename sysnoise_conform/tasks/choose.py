"""Questions: which option a language model chooses, and whether it tells the last word of a passage.

A causal model chooses the option that is likeliest for its length behind what stands before it; a model of embeddings
the one whose vector points most like that of the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.datasets import OnBad
from sysnoise_conform.datasets.facts import Problems
from sysnoise_conform.datasets.questions import Question, QuestionSet
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.printable import one_line
from sysnoise_conform.tasks.evaluation import Comparison, Result, Shown
from sysnoise_conform.tasks.meter import output
from sysnoise_conform.tasks.right import compared, share
from sysnoise_conform.texts.feeds import Feed, feeds_of, longest
from sysnoise_conform.texts.scoring import Spelled, likelihood, shortened, spelled
from sysnoise_conform.texts.tokens import Tokens

Tensors = Mapping[str, np.ndarray]


class _Questions:
    """What both kinds of model share: each text is a feed of its own, and an answer is right or wrong."""

    metric: str
    noun = "question"

    def __init__(self, card: Card, asked: QuestionSet, tokens: Tokens, model: Model, on_bad: OnBad) -> None:
        """Read every question. Raises BadInput for one that can't be, unless such are left out; UsageError."""
        assert card.text is not None
        self._card, self._spec, self._tokens = card, card.text, tokens
        self._most = longest(model, card.text)
        self.cut = 0  # texts that are longer than the model reads
        problems = Problems(on_bad)
        kept: list[Question] = []
        self._read: list[tuple[Spelled, ...]] = []
        for each in asked.questions:
            try:
                self._read.append(self._texts(each))
            except BadInput as err:
                problems.add(each.name, err.message, **({"hint": err.hint} if err.hint else {}))
                continue
            kept.append(each)
        if not kept:
            raise BadInput("of these questions none can be asked", hint="see the problems that --on-bad fail names")
        self._asked = replace(asked, questions=tuple(kept))
        self._feeds = feeds_of(model, card.text, [len(each.ids) for texts in self._read for each in texts])
        self.names = tuple(each.name for each in kept)
        self.runs = sum(len(texts) for texts in self._read)
        self.problems = (*asked.problems, *problems.found)

    def _texts(self, question: Question) -> tuple[Spelled, ...]:
        """What the model reads of a question. Raises BadInput."""
        raise NotImplementedError

    def feeds(self, at: int, levels: Mapping[str, str]) -> tuple[Feed, ...]:
        """The texts of question `at`; no noise changes them."""
        return tuple(self._feeds.feed(each.ids) for each in self._read[at])

    def compare(
        self, base: Sequence[Result], other: Sequence[Result], pictures: Sequence[int], *, margin: float, seed: int
    ) -> Comparison:
        """Exact McNemar and Tango's interval; `seed` is not needed."""
        changed = sum(self.differs(at, a, b) for at, a, b in zip(pictures, base, other, strict=True))
        first, second = (self._right(each, pictures) for each in (base, other))
        return compared(first, second, changed=changed, margin=margin)

    def differs(self, at: int, base: Result, other: Result) -> bool:
        """Another option, or another truth."""
        return int(base["chosen"]) != int(other["chosen"])

    def shown(self, at: int, result: Result) -> Shown:
        """The option that is chosen."""
        chosen, question = int(result["chosen"]), self._asked.questions[at]
        if chosen < 0:
            return Shown(text="no answer (NaN)", right=False)
        return Shown(text=one_line(question.shown[chosen], 80), right=chosen in question.right)

    def _right(self, results: Sequence[Result], pictures: Sequence[int], key: str = "chosen") -> np.ndarray:
        questions = self._asked.questions
        pairs = zip(results, pictures, strict=True)
        return np.array([int(each[key]) in questions[at].right for each, at in pairs], bool)


class Continued(_Questions):
    """A causal model: `acc_norm`, by the likelihood of each option for its characters; `acc` by that of the whole."""

    def __init__(self, card: Card, asked: QuestionSet, tokens: Tokens, model: Model, *, on_bad: OnBad) -> None:
        self.metric = "acc_norm" if asked.asks == "choice" else "acc"
        super().__init__(card, asked, tokens, model, on_bad)

    def _texts(self, question: Question) -> tuple[Spelled, ...]:
        return tuple(self._cut(spelled(self._tokens, each.context, each.text)) for each in question.options)

    def _cut(self, whole: Spelled) -> Spelled:
        found = whole if self._most is None else shortened(whole, self._most)
        self.cut += len(found.ids) < len(whole.ids)
        return found

    def result(self, at: int, answers: Sequence[Tensors], levels: Mapping[str, str]) -> Result:
        """`log_p` and `greedy` of each option, `chosen` by length and `likeliest` without; -1 where one is not finite.

        Where the last word is asked for, `chosen` is 0 if the word's tokens are the likeliest, else 1.
        """
        asked, read = self._asked.questions[at], self._read[at]
        found = [likelihood(self._logits(each, whole), whole) for each, whole in zip(answers, read, strict=True)]
        log_p = np.array([each for each, _ in found])
        greedy = np.array([each for _, each in found])
        finite = bool(np.isfinite(log_p).all())
        lengths = np.array([each.length for each in asked.options], np.float64)
        if self._asked.asks == "last word":
            chosen = -1 if not finite else 0 if greedy[0] else 1
        else:
            chosen = int((log_p / lengths).argmax()) if finite else -1
        likeliest = int(log_p.argmax()) if finite else -1
        return {"log_p": log_p, "greedy": greedy, "chosen": np.array(chosen), "likeliest": np.array(likeliest)}

    def figures(
        self, results: Sequence[Result], pictures: Sequence[int], base: Sequence[Result]
    ) -> Mapping[str, float]:
        """`acc_norm` and `acc` 0..1, `agreement` with the baseline; `log_p`, the mean of a right option, in nats.

        Of last words `acc` and the `perplexity`.
        """
        agreement = [int(a["chosen"]) == int(b["chosen"]) >= 0 for a, b in zip(results, base, strict=True)]
        rights = [min(self._asked.questions[at].right) for at in pictures]
        told = [float(each["log_p"][right]) for each, right in zip(results, rights, strict=True)]
        more = {"agreement": share(np.array(agreement, bool)), "log_p": float(np.mean(told)) if told else float("nan")}
        if self._asked.asks == "last word":
            with np.errstate(over="ignore"):
                more["perplexity"] = float(np.exp(-more["log_p"]))  # of a word, not of a token: lambada_openai's
            return {"acc": share(self._right(results, pictures)), **more}
        return {
            "acc_norm": share(self._right(results, pictures)),
            "acc": share(self._right(results, pictures, "likeliest")),
            **more,
        }

    def shown(self, at: int, result: Result) -> Shown:
        """The option that is chosen; of a last word whether it is told."""
        if self._asked.asks == "choice" or int(result["chosen"]) < 0:
            return super().shown(at, result)
        word = one_line(self._asked.questions[at].shown[0], 60)
        told = int(result["chosen"]) == 0
        return Shown(text=word if told else f"another word than {word!r}", right=told)

    def _logits(self, answer: Tensors, whole: Spelled) -> np.ndarray:
        name = output(self._card, answer)
        found = answer[name]
        if found.ndim == 3 and len(found) == 1 and found.shape[1] >= len(whole.ids):
            if max(whole.ids) >= found.shape[2]:
                raise UsageError(
                    f"the tokenizer gives the token {max(whole.ids)}, and the output {one_line(name, 60)!r} has"
                    f" {found.shape[2]} of them",
                    hint="the card's tokenizer is that of another model",
                )
            return np.asarray(found[0])
        raise UsageError(
            f"the output {one_line(name, 60)!r} is {found.shape}; the scores of a causal model are (1, tokens,"
            " vocabulary)",
            hint='name the output in the card: output = "logits"',
        )


class Likened(_Questions):
    """A model of embeddings: `acc`, by the cosine of each option's vector with the question's."""

    metric = "acc"

    def __init__(self, card: Card, asked: QuestionSet, tokens: Tokens, model: Model, *, on_bad: OnBad) -> None:
        if asked.asks != "choice":
            raise UsageError(
                "an embedding tells no last word",
                hint="give a causal model, with task = 'choose' in its card, or questions with options",
            )
        super().__init__(card, asked, tokens, model, on_bad)

    def _texts(self, question: Question) -> tuple[Spelled, ...]:
        return tuple(self._cut(text) for text in (question.asked, *question.shown))

    def _cut(self, text: str) -> Spelled:
        ids = self._tokens(text) or [self._spec.pad]  # an empty question, as some of BIG-bench are
        if self._most is not None and len(ids) > self._most:
            self.cut += 1
            # The token that a tokenizer ends a text with stays.
            ids = [*ids[: self._most - 1], ids[-1]] if self._spec.special else ids[: self._most]
        return Spelled(tuple(ids), 0)

    def result(self, at: int, answers: Sequence[Tensors], levels: Mapping[str, str]) -> Result:
        """`cosine` of each option, and the `chosen` one; -1 where one is not finite."""
        vectors = np.array([self._vector(each, read) for each, read in zip(answers, self._read[at], strict=True)])
        with np.errstate(all="ignore"):
            cosine = vectors[1:] @ vectors[0] / (np.linalg.norm(vectors[1:], axis=1) * np.linalg.norm(vectors[0]))
        chosen = int(cosine.argmax()) if np.isfinite(cosine).all() else -1
        return {"cosine": cosine, "chosen": np.array(chosen)}

    def figures(
        self, results: Sequence[Result], pictures: Sequence[int], base: Sequence[Result]
    ) -> Mapping[str, float]:
        """`acc` and `agreement` with the baseline, 0..1; the `lowest_cosine_change` of any option."""
        agreement = [int(a["chosen"]) == int(b["chosen"]) >= 0 for a, b in zip(results, base, strict=True)]
        moved = [float(np.abs(a["cosine"] - b["cosine"]).max()) for a, b in zip(results, base, strict=True)]
        return {
            "acc": share(self._right(results, pictures)),
            "agreement": share(np.array(agreement, bool)),
            "cosine_moved": max(moved, default=float("nan")),
        }

    def _vector(self, answer: Tensors, read: Spelled) -> np.ndarray:
        assert self._card.text is not None
        found = np.asarray(answer[output(self._card, answer)], np.float64)
        if found.ndim == 3 and len(found) == 1 and found.shape[1] >= len(read.ids):
            rows = found[0, : len(read.ids)]
            match self._card.text.pool:
                case "first":
                    return np.asarray(rows[0])
                case "last":
                    return np.asarray(rows[-1])
                case _:
                    return np.asarray(rows.mean(0))
        if found.ndim == 2 and len(found) == 1:
            return np.asarray(found[0])
        raise UsageError(
            f"an embedding is (1, size) or (1, tokens, size), not {found.shape}",
            hint='name the output in the card: output = "embedding"',
        )
