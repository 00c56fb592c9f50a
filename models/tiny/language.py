"""A causal transformer over bytes: (N, T) int64, at most 128 of them, to logits (N, T, 128)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sysnoise_conform.models.tiny.stories import LONGEST

BYTES = 128
WIDTH, HEADS, LAYERS = 64, 4, 3
NEAR = 4  # bytes that a place begins with: letters alone say little, and what to copy is found by them


class _Layer(nn.Module):
    """Attention and a network of two layers, each behind a norm and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.LayerNorm(WIDTH)
        self.asks = nn.Linear(WIDTH, 3 * WIDTH)
        self.mixes = nn.Linear(WIDTH, WIDTH)
        self.between = nn.LayerNorm(WIDTH)
        self.wide = nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        heads = (x.shape[0], x.shape[1], HEADS, WIDTH // HEADS)
        query, key, value = (
            each.reshape(heads).transpose(1, 2) for each in self.asks(self.before(x)).split(WIDTH, dim=-1)
        )
        weights = (query @ key.transpose(2, 3) / math.sqrt(WIDTH // HEADS) + bias).softmax(-1)
        x = x + self.mixes((weights @ value).transpose(1, 2).reshape(x.shape))
        y: Tensor = self.narrow(F.relu(self.wide(self.between(x))))
        return x + y


class Language(nn.Module):
    """The transformer; what a byte is and what is expected share their table."""

    bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.bytes = nn.Embedding(BYTES, WIDTH)
        self.places = nn.Embedding(LONGEST, WIDTH)
        self.near = nn.Conv1d(WIDTH, WIDTH, NEAR)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.last = nn.LayerNorm(WIDTH)
        for each in (self.bytes, self.places):
            nn.init.normal_(each.weight, std=0.05)
        # A finite number: what is masked vanishes in the softmax without Inf - Inf, and float16 still holds it.
        future = torch.full((LONGEST, LONGEST), -10000.0).triu(1)
        self.register_buffer("bias", future, persistent=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """What may follow each byte."""
        length = input_ids.shape[1]
        x = self.bytes(input_ids)
        x = x + self.near(F.pad(x.transpose(1, 2), (NEAR - 1, 0))).transpose(1, 2) + self.places.weight[:length]
        for each in self.layers:
            x = each(x, self.bias[:length, :length])
        return F.linear(self.last(x), self.bytes.weight)
