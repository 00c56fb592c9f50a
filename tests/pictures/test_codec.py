"""A learned codec: whose weights are looked for here, and what comes out of its bit stream."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sysnoise_conform.case import Limits
from sysnoise_conform.interpreters import of_library
from sysnoise_conform.pictures import codec, elsewhere
from sysnoise_conform.pictures.decode import decode
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.libraries import Libraries


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(codec.NAMED, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_weights_are_known_by_the_names_of_compressais_own_files(checkpoints: Path) -> None:
    assert codec.weights() is None
    for name in ("resnet18-f37072fd.pth", "mbt2018-4-456e2af9.txt", "mbt2018-mean-3-7de4b0aa.pth.tar"):
        (checkpoints / name).touch()

    found = codec.weights()

    assert found == checkpoints / "mbt2018-mean-3-7de4b0aa.pth.tar"
    assert codec.architecture(found) == ("google", "MeanScaleHyperprior")
    assert codec.missing() == ""


def test_those_that_are_named_go_first_and_what_is_none_is_none(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkpoints / "cheng2020-anchor-6-4c1fa5b4.pth.tar").touch()
    own = tmp_path / "cheng2020-attn-1.pth"
    own.touch()
    monkeypatch.setenv(codec.NAMED, str(own))
    assert codec.weights() == own

    monkeypatch.setenv(codec.NAMED, str(tmp_path / "gone.pth"))
    assert codec.weights() is None
    assert f"no weights of a learned codec at {tmp_path / 'gone.pth'}: CONFORM_CODEC names" in codec.missing()


# The real one, with weights that are random: what it makes of a picture is none, but the way there is the whole way.

MAKE = """
import sys
from sysnoise_conform.pictures.elsewhere_child import _without_data_sets
_without_data_sets()
import torch
from compressai.models.google import FactorizedPrior
torch.manual_seed(0)
network = FactorizedPrior(8, 12)
network.update()
torch.save(network.state_dict(), sys.argv[1])
"""


def test_a_picture_goes_through_the_bit_stream_and_comes_back_in_its_size(checkpoints: Path, tmp_path: Path) -> None:
    python = of_library("compressai")
    if python is None:
        pytest.skip("compressai has an environment of its own, which is not there: conform env create compressai")
    weights = checkpoints / "bmshj2018-factorized-prior-1-random.pth.tar"
    subprocess.run([python, "-c", MAKE, weights], check=True, cwd=Path(codec.__file__).parents[2])
    picture = tmp_path / "p.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)).save(picture)

    crew = Crew(Limits(timeout_s=120.0))
    with crew, Libraries(crew, tmp_path / "logs", 1) as found, elsewhere.serving(found):
        once, again = (decode(picture, exif=False, decoder="learned") for _ in range(2))
        assert found.version("compressai").startswith(f"compressai 1.2.8, {weights.name}, sha256 ")

    assert (once.shape, once.dtype) == ((70, 90, 3), np.uint8)
    assert np.array_equal(once, again)
    assert not np.array_equal(once, decode(picture, exif=False))
