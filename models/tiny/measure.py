"""The figures of a tiny model on its held-out data, by the card's own way and the project's own decoding and scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.datasets import read_data
from sysnoise_conform.models.tiny import recipe, stories
from sysnoise_conform.models.tiny.speech import ALPHABET, MOST_LETTERS
from sysnoise_conform.noise.preparation import prepared
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.tasks.evaluate_boxes import Detections
from sysnoise_conform.tasks.evaluate_classes import Classes
from sysnoise_conform.tasks.evaluate_pixels import Pixels
from sysnoise_conform.tasks.evaluation import Evaluation

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # one input with a batch dimension of 1 to outputs by name

_KEPT = ("top1", "top5", "mAP", "AP50", "AP75", "mIoU", "pixel_accuracy")


def of_pictures(card: Card, folder: Path, run: Run, *, count: int | None = None) -> dict[str, float]:
    """The figures of the card's task over `count` of the pictures, evenly spread, or all of them."""
    assert card.task is not None
    assert card.image is not None
    data = read_data(folder, card.task)
    evaluation: Evaluation
    match card.task:
        case "classify":
            evaluation = Classes(card, data, labelled=True)
        case "detect":
            evaluation = Detections(card, data, labelled=True)
        case _:
            evaluation = Pixels(card, data)
    way, how = prepared(card.image, {}), Decoding()
    all_of_them = len(data.pictures)
    numbers = [at * all_of_them // (count or all_of_them) for at in range(count or all_of_them)]
    results = []
    for at in numbers:
        placed = way.placed(way.coloured(way.decoded(data.pictures[at].path)), (None, None))
        tensor = way.tensor(placed)
        size = (tensor.shape[2], tensor.shape[3])
        results.append(evaluation.result(at, run(tensor), placed.placement, size, how))
    found = evaluation.figures(results, numbers, results)
    return {name: round(float(found[name]), 4) for name in _KEPT if name in found}


def of_questions(run: Run, *, count: int | None = None) -> dict[str, float]:
    """The share of right answers of each sort: the option that is likeliest for its length, the last word as told."""
    found = {}
    for sort in stories.SORTS:
        items = stories.held_out_items(recipe.HELD_OUT, sort, recipe.LANGUAGE.held_out)[:count]
        found[sort] = round(sum(_answered(each, run) for each in items) / len(items), 4)
    return found


def _answered(item: stories.Item, run: Run) -> bool:
    options, right = _options(item)
    judged = [_likelihood(run, context, text) for context, text in options]
    if len(options) == 1:
        return judged[0][1]
    shares = [each / len(text.strip()) for (each, _), (_, text) in zip(judged, options, strict=True)]
    return shares.index(max(shares)) == right


def _options(item: stories.Item) -> tuple[list[tuple[str, str]], int]:
    """What stands before each option and the option, as lm-evaluation-harness asks; which is right."""
    row = item.row
    match item.sort:
        case "piqa":
            assert item.label is not None
            context = f"Question: {row['goal']}\nAnswer:"
            return [(context, f" {row[each]}") for each in ("sol1", "sol2")], item.label
        case "hellaswag":
            context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
            return [(context, f" {each}") for each in row["endings"]], row["label"]
        case "winogrande":
            before, after = row["sentence"].split("_")
            return [(before + row[each], after) for each in ("option1", "option2")], int(row["answer"]) - 1
        case _:
            context, _, word = row["text"].rpartition(" ")
            return [(context, f" {word}")], 0


def _likelihood(run: Run, context: str, text: str) -> tuple[float, bool]:
    """The log-likelihood of a text behind its context, and whether it is what the model would say itself."""
    numbers = list((context + text).encode("ascii"))
    ids = np.zeros((1, stories.LONGEST), np.int64)
    ids[0, : len(numbers)] = numbers
    (logits,) = (np.asarray(each, np.float64)[0] for each in run(ids).values())
    first = len(context)
    seen, said = logits[first - 1 : len(numbers) - 1], np.array(numbers[first:])
    shares = seen - seen.max(-1, keepdims=True)
    shares -= np.log(np.exp(shares).sum(-1, keepdims=True))
    return float(shares[np.arange(len(said)), said].sum()), bool((seen.argmax(-1) == said).all())


def of_sentences(texts: list[str], features: list[np.ndarray], run: Run) -> dict[str, float]:
    """`mel_mse` over the frames that both have, of what `variance` the features have; `frames_off`, of a sentence."""
    wrong, spread, off = [], [], []
    for text, true in zip(texts, features, strict=True):
        outputs = run(letters(text))
        count = int(outputs["frames"].sum())
        shared = min(count, len(true))
        wrong.append(float(np.mean((outputs["mel"][0, :shared] - true[:shared]) ** 2)))
        spread.append(float(np.var(true)))
        off.append(abs(count - len(true)))
    return {
        "mel_mse": round(float(np.mean(wrong)), 4), "variance": round(float(np.mean(spread)), 4),
        "frames_off": round(float(np.mean(off)), 4),
    }  # fmt: skip


def letters(text: str) -> np.ndarray:
    """The numbers of a text's letters, 0 behind it."""
    found = np.zeros((1, MOST_LETTERS), np.int64)
    found[0, : len(text)] = [1 + ALPHABET.index(each) for each in text]
    return found
