"""What a language model is asked of a text: how likely is its end behind its beginning?

    whole = spelled(tokens, "The sky is", " blue")
    log_p, greedy = likelihood(logits, whole)

A continuation's tokens are those of the whole text behind the tokens of its beginning, and spaces at the end of the
beginning belong to the continuation, as lm-evaluation-harness 0.4.13 has it (TemplateLM._encode_pair).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sysnoise_conform.errors import BadInput
from sysnoise_conform.printable import one_line
from sysnoise_conform.texts.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Spelled:
    """The tokens that a model reads, and how many of them, at the end, are judged."""

    ids: tuple[int, ...]
    judged: int


def spelled(tokens: Tokens, context: str, text: str) -> Spelled:
    """`text` behind `context`. Raises BadInput where nothing is left to judge, or nothing stands before it."""
    spaces = len(context) - len(context.rstrip())
    if spaces:
        context, text = context[:-spaces], context[-spaces:] + text
    whole = tokens(context + text)
    before = len(tokens(context))
    if before == 0:
        raise BadInput(
            "nothing stands before the first token that is judged",
            hint="add begin = the number of the token that begins a text to the card's [text]",
        )
    if len(whole) <= before:
        raise BadInput(f"the option {one_line(text, 60)!r} adds no token")
    return Spelled(tuple(whole), len(whole) - before)


def shortened(whole: Spelled, length: int) -> Spelled:
    """The last `length` tokens of what is longer. Raises BadInput where not even what is judged goes in."""
    if len(whole.ids) <= length:
        return whole
    if whole.judged >= length:
        raise BadInput(
            f"the model reads {length} tokens, and {whole.judged} are to be judged behind at least one other",
            hint="give a larger length in the card's [text], if the model takes it",
        )
    return Spelled(whole.ids[-length:], whole.judged)


def likelihood(logits: np.ndarray, whole: Spelled) -> tuple[float, bool]:
    """The logarithm of the judged tokens' probability, and whether each of them is the likeliest where it stands.

    `logits` (tokens, vocabulary), of the tokens and, behind them, of whatever fills up. NaN where one is not finite.
    """
    count = len(whole.ids)
    rows = np.asarray(logits[count - 1 - whole.judged : count - 1], np.float64)
    wanted = np.array(whole.ids[count - whole.judged :])
    if not np.isfinite(rows).all():
        return float("nan"), False
    shifted = rows - rows.max(-1, keepdims=True)
    shares = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    log_p = float(shares[np.arange(len(wanted)), wanted].sum())
    return log_p, bool((rows.argmax(-1) == wanted).all())
