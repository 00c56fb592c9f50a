"""A first card for a model: what its file tells, and by comments what only whoever trained it can know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from onnx import TensorProto

from sysnoise_conform.graph.intake import Model, Port
from sysnoise_conform.graph.shapes import describe
from sysnoise_conform.printable import one_line

_IMAGENET = "mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]"
_SMALLEST_MAP = 8  # a map of less than an eighth of the input is a grid of boxes, not of pixels
_COLOURS = (1, 3)  # channels of a picture


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A card as text, and what it could not know, a line each."""

    text: str
    unknown: tuple[str, ...]


@dataclass(slots=True)
class _Lines:
    """The card so far; `ask` writes what is not known as a comment, too."""

    lines: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def put(self, key: str, value: object, about: str = "") -> None:
        written = f"{key} = {_toml(value)}"
        self.lines.append(f"{written:<38}# {about}" if about else written)

    def say(self, about: str) -> None:
        self.lines.append(f"# {about}")

    def ask(self, about: str) -> None:
        self.say(f"NOT KNOWN: {about}")
        self.unknown.append(about)


def draft(model: Model) -> Draft:
    """The card of a model, which `card.load_card` reads."""
    card = _Lines()
    card.put("name", one_line(model.path.stem, 120))
    picture = _picture(model)
    size = (None, None) if picture is None else _size(picture)
    _task(card, model.outputs, size)
    if picture is None:
        inputs = ", ".join(f"{one_line(each.name, 60)} {describe(each)}" for each in model.inputs)
        card.ask(f"how samples are prepared: no input is a picture ({inputs or 'there is none'})")
    else:
        _image(card, model, picture)
    return Draft(text="\n".join(card.lines) + "\n", unknown=tuple(card.unknown))


def _picture(model: Model) -> Port | None:
    """The first input of four dimensions; of several, one that has the channels of a picture."""
    ports = [each for each in model.inputs if each.shape is not None and len(each.shape) == 4]
    coloured = [each for each in ports if each.shape is not None and {each.shape[1], each.shape[3]} & set(_COLOURS)]
    return next(iter([*coloured, *ports]), None)


def _channels_last(port: Port) -> bool:
    assert port.shape is not None
    return port.shape[1] not in _COLOURS and port.shape[3] in _COLOURS


def _size(port: Port) -> tuple[int | None, int | None]:
    assert port.shape is not None
    sizes = port.shape[1:3] if _channels_last(port) else port.shape[2:]
    height, width = (each if isinstance(each, int) else None for each in sizes)
    return height, width


def _image(card: _Lines, model: Model, port: Port) -> None:
    assert port.shape is not None
    card.lines += ["", "[image]"]
    others = [one_line(each.name, 60) for each in model.inputs if each.name != port.name]
    if others:
        card.put("name", port.name)
        card.ask(f"the other inputs, {', '.join(others)}: pictures fill one alone")
    last = _channels_last(port)
    channels = port.shape[3] if last else port.shape[1]
    card.put("layout", "NHWC" if last else "NCHW", f"the input is {describe(port)}")
    if channels == 1:
        card.put("colour", "GRAY")
    else:
        card.put("colour", "RGB")
        card.ask("the order of colours: RGB, or BGR as with OpenCV")
        if channels not in _COLOURS:
            card.ask(f"what the {channels or 'unnamed'} channels are: a picture has 1 or 3")
    height, width = _size(port)
    if height is None or width is None:
        card.ask("the size of pictures, since the model takes any: size = [height, width]")
    else:
        card.say(f"The size is the model's own, {height} x {width} (height x width).")
    card.put("resize", "squash")
    card.ask("how pictures came to that size in training: squash, shorter+crop, letterbox, ...; the filter, too")
    card.put("filter", "pillow-bilinear")
    if port.elem_type == TensorProto.UINT8:
        card.put("scale", 1.0, "the input is of bytes")
        return
    card.put("scale", 1 / 255)
    card.ask(f"the normalisation, (x * scale - mean) / std; ImageNet's is {_IMAGENET}")
    first = {node.op_type for node in model.proto.graph.node if port.name in node.input}
    if first & {"Sub", "Div", "Mul", "BatchNormalization"}:
        card.say(f"The graph begins with {', '.join(sorted(first))}: maybe it normalises by itself, with scale = 1.0.")


