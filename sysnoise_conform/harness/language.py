"""An exported causal language model on a runtime: how likely one text is behind another, and what comes next.

    with language_model(Path("opt.onnx"), "ort:fp16") as model:
        model.likelihoods([("The sky is", " blue")])
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from sysnoise_conform import registry
from sysnoise_conform.card import Card, find_card, load_card
from sysnoise_conform.case import Limits
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.graph.rewrite import NotApplicable
from sysnoise_conform.matrix.cells import Cell
from sysnoise_conform.matrix.facts import Feed
from sysnoise_conform.matrix.graphs import Graphs, reason
from sysnoise_conform.matrix.seats import Seats
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.tasks.meter import output
from sysnoise_conform.texts.feeds import feeds_of, longest
from sysnoise_conform.texts.scoring import Spelled, likelihood, shortened, spelled
from sysnoise_conform.texts.tokens import Tokens, tokens_of
from sysnoise_conform.variant import Variant, parse_variant


@dataclass(slots=True)
class LanguageModel:
    """Answers one text at a time, in a child process of the runtime's own. For one thread."""

    card: Card
    model: Model
    tokens: Tokens
    length: int  # the most tokens that it reads at once
    _variant: Variant
    _graphs: Graphs
    _seats: Seats

    def likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Of each text behind each beginning: the logarithm of its probability, and whether it is the likeliest.

        A beginning that is too long loses its own. Raises BadInput for what can't be asked, BackendError.
        """
        return [self.likelihood_of(spelled(self.tokens, context, text)) for context, text in pairs]

    def likelihood_of(self, whole: Spelled) -> tuple[float, bool]:
        """The same of tokens."""
        kept = shortened(whole, self.length)
        return likelihood(self.logits(kept.ids), kept)

    def rolling(self, text: str) -> float:
        """The logarithm of a whole text's probability behind the token that begins texts; long ones in pieces.

        Each token is judged once, the last piece with as much before it as the model reads.
        """
        ids = tuple(self.tokens(text))
        begin = self.begin
        ids = ids if ids[:1] == (begin,) else (begin, *ids)
        total, at = 0.0, 1
        while at < len(ids):
            end = min(len(ids), at + self.length - 1)
            first = max(0, end - self.length)
            total += self.likelihood_of(Spelled(ids[first:end], end - at))[0]
            at = end
        return total

    def continued(self, text: str, *, until: Sequence[str], most: int) -> list[int]:
        """The likeliest next tokens, one after another, until one of `until` is told or there are `most`."""
        ids = list(self.tokens(text))
        found: list[int] = []
        while len(found) < most:
            read = [*ids, *found][-self.length :]
            if not read:
                read = [self.begin]
            found.append(int(self.logits(read)[len(read) - 1].argmax()))
            if any(each in self.told(found) for each in until if each):
                break
        return found

    def told(self, ids: Sequence[int]) -> str:
        """The text of tokens. Raises UsageError where the tokenizer has no way back."""
        return self.tokens.text(ids)

    @property
    def begin(self) -> int:
        """The token that begins texts. Raises UsageError where the card has none."""
        assert self.card.text is not None
        if self.card.text.begin is None:
            raise UsageError(
                "a whole text is judged behind the token that begins texts, and the card names none",
                hint="add begin = its number to the card's [text]",
            )
        return self.card.text.begin

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """(tokens, vocabulary), of a text of at most `length` tokens. Raises BackendError, UsageError."""
        assert self.card.text is not None
        # Few different lengths, since each is compiled for itself.
        length = min(self.length, 1 << max(len(ids) - 1, 15).bit_length())
        feed = feeds_of(self.model, self.card.text, [length]).feed(ids)
        levels = Cell(levels=(), variant=self._variant).graph_levels()
        refused = self._graphs.resolve(levels, feed)
        if isinstance(refused, NotApplicable):
            raise UsageError(f"{self._variant} can't be: {reason(refused)}")
        with self._seats.taken(self._variant) as seat:
            outputs = seat.session(levels, feed, self._graphs.write).run(feed)
            found = np.array(outputs[output(self.card, outputs)])
        if found.ndim != 3 or len(found) != 1 or found.shape[1] < len(ids) or found.shape[2] <= max(ids):
            raise UsageError(f"the scores of a causal model are (1, tokens, vocabulary), not {found.shape}")
        return np.asarray(found[0])


@contextmanager
def language_model(
    path: Path, backend: str, *, card: Path | None = None, threads: int = 0, timeout_s: float = 300.0
) -> Iterator[LanguageModel]:
    """The model at `path` on a backend, spelled as everywhere; its children end with the block.

    Raises UsageError where the card, beside the model or given, does not say how texts become tokens, BadModel.
    """
    variant = parse_variant(backend)
    registry.check(variant)
    if variant.precision == "int8":
        raise UsageError(
            "int8 needs texts to calibrate on, which an evaluation program does not give",
            hint="measure it with conform noise --task choose, or quantise the file first",
        )
    told = load_card(card) if card is not None else find_card(path)
    if told is None or told.text is None:
        raise UsageError(
            "a language model needs a card that says how texts become tokens",
            hint=f"write {one_line(path.stem)}.toml with a [text] table beside the model",
        )
    model = open_model(path, shapes=dict(told.shapes))
    length = longest(model, told.text)
    if length is None:
        raise UsageError("nobody says how many tokens the model reads", hint="add length to the card's [text]")
    tokens = tokens_of(told.text, (told.path or path).resolve().parent)
    limits = Limits(timeout_s=timeout_s, threads=threads)
    with (
        tempfile.TemporaryDirectory(prefix="conform-") as logs, Crew(limits) as crew,
        Seats(crew, Path(logs), threads) as seats,
    ):  # fmt: skip
        yield LanguageModel(told, model, tokens, length, variant, Graphs(model, model.inputs, _unasked), seats)


def _unasked(proto: onnx.ModelProto, feed: Feed) -> Mapping[str, np.ndarray]:
    raise BadInput("a precision is known without running the graph")  # pragma: no cover: no other level is put on
