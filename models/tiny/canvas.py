"""Drawing with whole numbers: grounds, textures, shapes with smooth edges, text. Pixels are int32 until they are done.

Turned things are turned by Pythagorean triples (3, 4, 5), lengths are compared as squares: no sine, no root, no
rounding mode of floats can make a pixel differ between machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from sysnoise_conform.models.tiny.chance import Chance
from sysnoise_conform.models.tiny.glyphs import line

Pixels: TypeAlias = Any  # (height, width, 3) int32, or one plane; numpy does not type arithmetic on arrays
Colour = tuple[int, int, int]

# (cosine, sine, length): angles in all four quadrants come from swapping and negating.
_TRIPLES = ((1, 0, 1), (3, 4, 5), (5, 12, 13), (8, 15, 17), (7, 24, 25), (20, 21, 29))
_FINE = 4  # coordinates count quarters of a pixel
_SAMPLES = ((1, 1), (1, 3), (3, 1), (3, 3))  # where in a pixel, in quarters, its cover is looked at
COVER = len(_SAMPLES)
_BITS = 8
_ONE = 1 << _BITS  # weights of straight lines are fractions of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """Where a shape lies: its centre and radius in pixels, and how it is turned (cosine, sine, their length)."""

    x: int
    y: int
    radius: int
    turn: tuple[int, int, int] = (1, 0, 1)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 that hold all of it."""
        return self.x - self.radius - 1, self.y - self.radius - 1, self.x + self.radius + 2, self.y + self.radius + 2


def some_turn(chance: Chance) -> tuple[int, int, int]:
    """An angle of chance."""
    cosine, sine, length = chance.choice(_TRIPLES)
    if chance.below(2):
        cosine, sine = sine, cosine
    return cosine * chance.choice((-1, 1)), sine * chance.choice((-1, 1)), length


def _disc(u: Pixels, v: Pixels, r: int) -> Pixels:
    return u * u + v * v <= r * r


def _ring(u: Pixels, v: Pixels, r: int) -> Pixels:
    far = u * u + v * v
    return (far <= r * r) & (far * 16 >= r * r * 5)


def _square(u: Pixels, v: Pixels, r: int) -> Pixels:
    return np.maximum(abs(u), abs(v)) * 4 <= r * 3 - r // 8


def _triangle(u: Pixels, v: Pixels, r: int) -> Pixels:
    return (2 * v <= r) & (7 * abs(u) <= 4 * (v + r))


def _cross(u: Pixels, v: Pixels, r: int) -> Pixels:
    a, b = abs(u), abs(v)
    return (np.minimum(a, b) * 4 <= r) & (np.maximum(a, b) * 16 <= r * 15)


def _star(u: Pixels, v: Pixels, r: int) -> Pixels:
    return _triangle(u, v, r) | _triangle(u, -v, r)


