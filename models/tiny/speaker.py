"""Text to log-mel features, as FastSpeech does it (Ren et al. 2019): letters, their lengths, frames, all at once."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sysnoise_conform.models.tiny.recipe import SPECTRUM
from sysnoise_conform.models.tiny.speech import ALPHABET, MOST_FRAMES, MOST_LETTERS

WIDTH = 64
PLACES = 3  # numbers that say where a frame lies: in its letter from both sides, in the sentence
SILENCE = math.log(SPECTRUM.floor)


class _Convolution(nn.Module):
    """Five neighbours, a norm over channels, a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(WIDTH, WIDTH, 5, padding=2)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(F.relu(self.layer(x.transpose(1, 2))).transpose(1, 2))
        return x + y


class Speaker(nn.Module):
    """`input_ids` (N, 24), 0 behind the text, to `mel` (N, 192, 40) and `frames` (N, 24), whole numbers as floats.

    In training its two halves are called apart, with the true lengths between them.
    """

    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(1 + len(ALPHABET), WIDTH)
        self.read = nn.Sequential(_Convolution(), _Convolution())
        self.length = nn.Sequential(_Convolution(), nn.Linear(WIDTH, 1))
        self.enter = nn.Linear(WIDTH + PLACES, WIDTH)
        self.speak = nn.Sequential(_Convolution(), _Convolution(), _Convolution())
        self.head = nn.Linear(WIDTH, SPECTRUM.mel.bands)
        self.register_buffer("places", torch.arange(MOST_FRAMES).float(), persistent=False)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        """`mel` and `frames`."""
        read, logarithms = self.understood(input_ids)
        frames = torch.floor(torch.exp(logarithms) + 0.5) * (input_ids > 0)
        return {"mel": self.spoken(read, frames), "frames": frames}

    def understood(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """What is known of each letter (N, 24, WIDTH), and the logarithm of its frames (N, 24)."""
        read = self.read(self.letters(input_ids))
        return read, self.length(read).squeeze(-1)

    def spoken(self, read: Tensor, frames: Tensor) -> Tensor:
        """The features of each frame, silence behind the last."""
        ends = frames.cumsum(1)
        at = self.places[None, :]
        letter = (at[:, :, None] >= ends[:, None, :]).long().sum(-1).clamp(max=MOST_LETTERS - 1)
        own, end = frames.gather(1, letter), ends.gather(1, letter)
        left = (end - at) / own.clamp(min=1)
        total = ends[:, -1:].clamp(min=1)
        where = torch.stack([left.clamp(-1, 1), (1 - left).clamp(-1, 1), (at / total).clamp(max=1)], -1)
        spread = read.gather(1, letter[:, :, None].expand(-1, -1, WIDTH))
        x = self.speak(F.relu(self.enter(torch.cat([spread, where], -1))))
        spoken: Tensor = torch.where((at < ends[:, -1:])[:, :, None], self.head(x), SILENCE)
        return spoken
