"""Where input tensors come from: files, images under a card, a seed."""

from sysnoise_conform.inputs.loading import load_samples
from sysnoise_conform.inputs.samples import Samples

__all__ = ["Samples", "load_samples"]
