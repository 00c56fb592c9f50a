"""Capital letters as bitmaps, five columns by seven rows, drawn by hand: no font library reaches a pixel."""

from __future__ import annotations

import numpy as np

_ROWS = """
.###. ####. .#### ####. ##### ##### .###. #...# .###. ..### #...# #.... #...#
#...# #...# #.... #...# #.... #.... #...# #...# ..#.. ...#. #..#. #.... ##.##
#...# #...# #.... #...# #.... #.... #.... #...# ..#.. ...#. #.#.. #.... #.#.#
##### ####. #.... #...# ####. ####. #.### ##### ..#.. ...#. ##... #.... #.#.#
#...# #...# #.... #...# #.... #.... #...# #...# ..#.. ...#. #.#.. #.... #...#
#...# #...# #.... #...# #.... #.... #...# #...# ..#.. #..#. #..#. #.... #...#
#...# ####. .#### ####. ##### #.... .###. #...# .###. .##.. #...# ##### #...#

#...# .###. ####. .###. ####. .#### ##### #...# #...# #...# #...# #...# #####
##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# #...# #...# ....#
#.#.# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# .#.#. .#.#. ...#.
#.#.# #...# ####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#.. ..#.. ..#..
#.#.# #...# #.... #.#.# #.#.. ....# ..#.. #...# .#.#. #.#.# .#.#. ..#.. .#...
#..## #...# #.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...# ..#.. #....
#...# .###. #.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...# ..#.. #####
"""


def _glyphs() -> np.ndarray:
    halves = [half.split("\n") for half in _ROWS.strip().split("\n\n")]
    found = [[row.split()[at] for row in half] for half in halves for at in range(13)]
    return np.array([[[dot == "#" for dot in row] for row in glyph] for glyph in found])


_GLYPHS = _glyphs()


def line(text: str) -> np.ndarray:
    """A line of capital letters and spaces, bool (7, 6 * letters)."""
    found = np.zeros((7, 6 * len(text)), bool)
    for at, letter in enumerate(text):
        if letter != " ":
            found[:, 6 * at : 6 * at + 5] = _GLYPHS[ord(letter) - ord("A")]
    return found
