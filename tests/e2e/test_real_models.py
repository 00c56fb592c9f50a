"""Real pretrained models over every real runtime: a verdict for each, with its coverage."""

from __future__ import annotations

from pathlib import Path

import pytest

RUNTIMES = ("ort", "openvino", "tflite", "mnn")


def verdicts(done) -> dict[str, tuple[str, str]]:
    return {each["variant"]: (each["status"], each["verdict"]) for each in done.summary["variants"]}


def coverage_adds_up(done) -> bool:
    return all(
        each["layers"]["observable"] + len(each["layers"]["unobservable"]) == each["layers"]["total"] > 0
        for each in done.summary["variants"]
        if each["status"] == "measured"
    )


@pytest.mark.timeout(600)
def test_a_text_detector_conforms_everywhere(conform, real_model) -> None:
    model = real_model("ppocr-v4-det")
    done = conform(
        "run", "--model", model, "--backends", ",".join(RUNTIMES), "--shape", "x=1,3,160,160", "--samples", "2",
        timeout=580,
    )

    assert done.code == 0, done.stdout + done.stderr
    assert verdicts(done) == dict.fromkeys(RUNTIMES, ("measured", "PASS"))
    assert coverage_adds_up(done)


@pytest.mark.timeout(600)
def test_a_classifier_exported_by_ourselves_conforms_everywhere(conform, real_model) -> None:
    model = real_model("efficientnet-lite0")
    done = conform("run", "--model", model, "--backends", ",".join(RUNTIMES), "--samples", "1", timeout=580)

    assert done.code == 0, done.stdout + done.stderr
    assert coverage_adds_up(done)


@pytest.mark.timeout(600)
def test_a_sentence_encoder_gets_a_verdict_on_each_runtime(conform, real_model) -> None:
    model = real_model("all-minilm-l6-v2")
    done = conform("run", "--model", model, "--backends", ",".join(RUNTIMES), "--samples", "2", timeout=580)

    assert verdicts(done)["ort"] == ("measured", "PASS"), done.stdout + done.stderr
    assert verdicts(done)["openvino"] == ("measured", "PASS")
    assert set(verdicts(done)) == set(RUNTIMES)
    assert coverage_adds_up(done)


@pytest.mark.timeout(600)
def test_a_recurrent_audio_model_gets_a_verdict_on_each_runtime(conform, real_model) -> None:
    model = real_model("silero-vad")
    done = conform(
        "run", "--model", model, "--backends", ",".join(RUNTIMES), "--input", "sr=16000", "--shape", "input=1,576",
        "--shape", "state=2,1,128", timeout=580,
    )

    assert verdicts(done)["ort"] == ("measured", "PASS"), done.stdout + done.stderr
    assert set(verdicts(done)) == set(RUNTIMES)
    assert coverage_adds_up(done)
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.data
@pytest.mark.timeout(600)
def test_an_object_detector_conforms_on_real_photographs(conform, test_data: Path, tmp_path: Path) -> None:
    import sysnoise_conform.models

    card = Path(sysnoise_conform.models.__file__).parent / "cards" / "fastestdet.toml"
    done = conform(
        "run", "--model", test_data / "models" / "FastestDet.onnx", "--card", card,
        "--inputs", test_data / "coco128-val" / "images", "--samples", "4", "--backends", ",".join(RUNTIMES),
        timeout=580,
    )

    assert done.summary["inputs"]["kind"] == "images"
    assert verdicts(done) == dict.fromkeys(RUNTIMES, ("measured", "PASS")), done.stdout + done.stderr
    assert coverage_adds_up(done)


@pytest.mark.data
@pytest.mark.timeout(600)
def test_a_classifier_keeps_its_top_1_on_real_photographs(conform, real_model, test_data: Path) -> None:
    done = conform(
        "run", "--model", real_model("efficientnet-lite0"), "--inputs", test_data / "imagenet-sample", "--samples", "8",
        "--backends", "ort,openvino", "--no-layers", timeout=580,
    )

    assert done.code == 0, done.stdout + done.stderr
    assert "top1_flips" in (done.out / "summary.json").read_text()
