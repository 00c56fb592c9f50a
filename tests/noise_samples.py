"""A network of each task so small that its answers can be worked out by hand, with pictures, labels and cards.

Pictures are of one colour with a brighter quarter, so that a mean of colours, a threshold and a box have an answer that
is known, and JPEGs, so that decoders differ.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from PIL import Image

SIDE = 16

# Class by class the mean of a colour channel, with a bias; three classes: red, green, blue.
CLASSIFIER = """
<ir_version: 9, opset_import: ["": 17]>
net (float[1,3,16,16] x) => (float[1,3] y) {
  m = GlobalAveragePool (x)
  y = Flatten (m)
}
"""
# Two classes for each pixel: dark and bright.
SEGMENTER = """
<ir_version: 9, opset_import: ["": 17]>
net (float[1,3,16,16] x) => (float[1,2,16,16] y)
<float[2,3,1,1] w = {0, 0, 0, 1, 1, 1}, float[2] b = {1.5, 0}> {
  y = Conv (x, w, b)
}
"""
# Two boxes that never move; their scores are the means of red and green.
DETECTOR = """
<ir_version: 9, opset_import: ["": 17]>
net (float[1,3,16,16] x) => (float[2,4] boxes, float[2] scores, int64[2] classes)
<int64[1] flat = {3}, int64[1] zero = {0}, int64[1] two = {2}, int64[1] first = {0},
 float[2,4] fixed = {0, 0, 8, 8, 4, 4, 16, 16}, int64[2] kinds = {0, 1}> {
  m = GlobalAveragePool (x)
  r = Reshape (m, flat)
  scores = Slice (r, zero, two, first)
  boxes = Identity (fixed)
  classes = Identity (kinds)
}
"""
IMAGE = f"[image]\nsize = {SIDE}\nresize = 'squash'\n"
CARDS = {
    "classify": f"task = 'classify'\n{IMAGE}",
    "segment": f"task = 'segment'\n{IMAGE}",
    "text-detect": f"task = 'text-detect'\nthreshold = 0.5\n{IMAGE}",
    "detect": (
        "task = 'detect'\ndecoder = 'boxes'\nthreshold = 0.3\n"
        f"[heads]\nboxes = 'boxes'\nscores = 'scores'\nclasses = 'classes'\n{IMAGE}"
    ),
}
TEXT = """
<ir_version: 9, opset_import: ["": 17]>
net (float[1,3,16,16] x) => (float[1,1,16,16] y) {
  y = ReduceMean <axes = [1], keepdims = 1> (x)
}
"""
NETWORKS = {"classify": CLASSIFIER, "segment": SEGMENTER, "text-detect": TEXT, "detect": DETECTOR}


@dataclass(frozen=True)
class Place:
    """A folder with `net.onnx`, `net.toml` beside it, and `data/`."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "net.onnx"

    @property
    def card(self) -> Path:
        return self.folder / "net.toml"

    @property
    def data(self) -> Path:
        return self.folder / "data"


def network(task: str, path: Path) -> None:
    model = onnx.parser.parse_model(NETWORKS[task])
    if task == "text-detect":  # opset 17 has the axes of ReduceMean as an attribute
        onnx.checker.check_model(model)
    onnx.save(model, path)


def picture(path: Path, colour: tuple[int, int, int], *, size: tuple[int, int] = (24, 20), seed: int = 0) -> None:
    """`size` is width, height. The lower right quarter is bright; a little noise makes decoders and resizes differ."""
    rng = np.random.default_rng(seed)
    pixels = np.full((size[1], size[0], 3), colour, np.int64)
    pixels[size[1] // 2 :, size[0] // 2 :] += 90
    pixels += rng.integers(-8, 9, pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=92)


COLOURS = ((150, 40, 60), (40, 150, 60), (60, 40, 150))  # of the classes: red, green, blue


def pictures(folder: Path, count: int, *, suffix: str = ".jpg") -> list[str]:
    """`00.jpg` and so on, class by class in turn."""
    names = [f"{at:02d}{suffix}" for at in range(count)]
    for at, name in enumerate(names):
        picture(folder / name, COLOURS[at % 3], seed=at)
    return names


def place(folder: Path, task: str, *, count: int = 6, labels: bool = True) -> Place:
    """Everything of a task; every label is right."""
    found = Place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    network(task, found.model)
    found.card.write_text(CARDS[task])
    names = pictures(found.data if task != "segment" else found.data / "images", count)
    if not labels:
        return found
    match task:
        case "classify":
            rows = "".join(f"{name},{at % 3}\n" for at, name in enumerate(names))
            (found.data / "labels.csv").write_text("file,class_index\n" + rows)
        case "detect":
            (found.data / "instances.json").write_text(json.dumps(coco(names)))
        case "segment":
            mask = np.zeros((20, 24), np.uint8)
            mask[10:, 12:] = 1
            (found.data / "labels").mkdir()
            for name in names:
                Image.fromarray(mask).save(found.data / "labels" / name.replace(".jpg", ".png"))
    return found


def coco(names: list[str], *, size: tuple[int, int] = (24, 20)) -> dict:
    """Both boxes of the detector on every picture, at the picture's own scale."""
    across, down = size[0] / SIDE, size[1] / SIDE
    boxes = [[0, 0, 8 * across, 8 * down], [4 * across, 4 * down, 12 * across, 12 * down]]
    return {
        "images": [
            {"id": at + 1, "file_name": name, "width": size[0], "height": size[1]} for at, name in enumerate(names)
        ],
        "annotations": [
            {"id": 2 * at + kind + 1, "image_id": at + 1, "category_id": kind + 1, "bbox": box, "iscrowd": 0}
            for at in range(len(names))
            for kind, box in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "left"}, {"id": 2, "name": "right"}],
    }
