"""Real pretrained models over every real runtime: a named outcome for each, and its coverage.

Shapes are small and layers are watched where no other test here watches that kind of network, so that all of it takes
a few minutes on two cores. docs/real-models.md has the same models at larger sizes, with figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNTIMES = ("ort", "openvino", "tflite", "mnn")
CONFORMS = ("measured", "PASS")
REFUSED = ("unsupported", "INCONCLUSIVE")
ALL_CONFORM = dict.fromkeys(RUNTIMES, CONFORMS)


@dataclass(frozen=True)
class Expected:
    """A model, how it is run, and what becomes of it on each runtime."""

    model: str
    outcomes: Mapping[str, tuple[str, str]]
    arguments: tuple[str, ...] = ()
    layers: bool = True

    def __str__(self) -> str:
        return self.model


SYNTHETIC = (
    Expected("ppocr-v2-cls", ALL_CONFORM),
    Expected("ppocr-v4-rec", ALL_CONFORM, ("--shape", "x=1,3,48,64"), layers=False),
    Expected("all-minilm-l6-v2", ALL_CONFORM, layers=False),
    Expected(
        "silero-vad",
        # onnx2tf writes a file with a hole in it, which LiteRT must refuse.
        {**ALL_CONFORM, "tflite": REFUSED},
        ("--input", "sr=16000", "--shape", "input=1,576", "--shape", "state=2,1,128"),
    ),
)


def check(done, expected: Mapping[str, tuple[str, str]], *, layers: bool = True) -> None:
    """Every runtime came to the outcome that is expected of it, by a way that accounts for every layer."""
    told = done.stdout + done.stderr
    assert "Traceback" not in told
    assert {each["variant"]: (each["status"], each["verdict"]) for each in done.summary["variants"]} == expected, told
    for variant in done.summary["variants"]:
        if variant["status"] == "measured":
            found = variant["layers"]
            assert found["observable"] + len(found["unobservable"]) == found["total"] > 0
            assert (found["observable"] > 0) is layers, told
            assert all(each["why"] for each in found["unobservable"])
            assert variant["outputs"]
            assert not variant["missing_outputs"]
            assert variant["runtime"]["effective_precision"]
        else:
            assert variant["reason"].startswith("refused at "), variant["reason"]


@pytest.fixture(scope="session")
def real_photographs() -> Path:
    """A folder of real photographs, fetched from the package index once and checked."""
    from sysnoise_conform.models.photographs import photographs

    return photographs(ROOT / ".demo" / "photographs")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("expected", SYNTHETIC, ids=str)
def test_each_runtime_comes_to_a_named_outcome(conform, real_model, expected: Expected) -> None:
    done = conform(
        "run", "--model", real_model(expected.model), "--backends", ",".join(RUNTIMES), "--samples", "1",
        *expected.arguments, *(() if expected.layers else ("--no-layers",)), timeout=580,
    )

    check(done, expected.outcomes, layers=expected.layers)
    assert done.summary["inputs"]["kind"] == "synthetic"
    assert done.code == (5 if REFUSED in expected.outcomes.values() else 0)


@pytest.mark.timeout(600)
def test_a_text_detector_on_a_real_photograph_conforms_layer_by_layer(
    conform, real_model, real_photographs: Path
) -> None:
    done = conform(
        "run", "--model", real_model("ppocr-v4-det"), "--inputs", real_photographs, "--samples", "1",
        "--shape", "x=1,3,160,160", "--backends", ",".join(RUNTIMES), timeout=580,
    )

    check(done, ALL_CONFORM)
    assert done.code == 0
    assert done.summary["inputs"]["kind"] == "images"
    assert "no evidence for a release" not in done.stdout
    for variant in done.summary["variants"]:
        assert {each["name"]: each["value"] for each in variant["tasks"]}["pixel_flips"] == 0


@pytest.mark.timeout(600)
def test_a_text_detector_in_8_bits_conforms_whatever_side_a_kernel_rounds_the_halves_of_its_hard_swishes_to(
    conform, real_model, real_photographs: Path
) -> None:
    """0 + 3 in steps of 6 / 255 is 127.5 codes, of which ONNX Runtime's QLinearAdd loses the half."""
    done = conform(
        "run", "--model", real_model("ppocr-v4-det"), "--inputs", real_photographs, "--samples", "1",
        "--shape", "x=1,3,160,160", "--backends", "ort:int8,ort:int8+preset=ort_per_channel", timeout=580,
    )

    assert done.code == 0, done.stdout
    assert "departs" not in done.stdout


@pytest.mark.timeout(600)
def test_a_classifier_exported_by_ourselves_keeps_its_first_class_on_real_photographs(
    conform, real_model, real_photographs: Path
) -> None:
    done = conform(
        "run", "--model", real_model("efficientnet-lite0"), "--inputs", real_photographs, "--samples", "2",
        "--backends", ",".join(RUNTIMES), "--no-layers", timeout=580,
    )

    check(done, ALL_CONFORM, layers=False)
    assert done.code == 0
    for variant in done.summary["variants"]:
        assert {each["name"]: each["value"] for each in variant["tasks"]}["top1_flips"] == 0


@pytest.mark.data
@pytest.mark.timeout(600)
def test_an_object_detector_conforms_on_real_photographs(conform, test_data: Path) -> None:
    import sysnoise_conform.models

    card = Path(sysnoise_conform.models.__file__).parent / "cards" / "fastestdet.toml"
    done = conform(
        "run", "--model", test_data / "models" / "FastestDet.onnx", "--card", card,
        "--inputs", test_data / "coco128-val" / "images", "--samples", "2", "--backends", ",".join(RUNTIMES),
        timeout=580,
    )

    check(done, ALL_CONFORM)
    assert done.summary["inputs"]["kind"] == "images"


@pytest.mark.data
@pytest.mark.timeout(600)
def test_a_classifier_keeps_its_first_class_on_images_of_its_own_kind(conform, real_model, test_data: Path) -> None:
    done = conform(
        "run", "--model", real_model("efficientnet-lite0"), "--inputs", test_data / "imagenet-sample", "--samples", "3",
        "--backends", "ort,openvino", "--no-layers", timeout=580,
    )

    check(done, dict.fromkeys(("ort", "openvino"), CONFORMS), layers=False)
    for variant in done.summary["variants"]:
        assert {each["name"]: each["value"] for each in variant["tasks"]}["top1_flips"] == 0
