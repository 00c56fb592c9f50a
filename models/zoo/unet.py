"""U-Net (Ronneberger et al. 2015), with padded convolutions, batch normalisation and upsampling in place of transposed
convolutions, as segmentation code commonly has it: the paper's Table 4 speaks of its upsampling.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UNet(nn.Module):
    """(N, 3, H, W), sides multiples of 16, to scores (N, classes, H, W)."""

    def __init__(self, classes: int = 21, width: int = 64) -> None:
        super().__init__()
        widths = [width << level for level in range(5)]
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([3, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(_twice(a + b, a) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The scores."""
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            kept.append(x)
        x = kept.pop()
        for block in self.up:
            x = block(torch.cat([kept.pop(), F.interpolate(x, scale_factor=2.0, mode="nearest")], dim=1))
        found: Tensor = self.head(x)
        return found


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
