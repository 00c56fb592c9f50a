"""Networks for the tests, written out here, with seeded random weights."""

from __future__ import annotations

import itertools
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Block(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2015, figure 5, left)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18: (N, 3, H, W) float32 to (N, classes); `ceil_mode` is that of the one MaxPool."""

    def __init__(self, classes: int = 1000, *, ceil_mode: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1, ceil_mode=ceil_mode),
        )  # fmt: skip
        widths = [64, 64, 128, 256, 512]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(_Block(before, width, 1 if width == 64 else 2), _Block(width, width, 1))
                for before, width in itertools.pairwise(widths)
            )
        )
        self.head = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


class Fpn(nn.Module):
    """A small feature-pyramid detector: (N, 3, H, W) to scores (N, A, 4) and boxes (N, A, 4)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.SiLU())
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.SiLU()) for _ in range(3)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(3))
        self.scores = nn.Conv2d(width, 4, 3, 1, 1)
        self.boxes = nn.Conv2d(width, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        levels = []
        x = self.stem(x)
        for stage in self.down:
            x = stage(x)
            levels.append(x)
        merged = [self.lateral[2](levels[2])]
        for level, lateral in zip(levels[1::-1], (self.lateral[1], self.lateral[0]), strict=True):
            up = F.interpolate(merged[0], size=level.shape[-2:], mode="nearest")
            merged.insert(0, lateral(level) + up)
        scores = torch.cat([self.scores(each).flatten(2) for each in merged], 2).transpose(1, 2)
        boxes = torch.cat([self.boxes(each).flatten(2) for each in merged], 2).transpose(1, 2)
        return torch.sigmoid(scores), torch.exp(boxes)


class _Layer(nn.Module):
    """Pre-norm self-attention and a gated feed-forward layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.second_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = (
            each.reshape(n, length, self.heads, -1).transpose(1, 2)
            for each in self.projection(self.first_norm(x)).chunk(3, -1)
        )
        attended = torch.softmax(q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5 + mask, -1) @ v
        x = x + self.out(attended.transpose(1, 2).reshape(n, length, width))
        return x + self.down(F.gelu(self.up(self.second_norm(x))))


class LanguageModel(nn.Module):
    """A small causal transformer: ids (N, L) int64 to logits (N, L, vocabulary)."""

    def __init__(self, vocabulary: int = 128, width: int = 64, layers: int = 2, longest: int = 64) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(longest, width)
        self.layers = nn.ModuleList(_Layer(width, 4) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        x = self.tokens(ids) + self.places(torch.arange(length))
        # A mask of the lowest float, as many exported transformers have it.
        mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1).to(x.dtype)
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(self.norm(x))


def _seeded(build: type[nn.Module], seed: int, **options: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = build(**options)
        for each in module.modules():
            if isinstance(each, nn.BatchNorm2d):  # as after training: no running statistic at its start value
                nn.init.uniform_(each.running_mean, -0.2, 0.2)
                nn.init.uniform_(each.running_var, 0.5, 1.5)
                nn.init.uniform_(each.weight, 0.5, 1.0)
                nn.init.uniform_(each.bias, -0.1, 0.1)
    return module.eval()


def resnet18(*, seed: int = 0, ceil_mode: bool = False) -> nn.Module:
    """A ResNet-18 with seeded random weights."""
    return _seeded(ResNet18, seed, ceil_mode=ceil_mode)


def fpn(*, seed: int = 0) -> nn.Module:
    """A feature-pyramid detector with seeded random weights."""
    return _seeded(Fpn, seed)


def lm(*, seed: int = 0) -> nn.Module:
    """A causal transformer with seeded random weights."""
    return _seeded(LanguageModel, seed)


def exported(module: nn.Module, example: Tensor, path: Path, *, opset: int = 20) -> onnx.ModelProto:
    """The module exported to `path` by torch.onnx's dynamo exporter, weights inside."""
    torch.onnx.export(
        module, (example,), str(path), dynamo=True, opset_version=opset, external_data=False, verbose=False
    )
    return onnx.load(path)
