"""Trains tiny-tts."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.models.tiny.recipe import HELD_OUT, SPEAKER, SPECTRUM, TRAINING
from sysnoise_conform.models.tiny.speaker import Speaker
from sysnoise_conform.models.tiny.speech import ALPHABET, MOST_FRAMES, MOST_LETTERS, lengths, sentences, sound
from sysnoise_conform.models.tiny.training import begin, learn
from sysnoise_conform.noise.audio import log_mel


def train() -> Speaker:
    """The network, trained, in eval mode; no sentence that is held out is heard."""
    random = begin(SPEAKER)
    held = set(sentences(HELD_OUT, SPEAKER.held_out))
    texts = [each for each in sentences(TRAINING, SPEAKER.training + len(held)) if each not in held]
    heard = [example(each) for each in texts[: SPEAKER.training]]
    ids, lasting, mel = (torch.from_numpy(np.stack(each)) for each in zip(*heard, strict=True))
    net = Speaker()
    with torch.no_grad():
        net.head.bias.copy_(mel.mean((0, 1)))

    def loss_of(chosen: Tensor) -> Tensor:
        read, logarithms = net.understood(ids[chosen])
        frames = lasting[chosen]
        there = frames > 0
        timing = F.mse_loss(logarithms[there], frames[there].log())
        counted = torch.arange(MOST_FRAMES) < frames.sum(1, keepdim=True)
        wrong = net.spoken(read, frames) - mel[chosen]
        return wrong[counted].square().mean() + timing

    learn(net, SPEAKER, random, loss_of, "tiny-tts")
    return net


def example(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers of the letters, their frames, the features. Centred frames are one more: the last letter has it."""
    ids, lasting = np.zeros(MOST_LETTERS, np.int64), np.zeros(MOST_LETTERS, np.float32)
    ids[: len(text)] = [1 + ALPHABET.index(each) for each in text]
    lasting[: len(text)] = lengths(text)
    lasting[len(text) - 1] += 1
    mel = np.zeros((MOST_FRAMES, SPECTRUM.mel.bands), np.float32)
    found = log_mel(sound(text) / 32768, SPECTRUM)
    mel[: len(found)] = found
    return ids, lasting, mel
