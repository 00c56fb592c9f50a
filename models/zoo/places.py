"""Where the weights of a member are looked for on this machine; nothing is ever fetched from elsewhere.

Given by hand, in the zoo's own folder (CONFORM_ZOO), or where the library that has them keeps what it once downloaded:
torch.hub's folder, Hugging Face's, mcunet's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sysnoise_conform.errors import UsageError
from sysnoise_conform.folders import cache_folder
from sysnoise_conform.models.zoo.member import Member, Source
from sysnoise_conform.printable import one_line

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Weights that are here, a file or a folder in its library's own layout, and which source they belong to.

    `source` is None for a file given by hand or in the zoo's folder: whichever source it fits.
    """

    path: Path
    source: Source | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """Where they were looked for, and the command that would bring them; "" where nobody has them to give."""

    looked: tuple[str, ...]
    command: str


def zoo_folder() -> Path:
    """Where a user's own weights lie, each under its member's name."""
    given = os.environ.get("CONFORM_ZOO")
    return Path(given).expanduser() if given else cache_folder() / "zoo"


def look(member: Member, given: Path | None = None) -> Found | Missing:
    """The weights of a member. Raises UsageError where `given` is not there."""
    if given is not None:
        if not given.exists():
            raise UsageError(f"there are no weights at {one_line(given, 200)}", hint="give a file that exists")
        return Found(path=given, source=None)
    looked = []
    for suffix in _SUFFIXES:
        path = zoo_folder() / f"{member.name}{suffix}"
        if path.is_file():
            return Found(path=path, source=None)
    looked.append(f"{zoo_folder() / member.name}{{{','.join(_SUFFIXES)}}}")
    for source in member.sources:
        for place in _places(source):
            if place is not None and (found := _there(place, source)) is not None:
                return Found(path=found, source=source)
            if place is not None:
                looked.append(str(place))
    return Missing(looked=tuple(looked), command=command(member))


def command(member: Member) -> str:
    """What would bring the weights on a machine with a network; "" where no library has any."""
    for source in member.sources:
        match source.library:
            case "torchvision" if source.file:
                name = source.model.replace("fasterrcnn:", "fasterrcnn_").replace("retinanet:", "retinanet_")
                name += "_fpn" if ":" in source.model else ""
                made = f"get_model({name!r}, weights={source.weights!r})"
                return f'python -c "from torchvision.models import get_model; {made}"'
            case "timm" if source.file:
                return f"hf download timm/{source.model} {source.file}"
            case "transformers":
                return f"hf download {source.model}"
            case "torchaudio":
                bundle = "TACOTRON2_GRIFFINLIM_CHAR_LJSPEECH"
                return f'python -c "from torchaudio.pipelines import {bundle} as bundle; bundle.get_tacotron2()"'
            case "mcunet":
                made = f"build_model({source.model!r})"
                return f'pip install mcunet; python -c "from mcunet.model_zoo import build_model; {made}"'
            case _:
                pass
    return ""


def missing_line(member: Member, found: Missing) -> str:
    """One line: that there are none, and where they were looked for."""
    return f"there are no weights of {member.name} on this machine: looked for {', '.join(found.looked)}"


def _places(source: Source) -> Iterator[Path | None]:
    match source.library:
        case "torchvision" | "torchaudio":
            yield torch_hub() / "checkpoints" / source.file if source.file else None
        case "timm":
            yield hugging_face() / f"models--timm--{source.model}" if source.file else None
        case "transformers":
            yield hugging_face() / f"models--{source.model.replace('/', '--')}"
        case "mcunet":
            yield Path("~/.torch/mcunet").expanduser() / source.file
        case "conform":
            yield None


def _there(place: Path, source: Source) -> Path | None:
    """The file itself, or out of Hugging Face's layout the newest snapshot that is whole."""
    if source.library not in ("timm", "transformers"):
        return place if place.is_file() else None
    snapshots = sorted(place.glob("snapshots/*"), key=lambda each: each.stat().st_mtime, reverse=True)
    for each in snapshots:
        if source.library == "timm":
            if (each / source.file).is_file():
                return each / source.file
        elif (each / "config.json").is_file() and any(
            next(each.glob(pattern), None) is not None for pattern in ("*.safetensors", "*.bin")
        ):
            return each
    return None


def torch_hub() -> Path:
    """As torch.hub.get_dir has it."""
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    return Path(home).expanduser() / "hub"


def hugging_face() -> Path:
    """As huggingface_hub.constants.HF_HUB_CACHE has it."""
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(given or os.path.join(home, "hub")).expanduser()
