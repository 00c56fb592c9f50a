"""What a model says of itself, as TOML: where its weights come from, its task, how its input is prepared.

name = "det"
task = "text-detect"                  # classify, detect, segment, embed, text-detect, choose, speak, agree
[image]
shorter = 736                         # or size = [height, width]
resize = "multiple_of"                # see ImageInput
filter = "pillow-bilinear"
colour = "BGR"
scale = 0.00392156862745098           # then (x * scale - mean) / std, channel by channel
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sysnoise_conform.errors import UsageError
from sysnoise_conform.files import read_regular
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

TASKS = ("classify", "detect", "segment", "embed", "text-detect", "choose", "speak", "agree")
BOX_DECODERS = ("fastestdet", "yolov5", "yolov8", "anchors", "boxes")  # or package.module:function
LAYOUTS = ("NCHW", "NHWC")
COLOURS = ("RGB", "BGR", "GRAY")
RESIZES = ("squash", "squash+crop", "shorter+crop", "letterbox", "max_side", "multiple_of", "height+pad", "height+grow")
FILTERS = (
    "pillow-nearest", "pillow-bilinear", "pillow-bicubic", "pillow-lanczos", "pillow-box", "pillow-hamming",
    "opencv-nearest", "opencv-bilinear", "opencv-bicubic", "opencv-area", "opencv-lanczos",
    "opencv-nearest-exact", "opencv-bilinear-exact",
    "torch-nearest", "torch-nearest-exact", "torch-bilinear", "torch-bicubic",
    "torch-bilinear-antialias", "torch-bicubic-antialias", "tf-nearest", "tf-bilinear",
)  # fmt: skip
DECODERS = (
    "pillow", "opencv", "ffmpeg", "ffmpeg-point", "ffmpeg-bicubic", "turbo-fast-dct", "turbo-fast-upsample",
    "turbo-fast", "float-idct",
)  # fmt: skip
LONG_SIDES = ("round", "floor", "ceil")
CROPS = ("floor", "round")
RESIZE_DTYPES = ("uint8", "float32")
TOKENIZERS = ("bytes", "characters")  # or a tokenizer.json
POOLS = ("mean", "first", "last")
READS = ("text", "mel", "sound")
MEL_LAYOUTS = ("frames-bands", "bands-frames")
MEL_SCALES, MEL_NORMS = ("slaney", "htk"), ("area", "none")
STFT_WINDOWS = ("hann-periodic", "hann-symmetric", "hamming-periodic", "hamming-symmetric")
STFT_PADDINGS = ("reflect", "constant", "replicate")
MAX_BYTES = 1 << 20
WRITTEN = "# Written by `conform export`."  # how a card begins that the next export may write anew


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Where the weights come from: a pinned package of the index, the file in it, and its SHA-256."""

    source: str = ""  # where else than in a package
    package: str = ""  # name==version
    member: str = ""  # path inside the package
    sha256: str = ""
    licence: str = ""
    factory: str = ""  # package.module:function that makes the nn.Module, where the ONNX file is exported here
    dtypes: Mapping[str, str] = field(default_factory=dict)  # of the inputs that are not float32, for the export
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # beside the model: path in the package, SHA-256


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageInput:
    """How an image becomes the input tensor: decode, resize, colour order, `(x * scale - mean) / std`, layout.

    `resize` is one of
    `squash`        to `size`, the ratio is lost;
    `squash+crop`   to a square of side `shorter`, the ratio is lost, then the middle of `size`;
    `shorter+crop`  the shorter side to `shorter`, then the middle of `size`;
    `letterbox`     into `size` keeping the ratio, bars of `pad` on both sides;
    `max_side`      the longer side to at most `size`, each side rounded to a multiple of `multiple`;
    `multiple_of`   the shorter side to at least `shorter`, each side rounded to a multiple of `multiple`;
    `height+pad`    to the height of `size` keeping the ratio, at most its width, `pad` on the right;
    `height+grow`   the same, but wider than `size` where the picture is.
    """

    name: str = ""  # the input's name; "" where the model has only one
    layout: str = "NCHW"
    colour: str = "RGB"
    size: tuple[int, int] | None = None  # height, width; None where the model's own is fixed
    resize: str = "squash"
    shorter: int | None = None
    multiple: int = 32
    filter: str = "pillow-bilinear"
    exif: bool = True  # turn the picture as its EXIF orientation says
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    pad: float = 0.0  # pixel value of letterbox bars and of the right edge
    decoder: str = "pillow"
    long_side: str = "round"  # how the side that follows from the ratio becomes whole; torchvision: floor
    crop: str = "floor"  # where the crop begins when half a pixel is left over; torchvision: round, half to even
    resize_dtype: str = "uint8"  # of the pixels while they are resized


