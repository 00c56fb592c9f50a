"""One member of each family through the library that has it, with random weights; left out where that is not installed.

FastSpeech 2, of which everything is large, is exported small in e2e/test_zoo_told.py.

    pip install --no-deps timm huggingface_hub pyyaml torchvision==0.28.0 torchaudio
    pip install transformers
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest

from sysnoise_conform.card import load_card
from sysnoise_conform.exporting import export_member

# member -> the modules it needs, sizes that are small, its outputs' shapes.
FAMILIES: dict[str, tuple[tuple[str, ...], dict[str, tuple[int, ...]], list[tuple[int, ...]]]] = {
    "resnet-18x0.25": (("timm", "torchvision"), {"x": (1, 3, 64, 64)}, [(1, 1000)]),
    "mobilenetv2-x0.75": (("timm", "torchvision"), {"x": (1, 3, 64, 64)}, [(1, 1000)]),
    "regnetx-400m": (("torchvision",), {"x": (1, 3, 64, 64)}, [(1, 1000)]),
    "efficientnet-b0": (("timm", "torchvision"), {"x": (1, 3, 64, 64)}, [(1, 1000)]),
    "vit-tiny": (("timm", "torchvision"), {}, [(1, 1000)]),
    "swin-tiny": (("timm", "torchvision"), {}, [(1, 1000)]),
    "deeplabv3-resnet50": (("torchvision",), {"x": (1, 3, 65, 65)}, [(1, 21, 65, 65)]),
    "retinanet-resnet34": (("torchvision",), {"x": (1, 3, 128, 128)}, [(1, 3069, 80), (1, 3069, 4)]),
    "opt-125m": (("transformers", "torchvision"), {"input_ids": (1, 8)}, [(1, 8, 50272)]),
    "tacotron2": (
        ("torchaudio",), {"tokens": (1, 8), "mask": (1, 8), "mel": (1, 80, 4)}, [(1, 80, 4), (1, 4)],
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_member_is_exported_by_its_library(name: str, tmp_path: Path) -> None:
    needs, shapes, outputs = FAMILIES[name]
    for each in needs:
        if find_spec(each) is None:
            pytest.skip(f"{each} is not installed")
    out = tmp_path / "member.onnx"

    facts = export_member(name, out=out, random_seed=0, shapes=shapes)

    assert [tuple(each["shape"]) for each in facts["outputs"]] == outputs
    assert all(each["floor_ratio"] is None or each["floor_ratio"] < 10 for each in facts["outputs"])
    card = load_card(out.with_suffix(".toml"))
    assert {each.name for each in onnx.load(out).graph.input} == set(card.shapes)


def test_the_anchors_of_a_card_are_torchvisions() -> None:
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    import numpy as np
    import torch

    from sysnoise_conform.models.zoo.build import build
    from sysnoise_conform.models.zoo.member import member
    from sysnoise_conform.tasks.detectors import made_anchors

    size = (128, 256)
    net = build("retinanet-resnet34").net
    from torchvision.models.detection.image_list import ImageList

    with torch.no_grad():
        picture = torch.zeros(1, 3, *size)
        maps = list(net.backbone(picture).values())
        (theirs,) = net.anchor_generator(ImageList(picture, [size]), maps)

    np.testing.assert_array_equal(made_anchors(member("retinanet-resnet34").card.heads, size), theirs.numpy())
