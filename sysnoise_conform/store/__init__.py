"""Goldens kept by the hash of what determines them."""

from sysnoise_conform.store.cache import Store, Usage, parse_size
from sysnoise_conform.store.entry import GoldenSample, GoldenTensor

__all__ = ["GoldenSample", "GoldenTensor", "Store", "Usage", "parse_size"]
