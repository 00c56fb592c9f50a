"""Pictures for the page: those whose answer changed, and what each noise does to one of them.

They are the user's own, so they go into a page only where they were asked for, small.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.matrix.cells import BACKEND, CONTROL
from sysnoise_conform.matrix.facts import Flip, Levels, Matrix
from sysnoise_conform.matrix.gallery import Gallery
from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.markup import Markup, element
from sysnoise_conform.reports.wording import shorten

# Pixels of a side: of a picture that changed; of a difference, which is cut out rather than made smaller.
THUMB, CUT = 220, 128
WITH_BOXES = 360  # of a picture that boxes are drawn on
BASELINE_COLOUR, CELL_COLOUR = (0, 114, 178), (230, 97, 0)  # blue and orange: told apart by the colour-blind, too
ANSWERS = 8  # cells of one picture


def changed(found: Matrix, gallery: Gallery) -> Markup:
    """The pictures whose answer changed in the most cells, each with its answers."""
    by_picture: dict[str, list[Flip]] = {}
    for each in found.flips:
        by_picture.setdefault(each.picture, []).append(each)
    shown = [_changed(name, by_picture[name], gallery) for name in gallery.changed(found.flips)]
    return element("div", *shown, class_="gallery") if shown else Markup("")


def _changed(name: str, flips: Sequence[Flip], gallery: Gallery) -> Markup:
    pixels = gallery.original(name)
    first = flips[0]
    boxes = bool(first.boxes_before or first.boxes_after)
    if pixels is None:
        drawn = element("div", "can’t be read", class_="lost")
    else:
        drawn = picture(with_boxes(pixels, first) if boxes else small(pixels, THUMB), name)
    told = f"boxes: blue the baseline’s, orange those of {first.axis}={shorten(first.level, 30)}"
    answers = [
        element(
            "li", f"{each.axis}={shorten(each.level, 30)} on {shorten(each.backend, 20)}: ",
            element("strong", shorten(each.after, 80)), _right(each.right_after),
        )
        for each in flips[:ANSWERS]
    ]  # fmt: skip
    more = len(flips) - len(answers)
    return element(
        "div", drawn, element("h3", shorten(name, 60)), element("small", told) if boxes and pixels is not None else "",
        element("p", "baseline: ", element("strong", shorten(first.before, 80)), _right(first.right_before)),
        element("ul", *answers), element("small", f"and in {counted(more, 'cell')} more") if more > 0 else "",
        class_="card",
    )  # fmt: skip


def _right(right: bool | None) -> str:
    return "" if right is None else " ✓" if right else " ✗"


def differences(found: Matrix, gallery: Gallery) -> tuple[str, Markup]:
    """The picture that is taken, and for each level that changes its pixels the difference and its spectrum."""
    names = gallery.changed(found.flips) or list(gallery.paths)
    for name in names:
        own = gallery.placed(name, ())
        if own is not None:
            tiles = list(_differences(found, gallery, name, own))
            return name, element("div", *tiles, class_="gallery small") if tiles else Markup("")
    return "", Markup("")


def _differences(found: Matrix, gallery: Gallery, name: str, own: np.ndarray) -> Iterator[Markup]:
    yield _view("the card’s own way", picture(cut(own), "the card’s own way"), None, "")
    for levels in _levels(found):
        noisy = gallery.placed(name, levels)
        ((axis, level),) = levels
        if noisy is None:
            continue
        label = f"{axis}={level}"
        if noisy.shape != own.shape:
            yield _view(label, None, None, "another size: no difference can be drawn")
            continue
        apart = np.abs(noisy - own)
        if not apart.any():
            continue
        said = f"mean {apart.mean():.2f}, largest {apart.max():.0f} of 255"
        yield _view(
            label, picture(stretched(cut(apart)), f"difference of {label}"),
            picture(small(spectrum(noisy - own), CUT), f"spectrum of {label}"), said,
        )  # fmt: skip


def _levels(found: Matrix) -> list[Levels]:
    """The levels that were measured on any backend, each once."""
    chosen = [
        ((each.axis, each.level),) for each in found.cells
        if each.status == "measured" and each.axis not in (BACKEND, CONTROL)
    ]  # fmt: skip
    return list(dict.fromkeys(chosen))


def _view(label: str, first: Markup | None, second: Markup | None, said: str) -> Markup:
    drawn = [each for each in (first, second) if each is not None]
    pair = element("div", *drawn, class_="pair")
    return element("div", pair, element("h3", label), element("small", said), class_="card")


def cut(pixels: np.ndarray) -> np.ndarray:
    """The middle, in its own pixels: a difference that is made smaller is another one."""
    height, width = pixels.shape[:2]
    tall, wide = min(CUT, height), min(CUT, width)
    top, left = (height - tall) // 2, (width - wide) // 2
    return pixels[top : top + tall, left : left + wide]


def stretched(values: np.ndarray) -> np.ndarray:
    """From the smallest to the largest value on 0..255, as SysNoise's Figure 5 is drawn; (..., 3) uint8."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.rint((values - low) * (255 / (high - low))).astype(np.uint8)


def spectrum(apart: np.ndarray) -> np.ndarray:
    """The logarithm of the amplitudes of a (height, width, 3) difference, its mean over the channels; the middle is
    frequency 0. Drawn by `stretched`: (height, width), uint8.
    """
    amplitudes = np.abs(np.fft.fftshift(np.fft.fft2(apart.mean(axis=-1))))
    return stretched(np.log1p(amplitudes))


def small(pixels: np.ndarray, side: int) -> np.ndarray:
    """Shrunk to a longest side; a smaller picture stays as it is."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(image)


def with_boxes(pixels: np.ndarray, flip: Flip) -> np.ndarray:
    """The picture made smaller with the boxes of both answers, the baseline's wider so that equal ones show both."""
    shown = Image.fromarray(small(pixels, WITH_BOXES))
    scale = shown.width / pixels.shape[1], shown.height / pixels.shape[0]
    draw = ImageDraw.Draw(shown)
    for boxes, colour, width in ((flip.boxes_before, BASELINE_COLOUR, 4), (flip.boxes_after, CELL_COLOUR, 2)):
        for box in boxes:
            if not all(map(math.isfinite, box)):
                continue
            x, y, across, down = (
                min(max(value * factor, -WITH_BOXES), 2 * WITH_BOXES)
                for value, factor in zip(box, scale * 2, strict=True)
            )
            draw.rectangle((x, y, x + max(across, 0), y + max(down, 0)), outline=colour, width=width)
    return np.asarray(shown)


def picture(pixels: np.ndarray, about: str) -> Markup:
    """A JPEG inside the page. No more than its pixels goes in: no EXIF, no place."""
    stream = io.BytesIO()
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85, subsampling=0)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    alternative = html.escape(one_line(about, 200))
    return Markup(f'<img src="data:image/jpeg;base64,{data}" alt="{alternative}">')
