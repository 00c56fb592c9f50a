"""The networks that speak, with a fixed graph: what is padded behind a text or the last frame touches nothing."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FastSpeech2(nn.Module):
    """transformers' FastSpeech 2 with its HiFi-GAN, with room for so many frames.

    sound (N, samples), and the frames of each token, as it chooses them: what lies behind their sum counts for nothing.
    Its own forward repeats each token as often as the values say, which has no fixed graph; here each frame looks up
    whose it is. The features between the two were trained together with the vocoder: no recording has such.
    """

    def __init__(self, net: nn.Module, room: int) -> None:
        super().__init__()
        self.net = net
        self.room = room
        parts: Any = net
        self._tokens, self._frames = _Counting(), _Counting()
        acoustic = parts.model
        for each in (acoustic.encoder, acoustic.duration_predictor, acoustic.pitch_predictor, acoustic.energy_predictor,
                     acoustic.pitch_embed, acoustic.energy_embed):  # fmt: skip
            self._tokens.before_each_convolution(each)
        for each in (acoustic.decoder, acoustic.speech_decoder_postnet, parts.vocoder):
            self._frames.before_each_convolution(each)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """`attention_mask` is 1 for a token, 0 for padding."""
        net: Any = self.net
        acoustic = net.model
        kept = attention_mask.unsqueeze(-2)
        hidden = acoustic.encoder(input_ids, self._tokens.set(kept), return_dict=True)[0]
        pitch, energy = acoustic.pitch_predictor(hidden), acoustic.energy_predictor(hidden)
        durations = self._durations(hidden) * attention_mask
        durations = torch.where(durations.sum() > 0, durations, attention_mask.to(durations.dtype))
        hidden = hidden + acoustic.energy_embed(energy) + acoustic.pitch_embed(pitch)
        ends = durations.cumsum(-1).unsqueeze(-2)  # (N, 1, tokens)
        frames = torch.arange(self.room).reshape(1, -1, 1).to(ends.dtype)
        owner = (frames >= ends).sum(-1).clamp(max=input_ids.shape[-1] - 1)  # (N, room)
        hidden = hidden.gather(1, owner.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        counted = (frames < ends[..., -1:]).squeeze(-1).to(torch.int64).unsqueeze(-2)
        hidden = acoustic.decoder(hidden, self._frames.set(counted), return_dict=True)[0]
        _, mel = acoustic.speech_decoder_postnet(hidden)
        return {"sound": net.vocoder(mel), "durations": durations}

    def _durations(self, hidden: Tensor) -> Tensor:
        """As the predictor's own forward has them, which makes whole numbers of them: those have no float64."""
        net: Any = self.net
        predictor = net.model.duration_predictor
        hidden = hidden.transpose(1, -1)
        for layer in predictor.conv_layers:
            hidden = layer(hidden)
        logarithm = predictor.linear(hidden.transpose(1, -1)).squeeze(-1)
        return torch.round(logarithm.exp() - predictor.log_domain_offset).clamp(min=0)


class _Counting:
    """Of a row of places those that count, (N, 1, places): the others are silenced before each convolution.

    No module, as an export takes a tensor that changes on one for a fault.
    """

    def __init__(self) -> None:
        self._kept: Tensor | None = None

    def set(self, kept: Tensor) -> Tensor:
        """From here on; the same mask."""
        self._kept = kept
        return kept

    def before_each_convolution(self, module: nn.Module) -> None:
        """Of a module; one that runs on several steps for each place (a vocoder's) keeps or silences them all."""
        for each in module.modules():
            if isinstance(each, nn.Conv1d | nn.ConvTranspose1d):
                each.register_forward_pre_hook(lambda _, arguments: (self._silenced(arguments[0]),))

    def _silenced(self, x: Tensor) -> Tensor:
        assert self._kept is not None
        steps = x.shape[-1] // self._kept.shape[-1]
        kept = self._kept.to(x.dtype)
        return x * (kept if steps == 1 else kept.repeat_interleave(steps, dim=-1))


class TeacherForced(nn.Module):
    """torchaudio's Tacotron 2 along a given mel (N, 80, frames): what it would have said of each frame.

    The parts are torchaudio's; its own forward packs sequences and reads lengths out of tensors, which has no fixed
    graph, and drops out values in the Prenet even when it speaks, which makes every run another one.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        encoder: Any = net.encoder
        both = encoder.lstm
        self.ahead, self.back = (
            nn.LSTM(both.input_size, both.hidden_size, batch_first=True).to(both.weight_ih_l0.dtype) for _ in range(2)
        )
        for one, suffix in ((self.ahead, ""), (self.back, "_reverse")):
            one.load_state_dict({name: getattr(both, name + suffix) for name in one.state_dict()})
        del encoder.lstm

    def forward(self, tokens: Tensor, mask: Tensor, mel: Tensor) -> dict[str, Tensor]:
        """`mask` is 1 for a token, 0 for padding."""
        net: Any = self.net
        memory = self._memory(tokens, mask)
        decoder = net.decoder
        frames = torch.cat([decoder._get_initial_frame(memory).unsqueeze(0), decoder._parse_decoder_inputs(mel)])
        for layer in decoder.prenet.layers:
            frames = F.relu(layer(frames))
        *state, processed = decoder._initialize_decoder_states(memory)
        padded = mask == 0
        mels, stops = [], []
        for at in range(mel.shape[2]):
            said, stop, *state = decoder.decode(frames[at], *state, memory, processed, padded)
            mels.append(said)
            stops.append(stop)
        before = torch.stack(mels, dim=2)
        return {"said": before + net.postnet(before), "stop": torch.cat(stops, dim=1)}

    def _memory(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The encoder. Its LSTM's way back begins at each text's own end, as with packed sequences."""
        net: Any = self.net
        x = net.embedding(tokens).transpose(1, 2)
        kept = mask.unsqueeze(1).to(x.dtype)
        for convolution in net.encoder.convolutions:
            x = F.relu(convolution(x * kept))
        x = x.transpose(1, 2)
        places = torch.arange(tokens.shape[1]).unsqueeze(0)
        mirrored = mask.sum(1, keepdim=True) - 1 - places
        turned = torch.where(mirrored >= 0, mirrored, places).unsqueeze(-1)  # its own inverse
        back = self.back(_picked(x, turned))[0]
        return torch.cat([self.ahead(x)[0], _picked(back, turned)], dim=-1)


def _picked(x: Tensor, places: Tensor) -> Tensor:
    return x.gather(1, places.expand(-1, -1, x.shape[-1]))
