"""A member as an nn.Module with its weights: the network by the library that has it, wrapped to tensors in and out.

    conform zoo export resnet-18

It runs in the export's own child, as it imports torch and whichever library. `build` gets a member's name, a path of
weights and which of its sources they belong to, or a seed for random ones.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, assert_never

import torch
from torch import nn

from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.golden.module import load_weights
from sysnoise_conform.models.zoo import wrapped
from sysnoise_conform.models.zoo.member import Source, member
from sysnoise_conform.models.zoo.torchvision_beside_cpu import torchvision
from sysnoise_conform.models.zoo.unet import UNet
from sysnoise_conform.printable import one_line

_CURES = {
    "timm": "pip install --no-deps timm huggingface_hub pyyaml safetensors",
    "transformers": "pip install transformers",
    "torchaudio": "pip install --no-deps torchaudio",
    "mcunet": "pip install --no-deps mcunet",
}


def build(name: str, *, weights: str | None = None, source: int | None = None, seed: int | None = None) -> nn.Module:
    """The module of a member, in eval mode.

    `source` is the number of the one whose weights they are; None tries each in turn and takes the first that fits.
    Raises UsageError (a library that is missing), BadInput (weights that fit none).
    """
    found = member(name)
    if weights is None:
        torch.manual_seed(seed or 0)
        made = _network(found.sources[0], None)
        return wrapped.wrapped(found, made).eval()
    refusals = []
    for one in found.sources if source is None else [found.sources[source]]:
        try:
            return wrapped.wrapped(found, _loaded(one, Path(weights))).eval()
        except BadInput as err:
            refusals.append(f"{one.library}'s {one.model}: {err.message}")
    raise BadInput(f"{one_line(Path(weights).name)} holds no weights of {name}: {one_line('; '.join(refusals), 600)}")


def _loaded(source: Source, path: Path) -> nn.Module:
    if source.library == "transformers" and path.is_dir():
        return _transformers(source, path)
    made = _network(source, path)
    load_weights(made, path)
    return made


def _network(source: Source, weights: Path | None) -> nn.Module:
    """The network with fresh weights; `weights` tells where a file of its architecture lies, for who needs one."""
    arguments = dict(source.arguments)
    match source.library:
        case "torchvision":
            return _torchvision(source.model)
        case "timm":
            torchvision()
            library = _library("timm")
            if source.model == "resnet:ResNet":  # of widths that have no name
                resnet = importlib.import_module("timm.models.resnet")
                arguments["block"] = getattr(resnet, arguments["block"])
                return _module(resnet.ResNet(**arguments))
            return _module(library.create_model(source.model, pretrained=False, **arguments))
        case "transformers":
            return _transformers(source, None)
        case "torchaudio":
            return _module(_tacotron2().Tacotron2(**arguments))
        case "mcunet":
            return _mcunet(source, weights)
        case "conform":
            return UNet(**arguments)
        case _:
            assert_never(source.library)


def _torchvision(model: str) -> nn.Module:
    library = torchvision()
    method, _, backbone = model.partition(":")
    if backbone:
        return _detector(method, backbone)
    options: dict[str, Any] = {"weights": None}
    if model.startswith("deeplabv3"):  # the weights hold an auxiliary head, which is not run
        options |= {"weights_backbone": None, "num_classes": 21, "aux_loss": True}
    return _module(library.models.get_model(model, **options))


def _detector(method: str, backbone: str) -> nn.Module:
    """As torchvision's own builders make it for its COCO weights: batch normalisation is frozen and adds no epsilon."""
    torchvision()
    models = importlib.import_module("torchvision.models")
    detection = importlib.import_module("torchvision.models.detection")
    parts = importlib.import_module("torchvision.models.detection.backbone_utils")
    pyramid = importlib.import_module("torchvision.ops.feature_pyramid_network")
    frozen = importlib.import_module("torchvision.ops.misc").FrozenBatchNorm2d
    body = getattr(models, backbone)(weights=None, norm_layer=frozen)
    options: dict[str, Any] = {}
    if method == "retinanet":
        body = parts._resnet_fpn_extractor(
            body, 5, returned_layers=[2, 3, 4], extra_blocks=pyramid.LastLevelP6P7(256, 256)
        )
        made = detection.RetinaNet(body, 91)
    else:
        if backbone == "mobilenet_v2":
            body = parts._mobilenet_extractor(body, True, 6)
            generator = importlib.import_module("torchvision.models.detection.anchor_utils").AnchorGenerator
            sizes = ((32, 64, 128, 256, 512),) * 3
            options["rpn_anchor_generator"] = generator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
        else:
            body = parts._resnet_fpn_extractor(body, 5)
        made = detection.FasterRCNN(body, 91, **options)
    for each in made.modules():
        if isinstance(each, frozen):
            each.eps = 0.0
    return _module(made)


def _transformers(source: Source, folder: Path | None) -> nn.Module:
    torchvision()  # it imports what is installed of these, and fails with them
    _without_a_torchaudio_that_does_not_load()
    library = _library("transformers")
    arguments = dict(source.arguments)
    if "fastspeech2" in source.model:
        made = library.FastSpeech2ConformerWithHifiGan
        config = library.FastSpeech2ConformerWithHifiGanConfig
        arguments.pop("room")
    else:
        made, config = library.OPTForCausalLM, library.OPTConfig
    if folder is None:
        return _module(made(config(**arguments)).float())
    try:
        return _module(made.from_pretrained(str(folder), local_files_only=True, dtype=torch.float32))
    except Exception as err:  # it raises what its readers raise
        raise BadInput(f"transformers can't load {one_line(folder, 160)}: {one_line(err, 200)}") from err


def _without_a_torchaudio_that_does_not_load() -> None:
    """Its wheel is made for CUDA, too; what is None in sys.modules counts as not installed."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError):
        sys.modules["torchaudio"] = None  # type: ignore[assignment]


def _tacotron2() -> Any:
    """torchaudio's module alone: the package's own import ends where its compiled part does not load."""
    spec = PathFinder.find_spec("torchaudio")
    if spec is None or spec.origin is None:
        raise UsageError("torchaudio is not installed", hint=_CURES["torchaudio"])
    path = Path(spec.origin).parent / "models" / "tacotron2.py"
    own = importlib.util.spec_from_file_location("conform_torchaudio_tacotron2", path)
    if own is None or own.loader is None or not path.is_file():
        raise UsageError(f"this torchaudio has no {one_line(path.name)}", hint=_CURES["torchaudio"])
    made = importlib.util.module_from_spec(own)
    own.loader.exec_module(made)
    return made


def _mcunet(source: Source, weights: Path | None) -> nn.Module:
    if weights is None:
        raise UsageError(
            "MCUNet's architecture is a file that comes with its weights: there are no random ones",
            hint=f"put {source.config} beside {source.file}",
        )
    config = weights.with_suffix(".json")
    config = config if config.is_file() else weights.with_name(source.config)
    if not config.is_file():
        raise BadInput(f"MCUNet's architecture {one_line(config, 160)} is not there, beside its weights")
    torchvision()
    _library("mcunet")
    nets = importlib.import_module("mcunet.tinynas.nn.networks")
    return _module(nets.ProxylessNASNets.build_from_config(json.loads(config.read_text(encoding="utf-8"))))


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as err:
        missing = err.name or name
        raise UsageError(f"{one_line(missing, 60)} is not installed, which {name} needs" if missing != name
                         else f"{name} is not installed", hint=_CURES[name]) from err  # fmt: skip


def _module(made: Any) -> nn.Module:
    assert isinstance(made, nn.Module)
    return made
