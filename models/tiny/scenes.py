"""Scenes with something to be told: one shape of one texture, several shapes with their boxes, or their pixels.

Each scene is determined by its seed and its number alone. What surrounds the shapes is what decoders and resizes
disagree on: gradients, grain, thin lines, letters, textures with a period of a few pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sysnoise_conform.models.tiny.canvas import (
    COVER,
    SHAPES,
    TEXTURES,
    Colour,
    Pixels,
    Pose,
    finished,
    ground,
    paint,
    some_turn,
    strokes,
    write,
)
from sysnoise_conform.models.tiny.chance import Chance

KINDS = tuple(SHAPES)  # what is detected and segmented
CLASSES = tuple(f"{texture}-{shape}" for shape in KINDS[:6] for texture in TEXTURES)  # what is classified


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A picture, uint8 (height, width, 3), with its truth.

    `label` is the class of its one shape. `boxes` are (x1, y1, x2, y2) in pixels, `kinds` their classes. `mask` has 0
    for the ground, 1 + kind where a shape covers half of a pixel or more. `quality` is that of its JPEG.
    """

    pixels: np.ndarray
    quality: int
    label: int = -1
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    kinds: tuple[int, ...] = ()
    mask: np.ndarray | None = None


def single(seed: int, number: int) -> Scene:
    """One shape of one texture near the middle; classes take turns."""
    chance = Chance(seed, 1, number)
    label = number % len(CLASSES)
    texture, shape = CLASSES[label].split("-")
    canvas, light = _surroundings(chance, 112, 208)
    side = min(canvas.shape[:2])
    pose = Pose(
        x=canvas.shape[1] // 2 + chance.between(-side // 12, side // 12),
        y=canvas.shape[0] // 2 + chance.between(-side // 12, side // 12),
        radius=side * chance.between(22, 38) // 100,
        turn=some_turn(chance),
    )
    paint(canvas, shape, pose, texture, _colours(chance, light), max(6, side * chance.between(75, 130) // 1000))
    _letters(canvas, chance, light)
    return Scene(pixels=finished(canvas), quality=chance.between(70, 95), label=label)


def several(seed: int, number: int) -> Scene:
    """Two to six shapes whose circles lie apart."""
    chance = Chance(seed, 2, number)
    canvas, light = _surroundings(chance, 144, 256)
    height, width = canvas.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    _letters(canvas, chance, light)
    poses: list[Pose] = []
    boxes, kinds = [], []
    for _ in range(chance.between(2, 6)):
        pose = _free(chance, height, width, poses)
        if pose is None:
            continue
        kind = chance.below(len(KINDS))
        texture = chance.choice(("plain", "plain", "stripes", "checks", "dots"))
        period = max(6, pose.radius * chance.between(25, 50) // 100)
        total, where = paint(canvas, KINDS[kind], pose, texture, _colours(chance, light), period)
        covered = total * 2 >= COVER
        mask[where][covered] = kind + 1
        rows, columns = np.nonzero(covered.any(1))[0], np.nonzero(covered.any(0))[0]
        y, x = where[0].start, where[1].start
        boxes.append((x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1))
        kinds.append(kind)
        poses.append(pose)
    return Scene(
        pixels=finished(canvas), quality=chance.between(70, 95), boxes=tuple(boxes), kinds=tuple(kinds), mask=mask
    )


def _surroundings(chance: Chance, low: int, high: int) -> tuple[Pixels, bool]:
    """A canvas of sides of chance with its ground, and whether that is light."""
    height, width = chance.between(low, high), chance.between(low, high)
    width = min(max(width, height * 3 // 4), height * 4 // 3)
    light = bool(chance.below(2))
    level = chance.between(150, 195) if light else chance.between(45, 95)
    red, green, blue = (level + chance.between(-30, 30) for _ in range(3))
    canvas = ground(chance, height, width, (red, green, blue), chance.between(10, 40), chance.between(0, 24))
    strokes(canvas, chance, chance.below(4), _shade(chance, not light, 40))
    return canvas, light


def _free(chance: Chance, height: int, width: int, taken: list[Pose]) -> Pose | None:
    """A place for one more shape; None where thirty tries find none."""
    side = min(height, width)
    for _ in range(30):
        radius = side * chance.between(9, 27) // 100
        pose = Pose(
            x=chance.between(radius, width - 1 - radius), y=chance.between(radius, height - 1 - radius),
            radius=radius, turn=some_turn(chance),
        )  # fmt: skip
        if all((pose.x - e.x) ** 2 + (pose.y - e.y) ** 2 > (pose.radius + e.radius) ** 2 for e in taken):
            return pose
    return None


def _shade(chance: Chance, light: bool, apart: int) -> Colour:
    """A colour on the light or the dark side."""
    level = chance.between(185 - apart, 215) if light else chance.between(30, 60 + apart)
    red, green, blue = (level + chance.between(-45, 45) for _ in range(3))
    return red, green, blue


def _colours(chance: Chance, light: bool) -> tuple[Colour, Colour]:
    """Two colours of a shape on a light or a dark ground, which differ from each other, too."""
    first = _shade(chance, not light, 0)
    step = chance.between(55, 110) * (1 if light else -1)
    red, green, blue = (each + step + chance.between(-20, 20) for each in first)
    return first, (red, green, blue)


def _letters(canvas: Pixels, chance: Chance, light: bool) -> None:
    """A few words anywhere."""
    height, width = canvas.shape[:2]
    for _ in range(chance.below(4)):
        text = "".join(chr(ord("A") + chance.below(26)) for _ in range(chance.between(2, 8)))
        write(
            canvas, text, chance.below(width - 10), chance.below(height - 8), chance.between(1, 2),
            _shade(chance, not light, 30),
        )  # fmt: skip
