"""Speech: how far what a model says lies from a recording, as log-mel features, as a spectrum, and in its length.

The front end of a speech model stands where it meets the model: before it, where it reads a recording's features;
behind it, where it says a sound; else it makes the features of the recording that the model's are held against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sysnoise_conform.card import Card, SpeechInput
from sysnoise_conform.datasets import OnBad
from sysnoise_conform.datasets.facts import Problems
from sysnoise_conform.datasets.recordings import Recording, Recordings, read_wave
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.graph.intake import Model, Port
from sysnoise_conform.graph.shapes import describe, numpy_type
from sysnoise_conform.printable import one_line
from sysnoise_conform.statistics.bootstrap import replicates, sure
from sysnoise_conform.statistics.gate import CONFIDENCE
from sysnoise_conform.statistics.unseen import with_unseen
from sysnoise_conform.tasks.evaluation import Comparison, Gate, Result, Shown
from sysnoise_conform.texts.feeds import Feed, checked, feeds_of, longest
from sysnoise_conform.texts.tokens import Tokens

Tensors = Mapping[str, np.ndarray]
Features = Callable[[np.ndarray, Mapping[str, str]], np.ndarray]  # of a sound, under levels: (frames, bands)

NATS_TO_DB = 20 / np.log(10)  # the features are logarithms of amplitudes
AUDIBLE = 0.01  # nats squared, .87 dB: an error that is larger by more than that is another answer


class Speech:
    """`mel_mse` against the recordings: the mean square of what log-mel features differ by, in nats squared."""

    metric = "mel_mse"
    noun = "sound"
    cut = 0

    def __init__(
        self, card: Card, data: Recordings, tokens: Tokens | None, features: Features, model: Model, *, on_bad: OnBad
    ) -> None:
        """Read every recording. Raises BadInput for one that can't be, unless such are left out; UsageError."""
        assert card.speech is not None
        self._spec = card.speech
        self._features = features
        self._far = -float(np.log(card.speech.floor))  # what is no number is off by the range of the features
        along = {card.speech.along} - {""}
        most = None if tokens is None or card.text is None else longest(model, card.text, along)
        problems = Problems(on_bad)
        kept: list[Recording] = []
        self._sounds: list[np.ndarray] = []
        self._ids: list[Sequence[int]] = []
        for each in data.recordings:
            try:
                sound = read_wave(each.path, card.speech.rate)
                features(sound, {})
                ids = [] if tokens is None else checked(_tokens(tokens, each), most, each.name)
            except BadInput as err:
                problems.add(each.name, err.message, **({"hint": err.hint} if err.hint else {}))
                continue
            kept.append(each)
            self._sounds.append(sound)
            self._ids.append(ids)
        if not kept:
            raise BadInput("of these recordings none can be used", hint="see the problems that --on-bad fail names")
        self.names = tuple(each.name for each in kept)
        self.problems = (*data.problems, *problems.found)
        self.runs = len(kept)
        self._port: Port | None = None
        if tokens is not None:
            assert card.text is not None
            self._texts = feeds_of(model, card.text, [len(each) for each in self._ids], besides=along)
            if along:
                self._port = _port_of_features(model, card.speech.along, card.speech)
                self._length = self._read_length(self._port)
        else:
            self._port = _port(model, card.speech)
            self._length = self._read_length(self._port)

    def feeds(self, at: int, levels: Mapping[str, str]) -> tuple[Feed, ...]:
        """The text, the features of the recording, or its samples; padded with silence behind."""
        text = self._texts.feed(self._ids[at]) if self._spec.reads == "text" else {}
        if self._port is None:
            return (text,)
        if self._spec.reads == "sound":
            row = np.pad(self._sounds[at], (0, self._length - len(self._sounds[at])))
        else:
            mel = self._features(self._sounds[at], levels)[: self._length]
            quiet = np.log(self._spec.floor)
            row = np.pad(mel, ((0, self._length - len(mel)), (0, 0)), constant_values=quiet)
            row = row.T if self._spec.layout == "bands-frames" else row
        return ({**text, self._port.name: np.ascontiguousarray(row[None], numpy_type(self._port))},)

    def result(self, at: int, answers: Sequence[Tensors], levels: Mapping[str, str]) -> Result:
        """`mel` (frames, bands) as said, in float32, and against the recording `mel_mse`, `spectral_distance` in dB,
        `duration_off` in seconds; `sound_mse` of samples. A number that is none is off by the whole range.
        """
        (answer,) = answers
        behind = bool(self._spec.sound) and self._spec.reads != "mel"
        between = self._spec.reads == "text" and not self._spec.sound and not self._spec.along
        truth = self._features(self._sounds[at], levels if between else {})
        truth = truth[: self._length] if self._spec.along else truth
        sound = self._said(answer, at) if self._spec.sound else None
        if self._spec.mel:
            mel = self._told(answer, at)
        else:
            assert sound is not None
            usable = np.where(np.isfinite(sound), sound, 0.0)
            mel = self._features(usable, levels if behind else {})
            mel = mel if np.isfinite(sound).all() else np.full_like(mel, np.nan)
        seconds = self._spec.hop / self._spec.rate
        found = self._errors(mel, truth) | {"duration_off": np.array(abs(len(mel) - len(truth)) * seconds)}
        if sound is not None:
            common = min(len(sound), len(self._sounds[at]))
            gap = sound[:common] - self._sounds[at][:common]
            found["sound_mse"] = np.array(np.mean(np.where(np.isfinite(gap), gap, 1.0) ** 2))
        return {"mel": mel.astype(np.float32), **found}

    def figures(
        self, results: Sequence[Result], pictures: Sequence[int], base: Sequence[Result]
    ) -> Mapping[str, float]:
        """Means over the sounds; `mel_mse_moved` is against the baseline's own answer, not against the recording."""
        names = [name for name in ("mel_mse", "spectral_distance", "duration_off", "sound_mse") if name in results[0]] \
            if results else ["mel_mse"]  # fmt: skip
        found = {name: float(np.mean([float(each[name]) for each in results])) for name in names}
        moved = [float(self._errors(a["mel"], b["mel"])["mel_mse"]) for a, b in zip(results, base, strict=True)]
        return found | {"mel_mse_moved": float(np.mean(moved)) if moved else float("nan")}

    def compare(
        self, base: Sequence[Result], other: Sequence[Result], pictures: Sequence[int], *, margin: float, seed: int
    ) -> Comparison:
        """The paired bootstrap over sounds; a positive delta is a larger error."""
        before, after = (np.array([float(each["mel_mse"]) for each in arm]) for arm in (base, other))
        n = len(before)

        def drawn(times: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore"):
                return np.asarray((times @ (after - before)) / n)

        def arms(count: int) -> tuple[np.ndarray, np.ndarray]:
            errors = replicates(drawn, n, seed=seed, count=count)
            return errors, np.zeros_like(errors)

        found, p = sure(arms, n)
        delta = float(np.mean(after - before)) if n else 0.0
        # An error has no bound: a sound that was not heard may be as far off as the worst that was.
        worst = float(max(before.max(), after.max())) if n else 0.0
        interval = with_unseen(
            found.interval(CONFIDENCE), delta, loss=worst, gain=worst, n=n, confidence=CONFIDENCE
        )  # fmt: skip
        gate = Gate(delta=delta, interval=interval, spread=found.spread(), n=n, margin=margin, figure=worst or 1.0)
        worse = after > before + AUDIBLE
        return Comparison(
            delta=delta, interval=interval, p=p, lost=int(worse.sum()),
            won=int((after < before - AUDIBLE).sum()),
            changed=sum(self.differs(at, a, b) for at, a, b in zip(pictures, base, other, strict=True)),
            verdict=gate.word, images_to_decide=gate.needed(),
        )  # fmt: skip

    def differs(self, at: int, base: Result, other: Result) -> bool:
        """Features that differ by more than can be heard, or another length."""
        apart = float(self._errors(base["mel"], other["mel"])["mel_mse"])
        return len(base["mel"]) != len(other["mel"]) or apart > AUDIBLE

    def shown(self, at: int, result: Result) -> Shown:
        """The error and the length."""
        seconds = len(result["mel"]) * self._spec.hop / self._spec.rate
        return Shown(text=f"{seconds:.2f} s, mel MSE {float(result['mel_mse']):.4f}")

    def _errors(self, mel: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
        """Over the frames that both have: mean square, and the mean over frames of the root mean square in dB."""
        frames = min(len(mel), len(truth))
        with np.errstate(all="ignore"):
            gap = np.asarray(mel[:frames], np.float64) - np.asarray(truth[:frames], np.float64)
        squares = np.where(np.isfinite(gap), gap, self._far) ** 2
        distance = np.sqrt(squares.mean(axis=1)).mean() * NATS_TO_DB
        return {"mel_mse": np.array(squares.mean()), "spectral_distance": np.array(distance)}

    # What the model says.

    def _told(self, answer: Tensors, at: int) -> np.ndarray:
        """The features that count, (frames, bands)."""
        mel = _output(answer, self._spec.mel)
        if mel.ndim != 3 or len(mel) != 1:
            raise UsageError(f"the output {one_line(self._spec.mel, 60)!r} is {mel.shape}, not (1, frames, bands)")
        rows = mel[0].T if self._spec.layout == "bands-frames" else mel[0]
        if rows.shape[1] != self._spec.bands:
            raise UsageError(
                f"the output {one_line(self._spec.mel, 60)!r} is {mel.shape}, and the card says"
                f" {self._spec.bands} bands",
                hint='correct bands or layout = "bands-frames" in the card\'s [speech]',
            )
        return np.asarray(rows[: self._frames(answer, len(rows), at)])

    def _said(self, answer: Tensors, at: int) -> np.ndarray:
        """The samples that count, (samples,)."""
        sound = _output(answer, self._spec.sound).reshape(-1)
        frames = self._frames(answer, -1, at)
        return sound if frames < 0 else sound[: frames * self._spec.hop]

    def _frames(self, answer: Tensors, most: int, at: int) -> int:
        """How many frames count: as the model says, else as many as were read, else `most`."""
        if self._spec.frames:
            told = _output(answer, self._spec.frames)
            count = int(np.rint(told.sum())) if np.isfinite(told).all() else 0
            return max(1, count) if most < 0 else min(max(1, count), most)
        if self._port is None:
            return most
        read = len(self._features(self._sounds[at], {}))
        return read if most < 0 else min(read, most)

    def _read_length(self, port: Port) -> int:
        """Frames or samples that are read: as the model fixes, else as the longest recording has."""
        assert port.shape is not None
        place = 1 if self._spec.reads == "sound" or self._spec.layout == "frames-bands" else 2
        fixed = port.shape[-1] if self._spec.reads == "sound" else port.shape[place]
        counts = [
            len(each) if self._spec.reads == "sound" else len(self._features(each, {})) for each in self._sounds
        ]
        length = fixed if isinstance(fixed, int) else self._spec.length or max(counts)
        if self._spec.along:  # what lies behind is neither read nor said
            return length
        for name, count in zip(self.names, counts, strict=True):
            if count > length:
                what = "samples" if self._spec.reads == "sound" else "frames"
                raise BadInput(f"the recording {name!r} has {count} {what}, and the model reads {length}")
        return length


def _output(answer: Tensors, name: str) -> np.ndarray:
    if name not in answer:
        known = ", ".join(one_line(each, 60) for each in answer)
        raise UsageError(
            f"the card's [speech] reads the output {one_line(name, 60)!r}, which the model has not",
            hint=f"there are {known}",
        )
    return np.asarray(answer[name], np.float64)


def _tokens(tokens: Tokens, each: Recording) -> list[int]:
    if not each.text:
        raise BadInput(
            "nobody says what is said in it, and the model reads texts",
            hint="give a metadata.csv with the recordings, as LJSpeech has it",
        )
    return tokens(each.text)


def _port(model: Model, spec: SpeechInput) -> Port:
    """The one input that recordings fill. Raises UsageError."""
    ports = {each.name: each for each in model.inputs}
    name = spec.input or (next(iter(ports)) if len(ports) == 1 else "")
    if name not in ports or len(ports) != 1:
        names = ", ".join(one_line(each, 60) for each in ports)
        raise UsageError(
            f"recordings fill one input, and the model takes {names}",
            hint="name it in the card's [speech] with input, and bind the others: [bind]",
        )
    port = ports[name]
    if spec.reads != "sound":
        return _port_of_features(model, name, spec)
    if port.shape is None or len(port.shape) not in (2, 3):
        raise UsageError(f"the input {one_line(name, 60)!r} is {describe(port)}, not (1, samples)")
    return port


def _port_of_features(model: Model, name: str, spec: SpeechInput) -> Port:
    """The input that features fill. Raises UsageError."""
    ports = {each.name: each for each in model.inputs}
    if name not in ports:
        known = ", ".join(one_line(each, 60) for each in ports)
        raise UsageError(f"the model has no input {one_line(name, 60)!r} for features", hint=f"there are {known}")
    port = ports[name]
    wanted = f"(1, {spec.layout.replace('-', ', ')})"
    if port.shape is None or len(port.shape) != 3:
        raise UsageError(f"the input {one_line(name, 60)!r} is {describe(port)}, not {wanted}")
    bands = port.shape[2 if spec.layout == "frames-bands" else 1]
    if isinstance(bands, int) and bands != spec.bands:
        raise UsageError(
            f"the input {one_line(name, 60)!r} is {describe(port)}, not {wanted} of {spec.bands} bands",
            hint='correct bands or layout = "bands-frames" in the card\'s [speech]',
        )
    return port
