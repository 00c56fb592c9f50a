"""Speech-like sounds out of whole numbers: letters that are vowels, buzzes, hisses or stops, of lengths by rules.

A sentence is letters and spaces. Each letter has formants and a length; how long it is hangs on its neighbours, too, as
in speech. Samples come from a phase that counts, a parabola in place of a sine, and chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sysnoise_conform.models.tiny.chance import Chance

RATE = 8000  # samples a second
HOP = 64  # samples of a frame: 8 ms
ALPHABET = " aeioumnlrszftkp"
MOST_LETTERS, MOST_FRAMES = 24, 192
_TURN = 1 << 16  # a whole period of a phase
_PITCH = 125  # hertz


@dataclass(frozen=True, slots=True)
class _Letter:
    """Formants in hertz, loudness of the voice and of the hiss (0..255), length in frames."""

    formants: tuple[int, int, int]
    voice: int
    hiss: int
    frames: int


_LETTERS: Mapping[str, _Letter] = {
    " ": _Letter((500, 1500, 2500), 0, 0, 6),
    "a": _Letter((750, 1200, 2500), 255, 0, 11), "e": _Letter((500, 1850, 2500), 235, 0, 10),
    "i": _Letter((300, 2250, 3000), 215, 0, 9), "o": _Letter((500, 900, 2400), 245, 0, 11),
    "u": _Letter((320, 800, 2250), 225, 0, 10), "m": _Letter((250, 1000, 2200), 130, 0, 7),
    "n": _Letter((250, 1700, 2600), 130, 0, 7), "l": _Letter((360, 1300, 2700), 160, 0, 6),
    "r": _Letter((420, 1300, 1600), 160, 0, 6), "s": _Letter((3200, 3500, 3800), 0, 150, 9),
    "z": _Letter((250, 3300, 3600), 70, 90, 7), "f": _Letter((1200, 2600, 3400), 0, 80, 8),
    "t": _Letter((2600, 3200, 3600), 0, 120, 4), "k": _Letter((1500, 1900, 2500), 0, 110, 5),
    "p": _Letter((500, 900, 1400), 0, 100, 4),
}  # fmt: skip
_VOWELS = "aeiou"
_STOPS = "tkp"


def sentence(seed: int, number: int) -> str:
    """Two to four words of open syllables."""
    chance = Chance(seed, 4, number)
    words = []
    for _ in range(chance.between(2, 4)):
        word = ""
        for _ in range(chance.between(1, 2)):
            word += chance.choice(ALPHABET[6:]) + chance.choice(_VOWELS)
        words.append(word + (chance.choice("nslr") if chance.below(3) == 0 else ""))
    text = " ".join(words)[:MOST_LETTERS].strip()
    while sum(lengths(text)) >= MOST_FRAMES:  # a spectrum has a frame more
        text = text[:-1].strip()
    return text


def sentences(seed: int, count: int) -> list[str]:
    """`count` sentences, no two alike."""
    found: dict[str, None] = {}
    number = 0
    while len(found) < count:
        found[sentence(seed, number)] = None
        number += 1
    return list(found)


def lengths(text: str) -> list[int]:
    """How many frames each letter lasts: more for vowels before a voiced letter and at the end, stops after a pause."""
    found = []
    for at, letter in enumerate(text):
        after = text[at + 1] if at + 1 < len(text) else ""
        frames = _LETTERS[letter].frames
        if letter in _VOWELS:
            frames += 4 if not after else 2 if after in "mnlrz" else 0 if after != " " else 1
        elif letter in _STOPS and (at == 0 or text[at - 1] == " "):
            frames += 2
        found.append(frames)
    return found


def sound(text: str) -> np.ndarray:
    """The samples, int16: of each letter HOP for each of its frames."""
    chance = Chance(5, *text.encode("ascii"))
    frames = lengths(text)
    count = sum(frames)
    voice = _smooth(np.repeat([_LETTERS[each].voice for each in text], frames))
    hiss = _smooth(np.repeat([_LETTERS[each].hiss for each in text], frames))
    tract = np.stack([
        _smooth(np.repeat([_LETTERS[each].formants[at] for each in text], frames)) for at in range(3)
    ])  # fmt: skip
    pitch = _PITCH + 20 - 40 * np.arange(count) // count  # it falls over the sentence
    step = np.repeat(pitch * _TURN // RATE, HOP)
    phase = np.cumsum(step) - step
    total = np.zeros(count * HOP, np.int64)
    for harmonic in range(1, 27):
        gain = voice * _resonance(harmonic * pitch, tract) // 255
        total += np.repeat(gain, HOP) * _wave(phase * harmonic)
    noise = chance.field(count * HOP, below=_TURN).astype(np.int64) - _TURN // 2
    middle = np.repeat(tract[1] * _TURN // RATE, HOP)
    carried = _wave(np.cumsum(middle)) * (_running(noise) >> 4) >> 12  # hiss around its second formant
    total = (total >> 10) + (np.repeat(hiss, HOP) * carried >> 8)
    return np.asarray(np.clip(total, -32768, 32767).astype(np.int16))


def _wave(phase: np.ndarray) -> np.ndarray:
    """A parabola up and one down, -16384 .. 16384: a sine but for 3 % of its third harmonic."""
    at = phase % _TURN
    half = at % (_TURN // 2)
    arch = half * (_TURN // 2 - half) >> 14
    return np.asarray(np.where(at < _TURN // 2, arch, -arch))


def _resonance(hertz: np.ndarray, tract: np.ndarray) -> np.ndarray:
    """How loud a harmonic is, 0..255: the nearer to a formant the louder, upper formants are softer."""
    found = np.zeros(hertz.shape, np.int64)
    for formant, loud, width in zip(tract, (255, 140, 80), (160, 200, 260), strict=True):
        found = np.maximum(found, loud * width * width // (width * width + (hertz - formant) ** 2))
    return np.asarray(np.where(hertz < RATE // 2 - 100, found, 0))


def _smooth(steps: np.ndarray) -> np.ndarray:
    """A mean of five frames: letters run into each other."""
    padded = np.pad(steps.astype(np.int64), 2, mode="edge")
    return np.asarray(sum(padded[at : at + len(steps)] for at in range(5)) // 5)


def _running(noise: np.ndarray) -> np.ndarray:
    """A mean of eight samples: the band that the hiss fills around its middle."""
    total = np.cumsum(np.pad(noise, (8, 0)))
    found: np.ndarray = (total[8:] - total[:-8]) >> 2
    return found
