"""A few real photographs for demonstrations and tests, out of a package that carries them."""

from __future__ import annotations

from pathlib import Path

from sysnoise_conform.models.packages import extract

PACKAGE = "scikit-image==0.26.0"

# The scikit-image package states where each is from; all are in the public domain or CC0.
_PHOTOGRAPHS = {
    "skimage/data/astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "skimage/data/page.png": "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3",
    "skimage/data/text.png": "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1",
    "skimage/data/coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "skimage/data/rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    "skimage/data/chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
}


def photographs(folder: Path) -> Path:
    """Fill `folder` with the pictures, numbered; the first three hold text. Raises UsageError without a network."""
    names = {each: f"{number}-{Path(each).name}" for number, each in enumerate(_PHOTOGRAPHS, start=1)}
    extract(PACKAGE, _PHOTOGRAPHS, folder, names)
    return folder
