"""Whether a PNG holds all of its pixels: a decoder that meets the end too early fills the rest with black."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# Adam7: first column, first row, and the steps between them, of the seven passes (PNG specification, 8.2).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_BLOCK = 1 << 20


def holds_all_rows(stream: BinaryIO) -> bool:
    """Whether the data chunks unpack to as many bytes as the header needs; reads from the stream's position on.

    The file's structure is taken as sound (Pillow has verified it). Raises zlib.error, struct.error.
    """
    stream.read(8)
    needed, found = 0, 0
    unpacker = zlib.decompressobj()
    while head := stream.read(8):
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IHDR":
            needed = _needed(*struct.unpack(">IIBBBBB", stream.read(13)[:13]))
            stream.read(4)
        elif kind == b"IDAT":
            data = stream.read(length)
            stream.read(4)
            while data and found < needed:
                found += len(unpacker.decompress(data, _BLOCK))
                data = unpacker.unconsumed_tail
        else:
            stream.seek(length + 4, 1)
    return found >= needed


def _needed(
    width: int, height: int, depth: int, colour: int, _compression: int, _filter: int, interlace: int
) -> int:
    bits = depth * _CHANNELS.get(colour, 1)
    passes = _PASSES if interlace else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
