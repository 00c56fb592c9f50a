"""What the trainings share: prepared pictures, the optimiser's course, a seed for everything."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from sysnoise_conform.card import ImageInput
from sysnoise_conform.models.tiny.jpegs import decoded, encoded
from sysnoise_conform.models.tiny.recipe import MEAN, STD, TRAINING, Recipe
from sysnoise_conform.models.tiny.scenes import Scene
from sysnoise_conform.pictures.place import Placement, place

Draw = Callable[[int, int], Scene]


def begin(recipe: Recipe) -> torch.Generator:
    """One thread and one seed: the same order of sums on every number of cores."""
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    return torch.Generator().manual_seed(recipe.seed)


def prepared(draw: Draw, recipe: Recipe, spec: ImageInput) -> Iterator[tuple[Scene, np.ndarray, Placement]]:
    """The training scenes, each through its JPEG and the card's own way to the network's size (and the margin)."""
    assert spec.size is not None
    spec = replace(spec, size=(spec.size[0] + recipe.margin, spec.size[1] + recipe.margin))
    for number in range(recipe.training):
        scene = draw(TRAINING, number)
        placed = place(decoded(encoded(scene.pixels, scene.quality)), spec, (None, None))
        yield scene, placed.pixels, placed.placement


def tensor(pixels: np.ndarray) -> Tensor:
    """Pixels (N, height, width, 3) in the networks' units."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    scaled = (torch.from_numpy(pixels).float() / 255 - mean) / std
    return scaled.permute(0, 3, 1, 2)


def laid_out(net: nn.Module, order: torch.memory_format) -> None:
    """Weights by channels last are faster on a processor, and the same numbers."""
    net.to(memory_format=order)  # type: ignore[call-overload]


def learn(
    net: nn.Module, recipe: Recipe, random: torch.Generator, loss_of: Callable[[Tensor], Tensor], name: str
) -> None:
    """Train on every item `rounds` times; `loss_of` makes the loss of a batch of numbers."""
    spare: list[nn.Parameter] = []
    held: list[nn.Parameter] = []  # biases and norms are not drawn to zero
    for parameter in net.parameters():
        (spare if parameter.ndim < 2 else held).append(parameter)
    optimiser = torch.optim.AdamW(
        [{"params": held, "weight_decay": recipe.decay}, {"params": spare, "weight_decay": 0.0}], lr=recipe.rate
    )
    batches = recipe.training // recipe.batch
    steps, rise = recipe.rounds * batches, batches
    net.train()
    step, began = 0, time.monotonic()
    for each in range(recipe.rounds):
        order = torch.randperm(recipe.training, generator=random)
        total = 0.0
        for at in range(batches):
            share = min(1.0, (step + 1) / rise) * 0.5 * (1 + math.cos(math.pi * step / steps))
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * share
            loss = loss_of(order[at * recipe.batch : (at + 1) * recipe.batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            total += float(loss.detach())
            step += 1
        took = time.monotonic() - began
        sys.stderr.write(f"{name}: round {each + 1} of {recipe.rounds}, loss {total / batches:.3f}, {took:.0f} s\n")
        sys.stderr.flush()
    net.eval()
