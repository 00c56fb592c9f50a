"""all-MiniLM-L6-v2: the BERT encoder with mean pooling, written out, with its pretrained weights.

    conform export --torch sysnoise_conform.models.minilm:minilm

Network and sizes: the model's own config.json and card; BERT (arXiv:1810.04805) with exact GELU.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sysnoise_conform.models.fetch import weights_file

VOCABULARY, POSITIONS, KINDS = 30522, 512, 2
WIDTH, INNER, HEADS, LAYERS = 384, 1536, 12, 6
EPSILON = 1e-12


class _Embeddings(nn.Module):
    """Word, position and segment; every token is of segment 0."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(VOCABULARY, WIDTH)
        self.position_embeddings = nn.Embedding(POSITIONS, WIDTH)
        self.token_type_embeddings = nn.Embedding(KINDS, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        positions = self.position_embeddings.weight[: ids.shape[1]]
        result: Tensor = self.LayerNorm(self.word_embeddings(ids) + positions + self.token_type_embeddings.weight[0])
        return result


class _SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        heads = (x.shape[0], x.shape[1], HEADS, WIDTH // HEADS)
        query, key, value = (each(x).reshape(heads).transpose(1, 2) for each in (self.query, self.key, self.value))
        scores = query @ key.transpose(2, 3) / math.sqrt(WIDTH // HEADS) + bias
        mixed: Tensor = scores.softmax(-1) @ value
        return mixed.transpose(1, 2).reshape(x.shape)


class _Output(nn.Module):
    """A projection, the shortcut, LayerNorm."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        result: Tensor = self.LayerNorm(self.dense(x) + shortcut)
        return result


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": _SelfAttention(), "output": _Output(WIDTH)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, INNER)})
        self.output = _Output(INNER)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        attended = self.attention["output"](self.attention["self"](x, bias), x)
        result: Tensor = self.output(F.gelu(self.intermediate["dense"](attended)), attended)
        return result


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer() for _ in range(LAYERS))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        for each in self.layer:
            x = each(x, bias)
        return x


class MiniLM(nn.Module):
    """`input_ids` and `attention_mask` (N, T) int64 to unit vectors (N, 384)."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = _Embeddings()
        self.encoder = _Encoder()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean of the token vectors under the mask, of length 1."""
        x = self.embeddings(input_ids)
        kept = attention_mask.to(x.dtype)
        # A masked score must vanish in the softmax; the lowest number does it without Inf - Inf.
        bias = (1 - kept)[:, None, None, :] * torch.finfo(torch.float32).min
        x = self.encoder(x, bias)
        total = (x * kept[:, :, None]).sum(1)
        return F.normalize(total / kept.sum(1, keepdim=True).clamp(min=1e-9), dim=1)


def minilm() -> nn.Module:
    """The network with the weights of its package, in eval mode."""
    from safetensors.torch import load_file

    net = MiniLM()
    state = {
        name: value
        for name, value in load_file(weights_file("all-minilm-l6-v2")).items()
        if name != "embeddings.position_ids" and not name.startswith("pooler.")  # not part of a sentence's vector
    }
    net.load_state_dict(state)
    return net.eval()
