"""Data sets as folders, in the layouts that `conform noise` reads; each returns the SHA-256 of what was drawn."""

from __future__ import annotations

import hashlib
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sysnoise_conform.models.tiny import recipe, scenes, speech, stories
from sysnoise_conform.models.tiny.jpegs import encoded

# What determines the data, by the names of our own modules.
SOURCES = (
    "canvas.py", "chance.py", "glyphs.py", "jpegs.py", "recipe.py", "scenes.py", "sets.py", "speech.py", "stories.py",
)  # fmt: skip
_COLLECTIONS = {"piqa": "valid", "hellaswag": "hellaswag_val", "winogrande": "dev", "lambada": "lambada_test"}
CALIBRATION = 48  # pictures of the training that ranges may be taken from


def classes(folder: Path, part: str) -> str:
    """`labels.csv` beside the pictures."""
    digest = hashlib.sha256()
    rows = ["file,class_index,name"]
    for name, scene in _drawn(scenes.single, recipe.CLASSIFIER.held_out, part, folder, digest):
        digest.update(bytes([scene.label]))
        rows.append(f"{name},{scene.label},{scenes.CLASSES[scene.label]}")
    _write(folder / "labels.csv", "\n".join(rows) + "\n")
    return digest.hexdigest()


def boxes(folder: Path, part: str) -> str:
    """COCO's `instances.json` beside the pictures."""
    digest = hashlib.sha256()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for name, scene in _drawn(scenes.several, recipe.DETECTOR.held_out, part, folder, digest):
        height, width = scene.pixels.shape[:2]
        images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        for (x1, y1, x2, y2), kind in zip(scene.boxes, scene.kinds, strict=True):
            digest.update(f"{x1} {y1} {x2} {y2} {kind}\n".encode())
            annotations.append({
                "id": len(annotations) + 1, "image_id": len(images), "category_id": kind + 1, "iscrowd": 0,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
            })  # fmt: skip
    categories = [{"id": at, "name": name} for at, name in enumerate(scenes.KINDS, start=1)]
    table = {"images": images, "annotations": annotations, "categories": categories}
    _write(folder / "instances.json", json.dumps(table))
    return digest.hexdigest()


def masks(folder: Path, part: str) -> str:
    """`images/` and `labels/`, as CamVid has them, with `classes.csv`."""
    digest = hashlib.sha256()
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for name, scene in _drawn(scenes.several, recipe.SEGMENTER.held_out, part, folder / "images", digest):
        assert scene.mask is not None
        digest.update(scene.mask.tobytes())
        Image.fromarray(scene.mask).save(folder / "labels" / f"{Path(name).stem}.png", "PNG")
    rows = [f"{at},{name},1" for at, name in enumerate(("ground", *scenes.KINDS))]
    _write(folder / "classes.csv", "\n".join(["index,name,scored", *rows]) + "\n")
    return digest.hexdigest()


def questions(folder: Path, part: str) -> str:
    """A folder for each collection, with the file names under which it is published."""
    del part
    digest = hashlib.sha256()
    for sort, name in _COLLECTIONS.items():
        items = stories.held_out_items(recipe.HELD_OUT, sort, recipe.LANGUAGE.held_out)
        (folder / sort).mkdir()
        text = stories.lines(items)
        digest.update(text.encode())
        _write(folder / sort / f"{name}.jsonl", text)
        if items[0].label is not None:
            labels = "".join(f"{each.label}\n" for each in items)
            digest.update(labels.encode())
            _write(folder / sort / f"{name}-labels.lst", labels)
    return digest.hexdigest()


def sounds(folder: Path, part: str) -> str:
    """`metadata.csv` beside `wavs/`, as LJSpeech has them."""
    del part
    digest = hashlib.sha256()
    (folder / "wavs").mkdir()
    rows = []
    for number, text in enumerate(speech.sentences(recipe.HELD_OUT, recipe.SPEAKER.held_out)):
        samples = speech.sound(text).astype("<i2").tobytes()
        digest.update(text.encode() + b"\n" + samples)
        rows.append(f"{number:04}|{text}|{text}")
        with wave.open(str(folder / "wavs" / f"{number:04}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(speech.RATE)
            file.writeframes(samples)
    _write(folder / "metadata.csv", "\n".join(rows) + "\n")
    return digest.hexdigest()


def _drawn(draw: Any, held_out: int, part: str, folder: Path, digest: Any) -> Iterator[tuple[str, scenes.Scene]]:
    """Each scene under the name of its JPEG, which is written; its pixels go into the digest."""
    seed, count = (recipe.HELD_OUT, held_out) if part == "held-out" else (recipe.TRAINING, CALIBRATION)
    for number in range(count):
        scene = draw(seed, number)
        digest.update(np.array(scene.pixels.shape, "<u4").tobytes() + scene.pixels.tobytes())
        name = f"{number:04}.jpg"
        (folder / name).write_bytes(encoded(scene.pixels, scene.quality))
        yield name, scene


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
