"""The weights of a learned codec, looked for on this machine alone: nothing is fetched.

For conform, and for the child in compressai's environment, which loads them.
"""

from __future__ import annotations

import os
from pathlib import Path

# By how the files of compressai's own model zoo begin: its module and class.
ARCHITECTURES = {
    "bmshj2018-factorized": ("google", "FactorizedPrior"),  # Ballé et al., ICLR 2018
    "bmshj2018-hyperprior": ("google", "ScaleHyperprior"),
    "mbt2018-mean": ("google", "MeanScaleHyperprior"),  # Minnen, Ballé, Toderici, NeurIPS 2018
    "mbt2018": ("google", "JointAutoregressiveHierarchicalPriors"),
    "cheng2020-anchor": ("waseda", "Cheng2020Anchor"),  # Cheng, Sun et al., CVPR 2020
    "cheng2020-attn": ("waseda", "Cheng2020Attention"),
}  # fmt: skip
SUFFIXES = (".pth.tar", ".pth", ".pt")
NAMED = "CONFORM_CODEC"


def weights() -> Path | None:
    """The file that CONFORM_CODEC names, else the last by name in PyTorch's cache of checkpoints, or None."""
    named = os.environ.get(NAMED)
    if named:
        path = Path(named).expanduser()
        return path if path.is_file() and architecture(path) else None
    here = sorted(_cache().iterdir()) if _cache().is_dir() else []
    found = [each for each in here if architecture(each) and each.is_file()]
    return found[-1] if found else None


def architecture(path: Path) -> tuple[str, str] | None:
    """The module and class whose weights a file holds, by its name; None for another."""
    fits = [each for each in ARCHITECTURES if path.name.startswith(each) and path.name.endswith(SUFFIXES)]
    return ARCHITECTURES[max(fits, key=len)] if fits else None


def missing() -> str:
    """Where weights were looked for and what would serve; "" where there are some."""
    if weights() is not None:
        return ""
    place = os.environ.get(NAMED) or str(_cache())
    return (
        f"no weights of a learned codec at {place}: {NAMED} names a file of compressai's, such as"
        " cheng2020-anchor-6.pth.tar"
    )


def _cache() -> Path:
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "torch"
    return Path(home) / "hub" / "checkpoints"
