"""Language and speech models so small that their answers can be worked out by hand, with questions and recordings."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY = 256  # bytes
WIDTH = 8
_RNG = np.random.default_rng(21)
EMBEDDING = _RNG.standard_normal((VOCABULARY, WIDTH)).astype(np.float32)
HEAD = _RNG.standard_normal((WIDTH, VOCABULARY)).astype(np.float32)

LM_CARD = "task = 'choose'\noutput = 'logits'\n[text]\ntokenizer = 'bytes'\nids = 'ids'\n"
EMBED_CARD = "task = 'embed'\n[text]\ntokenizer = 'bytes'\nids = 'ids'\nmask = 'mask'\n"


def _save(path: Path, nodes: list, inputs: list, outputs: list, weights: dict[str, np.ndarray]) -> Path:
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "net", inputs, outputs, stored)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def bigrams(path: Path, *, length: int | str = "t") -> Path:
    """The next byte hangs on the last one alone: `logits(text)` by hand. With its card beside it."""
    found = _save(
        path,
        [
            helper.make_node("Gather", ["embedding", "ids"], ["x"]),
            helper.make_node("MatMul", ["x", "head"], ["logits"]),
        ],
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, length])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, length, VOCABULARY])],
        {"embedding": EMBEDDING, "head": HEAD},
    )
    path.with_suffix(".toml").write_text(LM_CARD)
    return found


def log_p(context: str, text: str) -> float:
    """What `bigrams` gives a text behind another, by hand."""
    whole = (context + text).encode()
    total = 0.0
    for at in range(len(context.encode()), len(whole)):
        row = EMBEDDING[whole[at - 1]].astype(np.float64) @ HEAD.astype(np.float64)
        total += row[whole[at]] - np.log(np.exp(row).sum())
    return float(total)


def bags(path: Path) -> Path:
    """A text's vector is the mean of its bytes' under the mask. With its card beside it."""
    nodes = [
        helper.make_node("Gather", ["embedding", "ids"], ["x"]),
        helper.make_node("Cast", ["mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["wide"]),
        helper.make_node("Mul", ["x", "wide"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "first"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["wide", "first"], ["count"], keepdims=0),
        helper.make_node("Div", ["total", "count"], ["vector"]),
    ]
    tokens = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "t"]) for name in ("ids", "mask")]
    found = _save(
        path, nodes, tokens, [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, WIDTH])],
        {"embedding": EMBEDDING, "last": np.array([2]), "first": np.array([1])},
    )  # fmt: skip
    path.with_suffix(".toml").write_text(EMBED_CARD)
    return found


def lines(path: Path, *rows: object) -> Path:
    """A file of lines of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


GOALS = ("to open a jar", "to boil an egg", "to find a word", "to mend a net", "to wake a cat", "to dry a cup")


def piqa(path: Path) -> Path:
    """Six questions of two options each, of which `bigrams` gets some right."""
    return lines(path, *(
        {"goal": goal, "sol1": f"Turn the {goal[3:7]} twice.", "sol2": f"Hold it and {goal[-5:]} slowly.",
         "label": at % 2}
        for at, goal in enumerate(GOALS)
    ))  # fmt: skip


# Sounds.

RATE, N_FFT, HOP, BANDS = 8000, 128, 64, 12
SPEECH = f"[speech]\nrate = {RATE}\nn_fft = {N_FFT}\nhop = {HOP}\nbands = {BANDS}\n"


def sound(seconds: float, seed: int) -> np.ndarray:
    """Two gliding tones and a little noise, -1..1."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    tones = 0.4 * np.sin(2 * np.pi * (300 + 200 * seed) * t) + 0.2 * np.sin(2 * np.pi * (900 + 400 * t) * t)
    return np.round((tones + 0.01 * rng.standard_normal(len(t))) * 32767) / 32768


def save_wave(path: Path, samples: np.ndarray, *, rate: int = RATE, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(np.round(samples * 32768).astype("<i2").tobytes())
    return path


def recordings(folder: Path, count: int = 4) -> list[np.ndarray]:
    """`0.wav` and so on, each a little longer than the one before."""
    sounds = [sound(0.25 + 0.02 * at, at) for at in range(count)]
    for at, each in enumerate(sounds):
        save_wave(folder / f"{at}.wav", each)
    return sounds


def copier(path: Path, *, shift: float = 0.1) -> Path:
    """Reads log-mel features and says them again, each larger by `shift`: an error that is known."""
    shape = [1, "frames", BANDS]
    found = _save(
        path,
        [
            helper.make_node("MatMul", ["mel", "eye"], ["same"]),
            helper.make_node("Add", ["same", "shift"], ["said"]),
        ],
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT, shape)],
        {"eye": np.eye(BANDS, dtype=np.float32), "shift": np.array(shift, np.float32)},
    )  # fmt: skip
    path.with_suffix(".toml").write_text(f"task = 'speak'\n{SPEECH}reads = 'mel'\nmel = 'said'\n")
    return found


def speaker(path: Path, table: np.ndarray, *, repeat: int) -> Path:
    """Reads bytes and says `repeat` frames of features for each, those of `table` (256, bands), and how many."""
    found = _save(
        path,
        [
            helper.make_node("Gather", ["table", "ids"], ["each"]),
            helper.make_node("Unsqueeze", ["each", "two"], ["wide"]),
            helper.make_node("Expand", ["wide", "times"], ["many"]),
            helper.make_node("Reshape", ["many", "flat"], ["mel"]),
            helper.make_node("Mul", ["mask", "frames_each"], ["frames"]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "t"]) for name in ("ids", "mask")],
        [
            helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, "f", BANDS]),
            helper.make_tensor_value_info("frames", TensorProto.INT64, [1, "t"]),
        ],
        {
            "table": table.astype(np.float32), "two": np.array([2]), "times": np.array([1, 1, repeat, 1]),
            "flat": np.array([1, -1, BANDS]), "frames_each": np.array(repeat),
        },
    )  # fmt: skip
    path.with_suffix(".toml").write_text(
        f"task = 'speak'\n{SPEECH}mel = 'mel'\nframes = 'frames'\n"
        "[text]\ntokenizer = 'bytes'\nids = 'ids'\nmask = 'mask'\n"
    )
    return found


def led(path: Path, *, frames: int, shift: float = 0.1) -> Path:
    """Reads bytes and, beside them, features (bands, frames), which it says again, each larger by `shift`."""
    shape = [1, BANDS, frames]
    found = _save(
        path,
        [
            helper.make_node("Cast", ["ids"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["numbers"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "nothing"], ["none"]),
            helper.make_node("Add", ["mel", "shift"], ["larger"]),
            helper.make_node("Add", ["larger", "none"], ["said"]),
        ],
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "t"]),
            helper.make_tensor_value_info("mel", TensorProto.FLOAT, shape),
        ],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT, shape)],
        {"nothing": np.array(0, np.float32), "shift": np.array(shift, np.float32)},
    )
    path.with_suffix(".toml").write_text(
        f"task = 'speak'\n{SPEECH}along = 'mel'\nmel = 'said'\nlayout = 'bands-frames'\n"
        "[text]\ntokenizer = 'bytes'\nids = 'ids'\nlength = 3\n"
    )
    return found
