"""`conform noise` on speech: real runtimes, errors that are known beforehand, noises of the front end, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
from conftest import CACHE, ROOT, Conform, Done
from told_samples import BANDS, HOP, N_FFT, RATE, SPEECH, copier, led, recordings, save_wave, sound, speaker

from sysnoise_conform.cli import invoke
from sysnoise_conform.noise.audio import FrontEnd, front_end, log_mel
from sysnoise_conform.noise.mel import Mel
from sysnoise_conform.noise.stft import Stft

SCHEMA = json.loads((ROOT / "reports" / "schema" / "noise.json").read_text())
BASE = FrontEnd(stft=Stft(n_fft=N_FFT, hop=HOP), mel=Mel(bands=BANDS, rate=RATE))


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*next(iter(fakes.as_environment().items())))


def report(done: Done) -> dict[str, Any]:
    jsonschema = pytest.importorskip("jsonschema")
    found: dict[str, Any] = json.loads((done.out / "noise.json").read_text())
    jsonschema.validate(found, SCHEMA)
    return found


def cells(found: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(each["axis"], each["level"], each["backend"]): each for each in found["cells"]}


def asked(model: Path, data: Path, *more: str | Path, noise: str, backends: str = "exact") -> list[str | Path]:
    base = [] if "--baseline" in more else ["--baseline", "exact"]
    return ["noise", "-m", model, "-d", data, "-b", backends, "-x", noise, "--out", "out", *base, *more]


def test_features_that_are_read_meet_the_noises_of_the_front_end(conform: Conform, tmp_path: Path) -> None:
    sounds = recordings(tmp_path / "data")

    done = conform(*asked(
        copier(tmp_path / "copy.onnx"), tmp_path / "data", "--baseline", "ort", "--combine", "pipeline",
        backends="ort,openvino:fp32",
        noise="stft=conv1d-int8,stft_window=hamming-periodic,mel_scale=htk,precision=fp16",
    ))  # fmt: skip

    found = report(done)
    assert (found["metric"], found["noun"], found["unit"], found["margin"]) == ("mel_mse", "sound", "nats²", 0.01)
    assert found["baseline"]["mel_mse"] == pytest.approx(0.01, rel=1e-4)  # everything is said .1 larger
    assert found["baseline"]["spectral_distance"] == pytest.approx(20 * np.log10(np.exp(0.1)), rel=1e-4)
    assert found["baseline"]["duration_off"] == 0
    for axis, level in (("stft_window", "hamming-periodic"), ("mel_scale", "htk")):
        noisy = front_end(BASE, {axis: level})
        wanted = np.mean([np.mean((log_mel(e, noisy) + 0.1 - log_mel(e, BASE)) ** 2) for e in sounds])
        for backend in ("ort", "openvino:fp32"):
            cell = cells(found)[axis, level, backend]
            assert cell["value"] == pytest.approx(wanted, rel=1e-3)
            assert cell["delta"] == pytest.approx(wanted - 0.01, rel=1e-2)
    assert cells(found)["mel_scale", "htk", "ort"]["verdict"] == "FAIL"
    assert abs(cells(found)["precision", "fp16", "ort"]["delta"]) < 1e-3
    # A larger error is a loss: the worst level of the larger ones is put on first and last.
    assert {each["level"] for each in found["combined"]} >= {"htk", "hamming-periodic"}
    assert done.code == 1
    assert "0.0100" in done.stdout


def test_a_text_is_held_against_its_recording(conform: Conform, tmp_path: Path) -> None:
    """Each byte is said as three frames of its own; the recordings are of other features and lengths."""
    table = np.random.default_rng(3).standard_normal((256, BANDS)) - 4
    texts, sounds = ("ab", "cab"), [sound(0.06, 1), sound(0.08, 2)]
    for at, each in enumerate(sounds):
        save_wave(tmp_path / "data" / "wavs" / f"{at}.wav", each)
    (tmp_path / "data" / "metadata.csv").write_text("".join(f"{at}|{text}\n" for at, text in enumerate(texts)))

    found = report(conform(*asked(
        speaker(tmp_path / "say.onnx", table, repeat=3), tmp_path / "data", "--combine", "none",
        noise="stft_padding=constant,precision=fp16",
    )))  # fmt: skip

    def wanted(how: FrontEnd) -> tuple[float, float]:
        errors, off = [], []
        for text, each in zip(texts, sounds, strict=True):
            said, truth = np.repeat(table[list(text.encode())], 3, axis=0), log_mel(each, how)
            common = min(len(said), len(truth))
            errors.append(np.mean((said[:common] - truth[:common]) ** 2))
            off.append(abs(len(said) - len(truth)) * HOP / RATE)
        return float(np.mean(errors)), float(np.mean(off))

    error, off = wanted(BASE)
    assert off > 0
    assert found["data"] == "LJSpeech"
    assert found["baseline"]["mel_mse"] == pytest.approx(error, rel=1e-4)
    assert found["baseline"]["duration_off"] == pytest.approx(off, rel=1e-4)
    noisy, _ = wanted(front_end(BASE, {"stft_padding": "constant"}))
    assert cells(found)["stft_padding", "constant", "exact"]["value"] == pytest.approx(noisy, rel=1e-4)


def test_a_model_that_is_led_along_the_recording_is_judged_as_far_as_it_reads(
    conform: Conform, tmp_path: Path
) -> None:
    """It reads 8 frames of each: one recording is longer, one shorter."""
    sounds = [sound(0.09, 1), sound(0.04, 2)]
    for at, each in enumerate([*sounds, sound(0.05, 3)]):
        save_wave(tmp_path / "data" / "wavs" / f"{at}.wav", each)
    (tmp_path / "data" / "metadata.csv").write_text("0|abc\n1|de\n2|too long\n")

    found = report(conform(*asked(
        led(tmp_path / "led.onnx", frames=8), tmp_path / "data", "--combine", "none", "--on-bad", "skip",
        noise="stft_window=hamming-periodic,precision=fp16", backends="ort",
    )))  # fmt: skip

    assert "has 8 tokens, and the model reads 3" in json.dumps(found["problems"])
    assert sorted(len(log_mel(each, BASE)) for each in sounds) == [6, 12]
    assert found["baseline"]["mel_mse"] == pytest.approx(0.01, rel=1e-4)
    assert found["baseline"]["duration_off"] == 0
    noisy = front_end(BASE, {"stft_window": "hamming-periodic"})  # changes what the model is fed
    wanted = np.mean([np.mean((log_mel(e, noisy)[:8] + 0.1 - log_mel(e, BASE)[:8]) ** 2) for e in sounds])
    assert cells(found)["stft_window", "hamming-periodic", "ort"]["value"] == pytest.approx(wanted, rel=1e-3)


def test_numbers_that_are_none_are_as_far_off_as_can_be(conform: Conform, tmp_path: Path) -> None:
    recordings(tmp_path / "data")

    done = conform(*asked(
        copier(tmp_path / "copy.onnx"), tmp_path / "data", "--combine", "none", noise="precision=fp16",
        backends="makes_nan",
    ))  # fmt: skip

    cell = cells(report(done))["backend", "makes_nan", "makes_nan"]
    assert (cell["verdict"], done.code) == ("FAIL", 1)
    assert cell["value"] > 0.01


def test_int8_is_calibrated_on_what_is_not_judged(conform: Conform, tmp_path: Path) -> None:
    recordings(tmp_path / "data", 6)
    more = ("--combine", "none", "--samples", "4")

    found = report(conform(*asked(
        copier(tmp_path / "copy.onnx"), tmp_path / "data", *more, noise="precision=int8", backends="ort,ort:int8"
    )))  # fmt: skip

    by_axis = cells(found)["precision", "int8", "ort"]
    assert "calibrated on 2 sounds" in by_axis["reason"]
    assert by_axis["value"] == cells(found)["backend", "ort:int8", "ort:int8"]["value"]
    assert 1e-5 < abs(by_axis["delta"]) < 0.1


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("task = 'speak'\n", "has no [speech] table"),
        ("task = 'speak'\n[speech]\nreads = 'mel'\n", "names no output"),
        ("task = 'speak'\n[speech]\nmel = 'said'\n", "has no [text] table"),
        (f"task = 'speak'\n{SPEECH}reads = 'mel'\nmel = 'x'\n", "reads the output 'x'"),
        ("task = 'speak'\n[speech]\nreads = 'mel'\nmel = 'said'\n", "8000 samples a second, and the card says 22050"),
        ("task = 'speak'\n[speech]\nreads = 'mel'\nmel = 'said'\nwindow_length = 2000\n", "window_length"),
        ("task = 'speak'\n[speech]\nreads = 'mel'\nmel = 'said'\nhigh = 90000\n", "half the rate"),
        ("task = 'speak'\n[speech]\nreads = 'mel'\nmel = 'said'\nfloor = 0\n", "positive"),
        ("task = 'speak'\n[speech]\nreads = 'mel'\ninput = 'y'\nmel = 'said'\nrate = 8000\n", "fill one input"),
        ("task = 'speak'\n[speech]\nreads = 'mel'\nalong = 'mel'\nmel = 'said'\n", "along = mel is wrong"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_in_one_line(
    card: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = copier(tmp_path / "copy.onnx")
    recordings(tmp_path / "data")
    model.with_suffix(".toml").write_text(card)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONFORM_CACHE", str(CACHE))

    code = invoke([str(each) for each in asked(model, tmp_path / "data", noise="stft")])

    said = capsys.readouterr()
    assert code == 2, said
    assert said.err.count("error:") == 1, said.err
    assert words in said.err