@dataclass(frozen=True, kw_only=True, slots=True)
class Heads:
    """What a detector's outputs mean, where its graph does not say: names of outputs, and how anchors were laid.

    `boxes`, `scores` and `classes` name outputs; anchors lie at every `stride` (their centre `centre` of a cell in),
    of the `sizes` of that level, in each of the `ratios` (height / width).
    """

    boxes: str = ""
    scores: str = ""
    classes: str = ""
    activation: str = "none"  # of raw scores: sigmoid, softmax, none
    background: str = "none"  # the class that means nothing: first, last, none
    first_class: int = 0  # the number of the first class, in `classes`
    normalised: bool = False  # boxes in 0..1, not in pixels
    strides: tuple[int, ...] = ()
    sizes: tuple[tuple[float | tuple[float, float], ...], ...] = ()  # one list for each stride; a pair: width, height
    ratios: tuple[float, ...] = (1.0,)
    centre: float = 0.5
    variances: tuple[float, ...] = ()
    iou: float | None = 0.45  # of suppression; None where the graph has done it
    clip: bool = True  # boxes end at the picture's border


@dataclass(frozen=True, kw_only=True, slots=True)
class TextInput:
    """How a text becomes the inputs of a language model.

    `tokenizer` is the name of a tokenizer.json beside the card, `bytes` (UTF-8, each the number `first` + its value) or
    `characters` (`first` + the place in `alphabet`, else `unknown`). Inputs by name, "" where the model has none:
    `ids`, `mask` (1 for a token, 0 for padding), `positions` (0, 1, ...); those in `zeros` get 0.
    """

    tokenizer: str
    alphabet: str = ""
    first: int = 0
    unknown: int | None = None  # None: such a character is a fault of the text
    begin: int | None = None  # a token before every text
    special: bool = False  # the tokens that a tokenizer.json adds around a text
    ids: str = "input_ids"
    mask: str = ""
    positions: str = ""
    zeros: tuple[str, ...] = ()
    length: int | None = None  # tokens that a text has at most, where the model does not fix them
    pad: int = 0
    pool: str = "mean"  # of an embedding's token vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechInput:
    """What a speech model reads and what it gives, and the spectrogram that both sides mean.

    `reads` is `text` (as [text] says), `mel` (the features of a recording) or `sound`; `input` names the input of the
    last two. `along` names an input beside a text's that gets the features of the recording, as far as it reaches, for
    a model that says each frame behind the true ones. `mel` and `sound` name outputs: log-mel features in `layout`,
    samples; `frames` one that holds how many of the frames count, or the frames of each token.
    """

    reads: str = "text"
    input: str = ""
    along: str = ""
    mel: str = ""
    sound: str = ""
    frames: str = ""
    layout: str = "frames-bands"
    rate: int = 22050
    n_fft: int = 1024
    hop: int = 256
    window_length: int = 0  # 0: n_fft
    window: str = "hann-periodic"
    padding: str = "reflect"
    centre: bool = True
    bands: int = 80
    low: float = 0.0
    high: float = 0.0  # 0: half the rate
    scale: str = "slaney"
    norm: str = "area"
    floor: float = 1e-5
    length: int | None = None  # of the frames or samples that are read, where the model does not fix them


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A model card."""

    name: str
    task: str | None = None
    decoder: str | None = None  # how raw outputs become boxes: one of BOX_DECODERS, or a hook package.module:function
    heads: Heads = field(default_factory=Heads)
    output: str = ""  # the output that the task reads; "" where there is only one
    threshold: float | None = None  # of a score or probability map
    image: ImageInput | None = None
    text: TextInput | None = None
    speech: SpeechInput | None = None
    weights: Weights = field(default_factory=Weights)
    bind: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    path: Path | None = None

    @property
    def hook(self) -> bool:
        """Whether the decoder is the user's own code."""
        return self.decoder is not None and ":" in self.decoder


def find_card(model: Path) -> Card | None:
    """The card beside a model, `det.toml` beside `det.onnx`, or None. Raises UsageError for a broken one."""
    if not model.name:  # a folder such as "." or "/", which intake will refuse
        return None
    path = model.with_suffix(".toml")
    return load_card(path) if os.path.isfile(path) else None  # unlike is_file, never raises: a name may be too long