def _crescent(u: Pixels, v: Pixels, r: int) -> Pixels:
    away = u - r // 2
    return _disc(u, v, r) & ~_disc(away, v, r * 3 // 4)


def _bar(u: Pixels, v: Pixels, r: int) -> Pixels:
    return (abs(u) * 16 <= r * 15) & (abs(v) * 3 <= r)


SHAPES: Mapping[str, Callable[[Pixels, Pixels, int], Pixels]] = {
    "disc": _disc, "ring": _ring, "square": _square, "triangle": _triangle, "cross": _cross, "star": _star,
    "crescent": _crescent, "bar": _bar,
}  # fmt: skip


def _stripes(u: Pixels, v: Pixels, period: int) -> Pixels:
    del v
    return (u // (period // 2)) & 1


def _checks(u: Pixels, v: Pixels, period: int) -> Pixels:
    return (u // (period // 2) + v // (period // 2)) & 1


def _dots(u: Pixels, v: Pixels, period: int) -> Pixels:
    a, b = u % period - period // 2, v % period - period // 2
    return (a * a + b * b) * 9 <= period * period


TEXTURES: Mapping[str, Callable[[Pixels, Pixels, int], Pixels]] = {
    "plain": lambda u, v, period: np.zeros(u.shape, np.int64), "stripes": _stripes, "checks": _checks, "dots": _dots,
}  # fmt: skip


def ground(chance: Chance, height: int, width: int, base: Colour, spread: int, grain: int) -> Pixels:
    """A ground whose colour goes from corner to corner, with soft spots and a grain."""
    corners = np.array([[each + chance.between(-spread, spread) for each in base] for _ in range(4)], np.int32)
    across = _share(np.arange(width), width - 1)[None, :, None]
    down = _share(np.arange(height), height - 1)[:, None, None]
    above = corners[0] * (_ONE - across) + corners[1] * across
    below = corners[2] * (_ONE - across) + corners[3] * across
    found = (above * (_ONE - down) + below * down) >> 2 * _BITS
    found += (_spots(chance, height, width, spread) + chance.field(height, width, below=grain + 1))[..., None]
    return found


def _share(place: Pixels, length: int) -> Pixels:
    """How far along a length, 0 .. _ONE."""
    return (place * _ONE // length).astype(np.int32)


def _spots(chance: Chance, height: int, width: int, strength: int) -> Pixels:
    """Smooth noise: chance at the knots of a lattice, straight lines between them."""
    cell = chance.between(9, 30)
    knots = chance.field(height // cell + 2, width // cell + 2, below=strength + 1)
    y, x = np.arange(height), np.arange(width)
    (i, a), (j, b) = (y // cell, _share(y % cell, cell)[:, None]), (x // cell, _share(x % cell, cell)[None, :])
    rows = knots[i] * (_ONE - a) + knots[i + 1] * a
    return (rows[:, j] * (_ONE - b) + rows[:, j + 1] * b) >> 2 * _BITS


def cover(shape: str, pose: Pose, height: int, width: int) -> tuple[Pixels, Pixels, Pixels, tuple[slice, slice]]:
    """How much of each pixel a shape covers, 0 .. COVER, with the turned coordinates (u, v) and where in the canvas."""
    x1, y1, x2, y2 = pose.box
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    cosine, sine, length = pose.turn
    radius = pose.radius * _FINE * length
    total = np.zeros((y2 - y1, x2 - x1), np.int32)
    for a, b in _SAMPLES:
        dx = (np.arange(x1, x2, dtype=np.int64)[None, :] - pose.x) * _FINE + a
        dy = (np.arange(y1, y2, dtype=np.int64)[:, None] - pose.y) * _FINE + b
        u, v = dx * cosine + dy * sine, dy * cosine - dx * sine
        total += SHAPES[shape](u, v, radius)
    return total, u, v, (slice(y1, y2), slice(x1, x2))


def paint(
    canvas: Pixels, shape: str, pose: Pose, texture: str, colours: tuple[Colour, Colour], period: int
) -> tuple[Pixels, tuple[slice, slice]]:
    """Draw a shape; how much of each pixel it covers, and where."""
    total, u, v, where = cover(shape, pose, *canvas.shape[:2])
    second = TEXTURES[texture](u, v, period * _FINE * pose.turn[2])[..., None].astype(bool)
    inside = np.where(second, np.array(colours[1], np.int32), np.array(colours[0], np.int32))
    part = total[..., None]
    canvas[where] = (canvas[where] * (COVER - part) + inside * part + COVER // 2) // COVER
    return total, where


def write(canvas: Pixels, text: str, x: int, y: int, size: int, colour: Colour) -> None:
    """Write a line of text, each dot of its letters `size` pixels wide; what lies outside is cut."""
    dots = line(text).repeat(size, 0).repeat(size, 1)[: canvas.shape[0] - y, : canvas.shape[1] - x]
    area = canvas[y : y + dots.shape[0], x : x + dots.shape[1]]
    area[dots] = colour


def strokes(canvas: Pixels, chance: Chance, count: int, colour: Colour) -> None:
    """Thin straight lines across the picture."""
    height, width = canvas.shape[:2]
    for _ in range(count):
        x0, x1 = chance.below(width), chance.below(width)
        steps = np.arange(height, dtype=np.int64)
        x = x0 + (x1 - x0) * steps // height
        canvas[steps, x] = colour
        canvas[steps, np.minimum(x + 1, width - 1)] = colour


def finished(canvas: Pixels) -> np.ndarray:
    """uint8."""
    return np.asarray(np.clip(canvas, 0, 255).astype(np.uint8))