def _task(card: _Lines, outputs: Sequence[Port], size: tuple[int | None, int | None]) -> None:
    if len(outputs) == 1:
        _one_output(card, outputs[0], size)
        return
    boxes = [each for each in outputs if each.shape and each.shape[-1] == 4 and len(each.shape) in (2, 3)]
    others = [each for each in outputs if each not in boxes]
    if len(boxes) != 1 or not others:
        shown = ", ".join(f"{one_line(each.name, 60)} {describe(each)}" for each in outputs)
        card.ask(f"the task (classify, detect, segment, embed, text-detect), and the output it reads: {shown}")
        return
    whole = [each for each in others if each.elem_type in (TensorProto.INT32, TensorProto.INT64)]
    classes = [each for each in whole if each.shape is None or len(each.shape) == len(boxes[0].shape or ()) - 1]
    scores = [each for each in others if each not in whole]
    per_class = bool(scores) and scores[0].shape is not None and len(scores[0].shape) == len(boxes[0].shape or ())
    anchors = per_class and not classes
    card.put("task", "detect", f"guessed: {one_line(boxes[0].name, 40)} is {describe(boxes[0])}")
    card.put("decoder", "anchors" if anchors else "boxes", "anchors or boxes: offsets, or corners that the graph made")
    card.lines += ["", "[heads]"]
    card.put("boxes", boxes[0].name)
    if len(scores) == 1:
        card.put("scores", scores[0].name)
    else:
        card.ask("the output of scores: scores = \"name\"")
    if classes:
        card.put("classes", classes[0].name)
    if anchors:
        card.ask("how anchors were laid: strides, sizes, ratios, variances; the activation and the background's class")
    else:
        card.ask("whether boxes are in 0..1 (normalised = true), and whether the graph suppresses (suppressed = true)")


def _one_output(card: _Lines, port: Port, size: tuple[int | None, int | None]) -> None:
    shape = port.shape
    about = f"guessed: the output is {describe(port)}"
    match shape:
        case (_, int(classes)) | (_, int(classes), 1, 1) if classes > 1:
            card.put("task", "classify", about)
            card.ask(f"whether the {classes} numbers are scores of classes, or an embedding: task = \"embed\"")
        case (_, 1, _, _):
            card.put("task", "text-detect", about)
            card.ask("whether the map is of text, and its threshold; a mask of one class is task = \"segment\"")
        case (_, int(channels), height, _) if channels > 5 and _is_grid(height, size[0]):
            card.put("task", "detect", about)
            card.put("decoder", "fastestdet", "the one decoder here that reads such a grid")
            card.ask("whether the grid is FastestDet's: objectness, four terms of a box, the classes")
        case (_, int(channels), _, _) if channels > 1:
            card.put("task", "segment", about)
        case (_, int(first), int(second)) if max(first, second) > 5:
            card.put("task", "detect", about)
            card.put("decoder", "yolov8" if first <= second else "yolov5")
            card.ask("whether rows are YOLO's: x, y, width, height in pixels, objectness (v5 alone), classes")
        case _:
            card.ask(f"the task (classify, detect, segment, embed, text-detect): the output is {describe(port)}")


def _is_grid(rows: object, height: int | None) -> bool:
    return isinstance(rows, int) and height is not None and rows * _SMALLEST_MAP < height


def _toml(value: object) -> str:
    """A text, number or truth as TOML spells it."""
    if isinstance(value, str):  # JSON's escapes are TOML's, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
