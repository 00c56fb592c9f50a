"""Goldens kept by the hash of what determines them."""

from sysnoise_conform.store.cache import Store, Usage, cache_folder, parse_size
from sysnoise_conform.store.entry import GoldenSample, GoldenTensor

__all__ = ["GoldenSample", "GoldenTensor", "Store", "Usage", "cache_folder", "parse_size"]