def load_card(path: Path) -> Card:
    """Read a card. Raises UsageError naming the key that is wrong."""
    content = read_regular(path, what="the card", error=UsageError, limit=MAX_BYTES)
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as err:  # ValueError: no UTF-8, or a number of more than 4300 digits
        raise UsageError(f"the card {one_line(path, 200)!r} is not TOML: {one_line(err, 120)}") from err
    return _Reader(table, f"the card {one_line(path, 200)!r}").card(path)


def _side(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < 1e6  # type: ignore[operator]


class _Reader:
    """Takes keys out of one table, so that what is left over is a mistake."""

    def __init__(self, table: Mapping[str, Any], where: str) -> None:
        self._table = dict(table)
        self._where = where
        self._known: list[str] = []

    def card(self, path: Path) -> Card:
        card = Card(
            name=self.text("name") or path.stem,
            task=self.choice("task", TASKS),
            decoder=self.decoder(),
            heads=self.sub("heads").heads() if "heads" in self._table else Heads(),
            output=self.text("output"),
            threshold=self.number("threshold", None),
            image=self.sub("image").image() if "image" in self._table else None,
            text=self.sub("text").text_input() if "text" in self._table else None,
            speech=self.sub("speech").speech() if "speech" in self._table else None,
            weights=self.sub("weights").weights(),
            bind=self.constants("bind"),
            shapes={name: self._shape(name, sizes) for name, sizes in self.table("shapes").items()},
            path=path,
        )
        self.table("export")  # what `conform export` measured when it wrote the card; nothing here reads it
        self.table("zoo")  # what the SysNoise paper measured of it; models/zoo reads it
        self.done()
        if card.task == "detect" and card.decoder is None:
            raise UsageError(
                f"{self._where}: task detect needs a decoder",
                hint=f"write decoder = one of {', '.join(BOX_DECODERS)}, or package.module:function",
            )
        return card

    def decoder(self) -> str | None:
        value = self._take("decoder")
        if isinstance(value, str) and ":" in value:
            module, _, function = value.partition(":")
            if not all(part.isidentifier() for part in (*module.split("."), function)):
                self.wrong("decoder", "package.module:function, as Python spells them")
            return value
        return self.choice("decoder", BOX_DECODERS)

    def heads(self) -> Heads:
        default = Heads()
        strides = tuple(int(each) for each in self.numbers("strides", ()))
        if not all(each == int(each) >= 1 for each in self.numbers("strides", ())):
            self.wrong("strides", "whole numbers from 1 on")
        sizes = self._take("sizes") or []
        if not isinstance(sizes, list) or len(sizes) != len(strides):
            self.wrong("sizes", "a list for each of the strides: [[32, 40], [64, 80]]")
        levels = [each if isinstance(each, list) else [each] for each in sizes]
        if not all(_side(v) or (isinstance(v, list) and len(v) == 2 and all(map(_side, v))) for e in levels for v in e):
            self.wrong("sizes", "positive numbers, in pixels, or pairs of them: [width, height]")
        ratios = self.numbers("ratios", default.ratios)
        variances = self.numbers("variances", default.variances)
        if min(ratios) <= 0:
            self.wrong("ratios", "positive numbers, height / width")
        if len(variances) not in (0, 4):
            self.wrong("variances", "four numbers")
        first = self.number("first_class", default.first_class) or 0.0
        if first != int(first):
            self.wrong("first_class", "a whole number")
        iou = self.number("iou", default.iou)
        heads = Heads(
            boxes=self.text("boxes"),
            scores=self.text("scores"),
            classes=self.text("classes"),
            activation=self.choice("activation", ("none", "sigmoid", "softmax")) or default.activation,
            background=self.choice("background", ("none", "first", "last")) or default.background,
            first_class=int(first),
            normalised=self.flag("normalised", default=default.normalised),
            strides=strides,
            sizes=tuple(
                tuple((float(v[0]), float(v[1])) if isinstance(v, list) else float(v) for v in each) for each in levels
            ),
            ratios=ratios,
            centre=self.number("centre", default.centre) or 0.0,
            variances=variances,
            clip=self.flag("clip", default=default.clip),
            iou=None if self.flag("suppressed", default=False) else iou,
        )
        self.done()
        return heads

    def image(self) -> ImageInput:
        default = ImageInput()
        image = ImageInput(
            name=self.text("name"),
            layout=self.choice("layout", LAYOUTS) or default.layout,
            colour=self.choice("colour", COLOURS) or default.colour,
            size=self._size("size"),
            resize=self.choice("resize", RESIZES) or default.resize,
            shorter=self.whole("shorter", None),
            multiple=self.whole("multiple", default.multiple) or default.multiple,
            filter=self.choice("filter", FILTERS) or default.filter,
            exif=self.flag("exif", default=default.exif),
            scale=self.number("scale", default.scale) or 0.0,
            mean=self.numbers("mean", default.mean),
            std=self.numbers("std", default.std),
            pad=self.number("pad", default.pad) or 0.0,
            decoder=self.choice("decoder", DECODERS) or default.decoder,
            long_side=self.choice("long_side", LONG_SIDES) or default.long_side,
            crop=self.choice("crop", CROPS) or default.crop,
            resize_dtype=self.choice("resize_dtype", RESIZE_DTYPES) or default.resize_dtype,
        )
        channels = 1 if image.colour == "GRAY" else 3
        for key, values in (("mean", image.mean), ("std", image.std)):
            if len(values) not in (1, channels):
                self.wrong(key, f"{channels} numbers or one")
        if not image.scale:
            self.wrong("scale", "a number other than 0")
        if 0.0 in image.std:
            self.wrong("std", "numbers other than 0")
        self.done()
        return image

    def text_input(self) -> TextInput:
        default = TextInput(tokenizer="")
        zeros = self._take("zeros")
        if zeros is not None and not (isinstance(zeros, list) and all(isinstance(each, str) for each in zeros)):
            self.wrong("zeros", "a list of the names of inputs")
        text = TextInput(
            tokenizer=self.text("tokenizer"),
            alphabet=self.text("alphabet"),
            first=self.count("first", default.first) or 0,
            unknown=self.count("unknown", default.unknown),
            begin=self.count("begin", default.begin),
            special=self.flag("special", default=default.special),
            ids=self.text("ids") or default.ids,
            mask=self.text("mask"),
            positions=self.text("positions"),
            zeros=tuple(zeros or ()),
            length=self.whole("length", default.length),
            pad=self.count("pad", default.pad) or 0,
            pool=self.choice("pool", POOLS) or default.pool,
        )
        if text.tokenizer not in TOKENIZERS and not text.tokenizer.endswith(".json"):
            self.wrong("tokenizer", "the name of a tokenizer.json beside the card, bytes or characters")
        if "/" in text.tokenizer or "\\" in text.tokenizer or "\0" in text.tokenizer:
            self.wrong("tokenizer", "a file that lies beside the card")
        if (text.tokenizer == "characters") != bool(text.alphabet):
            self.wrong("alphabet", "the characters in their order, for the tokenizer characters alone")
        if len(set(text.alphabet)) != len(text.alphabet):
            self.wrong("alphabet", "every character once")
        self.done()
        return text

    def speech(self) -> SpeechInput:
        default = SpeechInput()
        speech = SpeechInput(
            reads=self.choice("reads", READS) or default.reads,
            input=self.text("input"),
            along=self.text("along"),
            mel=self.text("mel"),
            sound=self.text("sound"),
            frames=self.text("frames"),
            layout=self.choice("layout", MEL_LAYOUTS) or default.layout,
            rate=self.count("rate", default.rate, least=1) or default.rate,
            n_fft=self.whole("n_fft", default.n_fft) or default.n_fft,
            hop=self.whole("hop", default.hop) or default.hop,
            window_length=self.count("window_length", default.window_length) or 0,
            window=self.choice("window", STFT_WINDOWS) or default.window,
            padding=self.choice("padding", STFT_PADDINGS) or default.padding,
            centre=self.flag("centre", default=default.centre),
            bands=self.whole("bands", default.bands) or default.bands,
            low=self.number("low", default.low) or 0.0,
            high=self.number("high", default.high) or 0.0,
            scale=self.choice("scale", MEL_SCALES) or default.scale,
            norm=self.choice("norm", MEL_NORMS) or default.norm,
            floor=self.number("floor", default.floor) or 0.0,
            length=self.count("length", default.length, least=1),
        )
        if speech.window_length > speech.n_fft:
            self.wrong("window_length", f"at most n_fft, {speech.n_fft}")
        if not 0 <= speech.low < (speech.high or speech.rate / 2) <= speech.rate / 2:
            self.wrong("high", f"more than low and at most half the rate, {speech.rate / 2:g}")
        if speech.along and speech.reads != "text":
            self.wrong("along", 'an input beside a text\'s: with reads = "text" alone')
        if speech.floor <= 0:
            self.wrong("floor", "a positive number: the logarithm is taken of what lies above it")
        if not speech.mel and not speech.sound:
            raise UsageError(
                f"{self._where} names no output", hint='write mel = "name of the features", or sound = "name"'
            )
        self.done()
        return speech

    def weights(self) -> Weights:
        weights = Weights(
            source=self.text("source"),
            package=self.text("package"),
            member=self.text("member"),
            sha256=self.text("sha256"),
            licence=self.text("licence"),
            factory=self.text("factory"),
            dtypes=self.texts("dtypes"),
            files={name: self._file(name, value) for name, value in self.table("files").items()},
        )
        self.done()
        return weights

    def done(self) -> None:
        left = set(self._table) - set(self._known)
        if left:
            key = sorted(left)[0]
            raise UsageError(f"{self._where} has an unknown key {one_line(key)!r}", hint=nearest(key, self._known))

    def wrong(self, key: str, wanted: str) -> None:
        raise UsageError(
            f"{self._where}: {key} = {one_line(self._table.get(key), 60)} is wrong", hint=f"write {wanted}"
        )

    def _take(self, key: str) -> Any:
        self._known.append(key)
        return self._table.get(key)

    def sub(self, key: str) -> _Reader:
        return _Reader(self.table(key), f"{self._where}, [{key}]")

    def table(self, key: str) -> Mapping[str, Any]:
        value = self._take(key)
        if value is not None and not isinstance(value, dict):
            self.wrong(key, "a table")
        return value or {}

    def text(self, key: str) -> str:
        value = self._take(key)
        if value is not None and not isinstance(value, str):
            self.wrong(key, "text in quotes")
        return value or ""

    def texts(self, key: str) -> Mapping[str, str]:
        table = self.table(key)
        if not all(isinstance(each, str) for each in table.values()):
            self.wrong(key, "a table of texts")
        return table

    def constants(self, key: str) -> Mapping[str, Any]:
        """Values that are arrays of numbers, truths or texts, once and for all."""
        table = self.table(key)
        import numpy as np

        for value in table.values():
            try:
                kind = np.asarray(value).dtype.kind
            except ValueError:  # rows of different lengths
                kind = "O"
            if kind not in "biufU":
                self.wrong(key, "numbers, texts, true or false, or lists of them")
        return table

    def choice(self, key: str, choices: tuple[str, ...]) -> str | None:
        value: str | None = self._take(key)
        if value is not None and value not in choices:
            raise UsageError(
                f"{self._where}: {key} = {one_line(value, 60)!r} is not known", hint=nearest(str(value), choices)
            )
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._take(key)
        if value is not None and not isinstance(value, bool):
            self.wrong(key, "true or false")
        return default if value is None else bool(value)

    def number(self, key: str, default: float | None) -> float | None:
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.wrong(key, "a finite number")
        return float(value)

    def whole(self, key: str, default: int | None) -> int | None:
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
            self.wrong(key, "a whole number from 1 to 65535")
        return int(value)

    def count(self, key: str, default: int | None, *, least: int = 0) -> int | None:
        value = self._take(key)
        if value is None:
            return default
        if type(value) is not int or not least <= value < 1 << 31:
            self.wrong(key, f"a whole number from {least} on")
        return int(value)

    def numbers(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        value = self._take(key)
        if value is None:
            return default
        values = value if isinstance(value, list) else [value]
        good = (int, float)
        if not values or not all(isinstance(v, good) and not isinstance(v, bool) and math.isfinite(v) for v in values):
            self.wrong(key, "a list of finite numbers")
        return tuple(float(each) for each in values)

    def _size(self, key: str) -> tuple[int, int] | None:
        value = self._take(key)
        if value is None:
            return None
        pair = [value, value] if isinstance(value, int) else value
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(v) is int and 1 <= v <= 65535 for v in pair):
            self.wrong(key, "[height, width], or one number for a square")
        return pair[0], pair[1]

    def _file(self, name: str, value: object) -> tuple[str, str]:
        pair = isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)
        if not pair or Path(name).name != name:
            raise UsageError(f"{self._where}: the file {one_line(name)!r} must be [path in the package, SHA-256]")
        assert isinstance(value, list)
        return value[0], value[1]

    def _shape(self, name: str, sizes: object) -> tuple[int, ...]:
        if not isinstance(sizes, list) or not all(type(each) is int and each >= 0 for each in sizes):
            raise UsageError(f"{self._where}: the shape of {one_line(name)!r} must be a list of whole numbers")
        return tuple(sizes)
