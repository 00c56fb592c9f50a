"""EfficientNet-Lite0 with its ImageNet weights, as the nn.Module that its package defines.

conform export --torch sysnoise_conform.models.efficientnet_lite:lite0 --shape x=1,3,224,224 --out lite0.onnx
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from sysnoise_conform.models.fetch import weights_file
from sysnoise_conform.models.packages import unpacked

if TYPE_CHECKING:
    from torch import nn

_CODE = "efficientnet_lite_pytorch==0.1.0"
_CODE_SHA256 = "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41"


def lite0() -> nn.Module:
    """(N, 3, 224, 224) float32 RGB, `(x - 127) / 128`, to 1000 logits."""
    import torch

    folder = str(unpacked(_CODE, _CODE_SHA256))
    if folder not in sys.path:
        sys.path.append(folder)
    package = importlib.import_module("efficientnet_lite_pytorch")
    net: nn.Module = package.EfficientNet.from_name("efficientnet-lite0")
    state = torch.load(weights_file("efficientnet-lite0"), map_location="cpu", weights_only=True)
    net.load_state_dict(state)
    return net.eval()
