"""EXIF orientation: how a picture that was stored as the sensor saw it is turned upright."""

from __future__ import annotations

import numpy as np


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """`pixels` (height, width, ...) upright, by the orientation 1 to 8 of EXIF 2.32 4.6.4; else as they are."""
    match orientation:
        case 2:
            turned = pixels[:, ::-1]
        case 3:
            turned = pixels[::-1, ::-1]
        case 4:
            turned = pixels[::-1]
        case 5:
            turned = pixels.swapaxes(0, 1)
        case 6:
            turned = np.rot90(pixels, -1)
        case 7:
            turned = pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            turned = np.rot90(pixels, 1)
        case _:
            return pixels
    return np.ascontiguousarray(turned)
