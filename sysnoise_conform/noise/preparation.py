"""The way of one picture under chosen noises, in steps that share their work: decoded, coloured, placed, a tensor.

Two preparations with the same key up to a step have the same result there, so that whoever runs many of them does each
distinct step once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np

from sysnoise_conform.card import ImageInput
from sysnoise_conform.errors import BadInput
from sysnoise_conform.noise import AXES, IDENTITY, colour, decoder, exif, geometry, normalise, resize
from sysnoise_conform.pictures.decode import Decoded, decode_file
from sysnoise_conform.pictures.place import Fixed, Placed, place
from sysnoise_conform.pictures.place import normalise as to_tensor
from sysnoise_conform.printable import one_line

Key = tuple[object, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """A card's way from a file to a tensor, with the noises of the input side put in."""

    spec: ImageInput
    colour: str = IDENTITY
    input_colour: str = IDENTITY

    def decode_key(self) -> Key:
        """What determines the decoded pixels of one file."""
        return (self.spec.decoder,)

    def colour_key(self) -> Key:
        """What determines the picture before its resize."""
        return (*self.decode_key(), self.spec.exif, self.colour)

    def place_key(self) -> Key:
        """What determines the pixels at the network's size."""
        spec = self.spec
        return (
            *self.colour_key(), spec.resize, spec.size, spec.shorter, spec.multiple, spec.filter, spec.pad,
            spec.long_side, spec.crop, spec.resize_dtype,
        )  # fmt: skip

    def tensor_key(self) -> Key:
        """What determines the tensor."""
        spec = self.spec
        return (
            *self.place_key(), self.input_colour, spec.colour, spec.scale, spec.mean, spec.std, spec.layout,
        )  # fmt: skip

    def decoded(self, path: Path) -> Decoded:
        """Raises BadInput naming the file, also for one of several pictures: nobody says which of them is meant."""
        found = decode_file(path, self.spec.decoder)
        if found.header.frames > 1:
            raise BadInput(
                f"the image {one_line(path.name, 120)!r} holds {found.header.frames} pictures, an animation or pages",
                hint="keep the one that is meant, or leave such out with --on-bad skip",
            )
        return found

    def coloured(self, decoded: Decoded) -> np.ndarray:
        """The picture, upright if it is to be, after its colour conversion: (height, width, 3), uint8."""
        return colour.convert(decoded.turned() if self.spec.exif else decoded.pixels, self.colour)

    def placed(self, rgb: np.ndarray, fixed: Fixed) -> Placed:
        """The picture at the network's size. Raises BadInput where model and card contradict."""
        return place(rgb, self.spec, fixed)

    def pixels(self, placed: Placed) -> np.ndarray:
        """What the units of the card are put on: (height, width, 3), RGB, uint8 or float32, 0..255."""
        if self.input_colour == IDENTITY:
            return placed.pixels
        rounded = np.clip(np.rint(placed.pixels), 0, 255).astype(np.uint8)  # a conversion takes 8 bits
        return colour.convert(rounded, self.input_colour)

    def tensor(self, placed: Placed) -> np.ndarray:
        """Float32, with a batch dimension of 1."""
        return to_tensor(self.pixels(placed), self.spec)


def prepared(spec: ImageInput, levels: Mapping[str, str]) -> Preparation:
    """The preparation under `levels` (axis -> level); axes of the graph, the output and of audio are passed over."""
    conversion = input_conversion = IDENTITY
    for name, level in levels.items():
        axis = AXES[name]
        match axis.stage:
            case "decode":
                spec = decoder.change(spec, level)
            case "exif":
                spec = exif.change(spec, level)
            case "colour":
                conversion = level
            case "resize":
                spec = resize.change(spec, level)
            case "geometry":
                spec = geometry.change(spec, name, level)
            case "input":
                input_conversion = level
            case "normalise":
                spec = normalise.change(spec, name, level)
            case "graph" | "output" | "audio":
                pass
            case _:
                assert_never(axis.stage)
    return Preparation(spec=spec, colour=conversion, input_colour=input_conversion)
