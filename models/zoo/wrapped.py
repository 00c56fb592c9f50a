"""A library's network as the export wants it: tensors in, tensors out, by the names that the member's card gives."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sysnoise_conform.models.zoo.member import Member

# COCO's categories have gaps; torchvision's classes are the categories' numbers, 0 the background.
_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
CATEGORIES = tuple(number for number in range(1, 91) if number not in _GAPS)


def wrapped(member: Member, module: nn.Module) -> nn.Module:
    """The module itself where it is of that kind already."""
    source = member.sources[0]
    match member.table:
        case "table3" if member.family == "RetinaNet":
            return _RetinaNet(module)
        case "table3":
            return _FasterRCNN(module)
        case "table4" if source.library == "torchvision":
            return _Out(module)
        case "table5":
            return _Logits(module)
        case "table10" if source.library == "torchaudio":
            return _TeacherForced(module)
        case "table10":
            return _FixedLengths(module, int(source.arguments["frames_per_token"]))
        case _:
            return module


class _Out(nn.Module):
    """Of several heads the one that is asked for."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net(x)["out"]
        return found


class _RetinaNet(nn.Module):
    """Raw scores and offsets on anchors, level by level; the card says where these lie. COCO's 80 classes alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("chosen", torch.tensor(CATEGORIES))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        net: Any = self.net
        chosen: Any = self.chosen
        maps = list(net.backbone(x).values())
        found = net.head(maps)
        return {"scores": found["cls_logits"][..., chosen], "boxes": found["bbox_regression"]}


class _FasterRCNN(nn.Module):
    """Boxes in the tensor's pixels after suppression, their scores and classes (COCO's 80, from 0)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        lookup = torch.zeros(91, dtype=torch.int64)
        lookup[list(CATEGORIES)] = torch.arange(len(CATEGORIES))
        self.register_buffer("lookup", lookup)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        from torchvision.models.detection.image_list import ImageList

        net: Any = self.net
        lookup: Any = self.lookup
        maps = net.backbone(x)
        maps = OrderedDict([("0", maps)]) if isinstance(maps, Tensor) else maps
        size = (int(x.shape[-2]), int(x.shape[-1]))
        proposals, _ = net.rpn(ImageList(x, [size]), maps)
        found = net.roi_heads(maps, proposals, [size])[0][0]
        return {"boxes": found["boxes"], "scores": found["scores"], "classes": lookup[found["labels"]]}


class _Logits(nn.Module):
    """A causal language model without its cache. What is padded behind a text is seen by nothing before it: no mask."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, input_ids: Tensor) -> Tensor:
        mask = torch.ones_like(input_ids)
        found: Tensor = self.net(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
        return found


class _FixedLengths(nn.Module):
    """FastSpeech 2 with as many frames for each token: mel (N, frames, 80), and the durations it would have chosen."""

    def __init__(self, net: nn.Module, frames: int) -> None:
        super().__init__()
        self.net = net
        self.frames = frames

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        net: Any = self.net
        mask = torch.ones_like(input_ids).unsqueeze(-2)
        hidden = net.encoder(input_ids, mask, return_dict=True)[0]
        silent = torch.zeros_like(input_ids, dtype=torch.bool).unsqueeze(-1)
        pitch, energy = net.pitch_predictor(hidden, silent), net.energy_predictor(hidden, silent)
        conv = net.duration_predictor
        logarithm = hidden.transpose(1, -1)  # its own forward rounds to whole frames, which nothing here reads
        for layer in conv.conv_layers:
            logarithm = layer(logarithm)
        durations = conv.linear(logarithm.transpose(1, -1)).squeeze(-1)
        hidden = hidden + net.energy_embed(energy) + net.pitch_embed(pitch)
        hidden = hidden.repeat_interleave(self.frames, dim=1)
        _, mel = net.speech_decoder_postnet(net.decoder(hidden, None, return_dict=True)[0])
        return {"mel": mel, "log_durations": durations}


class _TeacherForced(nn.Module):
    """Tacotron 2 along a given mel (N, 80, frames): what it would have said of each frame.

    The parts are torchaudio's; its own forward packs sequences and reads lengths out of tensors, which has no fixed
    graph, and drops out values in the Prenet even when it speaks, which makes every run another one.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, tokens: Tensor, mel: Tensor) -> dict[str, Tensor]:
        net: Any = self.net
        memory = self._memory(tokens)
        decoder = net.decoder
        frames = torch.cat([decoder._get_initial_frame(memory).unsqueeze(0), decoder._parse_decoder_inputs(mel)])
        for layer in decoder.prenet.layers:
            frames = F.relu(layer(frames))
        *state, processed = decoder._initialize_decoder_states(memory)
        mask = torch.zeros_like(tokens, dtype=torch.bool)
        mels, stops = [], []
        for at in range(mel.shape[2]):
            said, stop, *state = decoder.decode(frames[at], *state, memory, processed, mask)
            mels.append(said)
            stops.append(stop)
        before = torch.stack(mels, dim=2)
        return {"mel": before + net.postnet(before), "stop": torch.cat(stops, dim=1)}

    def _memory(self, tokens: Tensor) -> Tensor:
        net: Any = self.net
        x = net.embedding(tokens).transpose(1, 2)
        for convolution in net.encoder.convolutions:
            x = F.relu(convolution(x))
        found: Tensor = net.encoder.lstm(x.transpose(1, 2))[0]
        return found
