"""Recordings in the layouts that they come in, and what is wrong with them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from told_samples import RATE, save_wave, sound

from sysnoise_conform.datasets.recordings import read_recordings, read_wave
from sysnoise_conform.errors import BadInput


def test_ljspeech(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_wave(tmp_path / "wavs" / f"{name}.wav", sound(0.1, 1))
    (tmp_path / "metadata.csv").write_text("a|Mr. A|Mister A\nb|two\n\n")

    found = read_recordings(tmp_path)

    assert found.layout == "LJSpeech"
    assert [(each.name, each.text) for each in found.recordings] == [("a", "Mister A"), ("b", "two")]


def test_a_folder_of_files(tmp_path: Path) -> None:
    save_wave(tmp_path / "x" / "b.wav", sound(0.1, 1))
    save_wave(tmp_path / "a.WAV", sound(0.1, 2))

    assert [each.name for each in read_recordings(tmp_path).recordings] == ["a.WAV", "x/b.wav"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("c|text", "is not there"), ("../a|text", "is not there"), ("a", "has no text"), ("a| ", "has no text"),
        ("a|once more", "stands twice"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_or_left_out(tmp_path: Path, line: str, words: str) -> None:
    save_wave(tmp_path / "wavs" / "a.wav", sound(0.1, 1))
    (tmp_path / "metadata.csv").write_text(f"a|text\n{line}\n")

    with pytest.raises(BadInput, match=words) as found:
        read_recordings(tmp_path)

    assert "metadata.csv:2" in str(found.value)
    kept = read_recordings(tmp_path, on_bad="skip")
    assert (len(kept.recordings), len(kept.problems)) == (1, 1)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_of_a_sample(tmp_path: Path, width: int) -> None:
    values = np.array([-1.0, -0.5, 0.0, 0.25])
    codes = np.round(values * 2 ** (8 * width - 1)).astype(np.int64)
    shift = 128 if width == 1 else 0  # bytes alone are unsigned
    data = b"".join(int(each + shift).to_bytes(width, "little", signed=width > 1) for each in codes)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, width, RATE, 0, "NONE", ""))
        file.writeframes(data)

    np.testing.assert_allclose(read_wave(tmp_path / "a.wav", RATE), values, atol=1e-9)


def test_what_is_no_mono_sound_of_the_card_s_rate_is_named(tmp_path: Path) -> None:
    good = save_wave(tmp_path / "good.wav", sound(0.1, 1)).read_bytes()
    save_wave(tmp_path / "stereo.wav", sound(0.1, 1), channels=2)
    save_wave(tmp_path / "fast.wav", sound(0.1, 1), rate=16000)
    for name, content in (("cut", good[:200]), ("head", good[:20]), ("empty", b""), ("other", b"ID3" * 100)):
        (tmp_path / f"{name}.wav").write_bytes(content)
    for name, words in (
        ("stereo", "has 2 channels"), ("fast", "16000 samples a second, and the card says 8000"), ("cut", "is cut"),
        ("head", "can't be read"), ("empty", "can't be read"), ("other", "can't be read"), ("gone", "no such file"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=words):
            read_wave(tmp_path / f"{name}.wav", RATE)
    with pytest.raises(BadInput, match="is no folder"):
        read_recordings(tmp_path / "good.wav")
    (tmp_path / "bare").mkdir()
    with pytest.raises(BadInput, match="holds no recording"):
        read_recordings(tmp_path / "bare")


@pytest.mark.data
def test_real_recordings(test_data: Path) -> None:
    found = read_recordings(test_data / "speech")

    assert len(found.recordings) == 7
    assert all(2.5 < len(read_wave(each.path, 22050)) / 22050 < 3 for each in found.recordings)
