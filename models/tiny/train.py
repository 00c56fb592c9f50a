"""Trains the models that come with the project, exports them, measures them and writes all of it into their folders.

    python -m sysnoise_conform.models.tiny.train [NAME ...]

One seed, one thread. What comes out is the same to the bit on the same processor and PyTorch; elsewhere roundings
differ, and with them the weights.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sysnoise_conform.card import load_card
from sysnoise_conform.errors import ConformError
from sysnoise_conform.golden.export import export
from sysnoise_conform.models.tiny import (
    held_out,
    jpegs,
    measure,
    train_classifier,
    train_detector,
    train_language,
    train_segmenter,
    train_speaker,
)
from sysnoise_conform.models.tiny.language import Language
from sysnoise_conform.models.tiny.networks import Classifier, Detector, Segmenter
from sysnoise_conform.models.tiny.recipe import HELD_OUT, SPEAKER
from sysnoise_conform.models.tiny.speaker import Speaker
from sysnoise_conform.models.tiny.speech import MOST_LETTERS, sentences
from sysnoise_conform.models.tiny.stories import LONGEST


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    network: type[nn.Module]
    train: Callable[[], nn.Module]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]


def _base() -> Classifier:
    """tiny-cls as it lies in its folder."""
    net = Classifier()
    net.load_state_dict(load_file(_folder("tiny-cls") / "tiny-cls.safetensors"))
    return net


_LETTERS = {"input_ids": (1, MOST_LETTERS)}
_BYTES = {"input_ids": (1, LONGEST)}
_WHOLE = {"input_ids": "int64"}
_MODELS: Mapping[str, _Made] = {
    "tiny-cls": _Made(network=Classifier, train=train_classifier.train, shapes={"x": (1, 3, 64, 64)}, dtypes={}),
    "tiny-det": _Made(
        network=Detector, train=lambda: train_detector.train(_base()), shapes={"x": (1, 3, 92, 92)}, dtypes={}
    ),
    "tiny-seg": _Made(
        network=Segmenter, train=lambda: train_segmenter.train(_base()), shapes={"x": (1, 3, 96, 96)}, dtypes={}
    ),
    "tiny-lm": _Made(network=Language, train=train_language.train, shapes=_BYTES, dtypes=_WHOLE),
    "tiny-tts": _Made(network=Speaker, train=train_speaker.train, shapes=_LETTERS, dtypes=_WHOLE),
}


def main(names: list[str]) -> int:
    """Train the models that are named, or all of them, in the order in which they need each other; the exit code."""
    unknown = [each for each in names if each not in _MODELS]
    if unknown:
        sys.stderr.write(f"error: there is no tiny model {unknown[0]!r}; there are {', '.join(_MODELS)}\n")
        return 2
    try:
        for name in _MODELS:
            if name in names or not names:
                made(name)
    except ConformError as err:
        sys.stderr.write(f"error: {err}\n")
        return err.exit_code
    return 0


def made(name: str) -> None:
    """Train a model and write it, its export and its record beside its card."""
    began = time.process_time()
    net = _MODELS[name].train()
    seconds = time.process_time() - began
    folder = _folder(name)
    state = {key: value.detach().contiguous().clone() for key, value in net.state_dict().items()}
    save_file(state, folder / f"{name}.safetensors")
    (folder / f"{name}.safetensors").chmod(0o644)
    finish(name, net, seconds)


def finish(name: str, net: nn.Module, seconds: float) -> None:
    """Export what lies in a model's folder, measure it, and record all of it."""
    folder, how = _folder(name), _MODELS[name]
    export(
        f"{how.network.__module__}:{how.network.__name__}", out=folder / f"{name}.onnx", shapes=how.shapes,
        dtypes=how.dtypes, weights=folder / f"{name}.safetensors",
    )  # fmt: skip
    _plain(folder / f"{name}.onnx")
    figures = measured(name, folder, net.eval())
    _record(name, folder, figures, seconds)
    sys.stdout.write(f"{name}: {json.dumps(figures)}, trained in {seconds:.0f} s of one core\n")
    sys.stdout.flush()


def _plain(place: Path) -> None:
    """Leave out what the exporter says of each node: half of a small file."""
    proto = onnx.load(place)
    graph = proto.graph
    for each in (
        proto, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output
    ):  # fmt: skip
        each.ClearField("metadata_props")
        each.ClearField("doc_string")
    onnx.save(proto, place)


def measured(name: str, folder: Path, net: nn.Module) -> dict[str, float]:
    """The figures of a network on its held-out data, in float32."""

    def run(array: np.ndarray) -> Mapping[str, np.ndarray]:
        with torch.no_grad():
            found = net(torch.from_numpy(array))
        named = found if isinstance(found, dict) else {"output": found}
        return {key: value.numpy() for key, value in named.items()}

    if name == "tiny-lm":
        return measure.of_questions(run)
    if name == "tiny-tts":
        texts = sentences(HELD_OUT, SPEAKER.held_out)
        true = [train_speaker.example(each) for each in texts]
        return measure.of_sentences(texts, [mel[: int(frames.sum())] for _, frames, mel in true], run)
    data, _ = held_out.draw(name, "held-out")
    return measure.of_pictures(load_card(folder / f"{name}.toml"), data, run)


def _record(name: str, folder: Path, figures: Mapping[str, float], seconds: float) -> None:
    """Write `record.toml`; sums of JPEGs of other versions of libjpeg-turbo stay where what is drawn is the same."""
    place = folder / "record.toml"
    before = held_out.tiny(name) if place.exists() else None
    drawn, jpeg = {}, {}
    for part in ("held-out", "calibration") if name in held_out.PICTURES else ("held-out",):
        _, sums = held_out.draw(name, part)
        drawn[part] = sums["drawn"]
        if name in held_out.PICTURES:
            same = before is not None and before.drawn.get(part) == sums["drawn"]
            jpeg[part] = {**(before.jpegs.get(part, {}) if before and same else {}), jpegs.library(): sums["jpegs"]}
    weights = hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()
    parameters = sum(each.numel() for each in load_file(folder / f"{name}.safetensors").values())
    lines = [
        "# Written by the training; see docs/tiny.md.",
        "",
        "[figures] # on the held-out data, PyTorch in float32",
        *(f"{key} = {value}" for key, value in figures.items()),
        "",
        "[training]",
        f'torch = "{torch.__version__.split("+")[0]}"',
        f"seconds = {seconds:.0f} # of one core",
        f"numbers = {parameters}",
        f'weights_sha256 = "{weights}"',
        "",
        "[drawn] # SHA-256 of what is drawn, on any machine",
        *(f'{part} = "{value}"' for part, value in drawn.items()),
    ]
    for part, known in jpeg.items():
        lines += ["", f"[jpegs.{part}] # SHA-256 of the JPEG files, for each version of libjpeg-turbo"]
        lines += [f'"{version}" = "{value}"' for version, value in sorted(known.items())]
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _folder(name: str) -> Path:
    return Path(str(resources.files("sysnoise_conform.models") / name))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
