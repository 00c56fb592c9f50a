"""The networks that speak compute what their libraries compute, and what is padded changes nothing of it."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from sysnoise_conform.models.zoo import build
from sysnoise_conform.models.zoo.speaking import FastSpeech2, TeacherForced


def padded(ids: torch.Tensor, to: int) -> tuple[torch.Tensor, torch.Tensor]:
    more = to - ids.shape[1]
    mask = torch.cat([torch.ones_like(ids), torch.zeros(1, more, dtype=ids.dtype)], dim=1)
    return torch.cat([ids, torch.zeros(1, more, dtype=ids.dtype)], dim=1), mask


def unsettled(net: torch.nn.Module) -> torch.nn.Module:
    """Statistics that make something of silence, as trained ones do."""
    for each in net.modules():
        if isinstance(each, torch.nn.BatchNorm1d):
            each.running_mean.normal_()
            each.bias.data.normal_()
    return net.eval()


@torch.no_grad()
def test_fastspeech2_says_what_transformers_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("transformers", "torchvision"):
        if find_spec(each) is None:
            pytest.skip(f"{each} is not installed")
    monkeypatch.setitem(sys.modules, "torchaudio", None)  # it does not load; put back afterwards
    build.torchvision()
    build._without_a_torchaudio_that_does_not_load()
    library: Any = importlib.import_module("transformers")
    torch.manual_seed(0)
    parts = ("hidden_size", "encoder_linear_units", "decoder_linear_units", "speech_decoder_postnet_units",
             "duration_predictor_channels", "energy_predictor_channels", "pitch_predictor_channels")  # fmt: skip
    small = dict.fromkeys(parts, 16) | {"encoder_layers": 1, "decoder_layers": 1}
    vocoder = {"upsample_initial_channel": 16, "upsample_rates": [4, 2], "upsample_kernel_sizes": [8, 4]}
    config = library.FastSpeech2ConformerWithHifiGanConfig(model_config=small, vocoder_config=vocoder)
    net = unsettled(library.FastSpeech2ConformerWithHifiGan(config))
    net.model.duration_predictor.linear.bias.data.fill_(1.2)
    net.vocoder.conv_pre.weight.data.mul_(100)
    ids = torch.randint(1, 78, (1, 7))
    theirs = net(ids)

    ours = FastSpeech2(net, room=64)(*padded(ids, 12))

    frames = int(theirs.duration_outputs.sum())
    assert 0 < frames < 64
    assert ours["durations"][0, :7].tolist() == theirs.duration_outputs[0].tolist()
    assert ours["durations"].sum() == frames
    assert ours["sound"].shape == (1, 64 * 8)
    size = theirs.waveform.abs().max()
    torch.testing.assert_close(ours["sound"][:, : 8 * frames], theirs.waveform, rtol=0, atol=1e-5 * float(size))


@torch.no_grad()
def test_tacotron2_says_what_torchaudio_says_of_a_given_mel() -> None:
    if find_spec("torchaudio") is None:
        pytest.skip("torchaudio is not installed")
    torch.manual_seed(0)
    sizes = dict.fromkeys(("encoder_embedding_dim", "symbol_embedding_dim", "decoder_rnn_dim", "attention_rnn_dim"), 32)
    net = unsettled(build._tacotron2().Tacotron2(n_symbol=38, **sizes))
    prenet: Any = net.decoder.prenet

    def without_dropout(x: torch.Tensor) -> torch.Tensor:
        for layer in prenet.layers:
            x = torch.relu(layer(x))
        return x

    prenet.forward = without_dropout
    tokens, mel = torch.randint(1, 38, (1, 9)), torch.randn(1, 80, 11)
    _, said, stop, _ = net(tokens, torch.tensor([9]), mel, torch.tensor([11]))

    ours = TeacherForced(net)(*padded(tokens, 13), mel)

    torch.testing.assert_close(ours["said"], said, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours["stop"], stop, rtol=1e-4, atol=1e-5)
