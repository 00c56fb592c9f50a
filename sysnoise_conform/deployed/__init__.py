"""Deployed files that only their runtime can load, read and checked by conform before any runtime sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sysnoise_conform.deployed import ir, tflite
from sysnoise_conform.deployed.interface import Checked, Interface, Port

__all__ = ["READERS", "Checked", "Interface", "Port"]

# Format -> its reader: path, and whether weights may be linked from elsewhere. Each raises BadModel.
READERS: dict[str, Callable[[Path, bool], Checked]] = {"ir": ir.read, "tflite": tflite.read}
