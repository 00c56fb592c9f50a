"""Recordings, with what is said in them where that is known: LJSpeech's layout, or a folder of WAV files."""

from __future__ import annotations

import os
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sysnoise_conform.datasets.facts import OnBad, Problem, Problems
from sysnoise_conform.errors import BadInput
from sysnoise_conform.files import open_regular, read_regular
from sysnoise_conform.printable import one_line

MAX_BYTES = 1 << 28
LIST = "metadata.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """One recording; `text` is "" where nobody says what is said."""

    name: str
    path: Path
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recordings:
    """Recordings in a fixed order."""

    layout: str
    recordings: tuple[Recording, ...]
    problems: tuple[Problem, ...] = ()


def read_recordings(folder: Path, *, on_bad: OnBad = "fail", allow_linked: bool = False) -> Recordings:
    """LJSpeech's layout where `metadata.csv` (name|text|text as it is read) lies in the folder, else its WAV files.

    Raises BadInput naming the file, and for the first problem of a recording unless `on_bad` is `skip`.
    """
    problems = Problems(on_bad, allow_linked=allow_linked)
    if not folder.is_dir():
        raise BadInput(f"the data {one_line(folder, 200)!r} is no folder", hint="name the folder of the recordings")
    if os.path.isfile(folder / LIST):
        layout, found = "LJSpeech", _listed(folder, problems)
    else:
        places = sorted(each for each in folder.rglob("*") if each.suffix.lower() == ".wav" and each.is_file())
        names = {each: str(each.relative_to(folder)) for each in places}
        layout = "WAV"
        found = [Recording(name=names[each], path=each) for each in places if problems.stays(folder, each, names[each])]
    if not found:
        raise BadInput(
            f"the data {one_line(folder, 200)!r} holds no recording",
            hint=f"put WAV files there, or {LIST} with wavs/ beside it, as LJSpeech has them",
        )
    return Recordings(layout=layout, recordings=tuple(found), problems=tuple(problems.found))


def _listed(folder: Path, problems: Problems) -> list[Recording]:
    content = read_regular(folder / LIST, what="the list", error=BadInput, limit=MAX_BYTES)
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as err:
        raise BadInput(f"the list {LIST!r} is not UTF-8 (byte {err.start})") from err
    found: list[Recording] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *texts = line.split("|")
        path = folder / "wavs" / f"{name}.wav"
        if not texts or not texts[-1].strip():
            problems.add(f"{LIST}:{number}", "it has no text: a line is name|text, or name|text|text as it is read")
        elif name in seen:
            problems.add(f"{LIST}:{number}", f"{one_line(name, 60)!r} stands twice")
        elif not name or Path(name).name != name or "\0" in name or not os.path.isfile(path):
            problems.add(f"{LIST}:{number}", f"its recording {one_line(f'wavs/{name}.wav', 80)!r} is not there")
        elif problems.stays(folder, path, name):
            seen.add(name)
            found.append(Recording(name=name, path=path, text=texts[-1]))
    return found


def read_wave(path: Path, rate: int) -> np.ndarray:
    """The samples, float64, (samples,), -1..1. Raises BadInput for what is no mono PCM of this rate."""
    shown = one_line(path.name, 120)
    with open_regular(path, what="the recording", error=BadInput, limit=MAX_BYTES) as stream:
        try:
            with wave.open(stream) as sound:
                channels, width, found, count = sound.getparams()[:4]
                data = sound.readframes(count)
        except (wave.Error, EOFError) as err:
            raise BadInput(f"the recording {shown!r} can't be read: {one_line(err, 80) or 'it is cut'}") from err
    if channels != 1:
        raise BadInput(f"the recording {shown!r} has {channels} channels", hint="mix them into one")
    if found != rate:
        raise BadInput(
            f"the recording {shown!r} has {found} samples a second, and the card says {rate}",
            hint="resample it: a resampler is a noise of its own, and none is chosen here",
        )
    if not data or len(data) != count * width:
        raise BadInput(f"the recording {shown!r} {'is cut' if data else 'holds no sample'}")
    return _samples(data, width, shown)


def _samples(data: bytes, width: int, shown: str) -> np.ndarray:
    match width:
        case 1:  # unsigned, alone of all
            return (np.frombuffer(data, np.uint8) - 128.0) / 128
        case 2:
            return np.frombuffer(data, "<i2") / 32768
        case 3:
            parts = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
            whole = (parts[:, 0] << 8) | (parts[:, 1] << 16) | (parts[:, 2] << 24)
            return (whole >> 8) / 8388608
        case 4:
            return np.frombuffer(data, "<i4") / 2147483648
        case _:
            raise BadInput(f"the recording {shown!r} has {width} bytes a sample; 1 to 4 are read")
