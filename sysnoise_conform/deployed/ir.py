"""An OpenVINO IR, checked: the layers of its .xml, the edges between them, and where each weight lies in its .bin."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from math import prod
from pathlib import Path
from xml.etree.ElementTree import Element

from sysnoise_conform.deployed import ir_operators, xml
from sysnoise_conform.deployed.interface import Checked, Interface, Port
from sysnoise_conform.deployed.ir_weights import BITS, PRECISIONS, TYPES, Weights, needed_bytes
from sysnoise_conform.errors import BadModel
from sysnoise_conform.files import digest_stream, open_beside, read_regular
from sysnoise_conform.printable import one_line

MAX_XML_BYTES = 1 << 28
MAX_BIN_BYTES = 64 << 30
MAX_TENSOR_BYTES = 64 << 30
MAX_RANK = 64
VERSIONS = ("10", "11")

# What a .bin may hold behind its last constant: OpenVINO writes nothing there, yet it is hashed and copied.
MAX_BEHIND = 1 << 30
# Attributes of windows and blocks: what an operator walks in, divides by or cuts into.
_STEPS = ("strides", "kernel", "dilations", "sizes", "rates", "stride", "block_size", "group", "deformable_group")
_PADS = ("pads_begin", "pads_end")
_MAX_WINDOW = (1 << 31) - 1
_MAX_SIZE = (1 << 63) - 1

_WHOLE = re.compile(r"[0-9]{1,19}")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_SIZE = re.compile(r"-1|[0-9]{1,19}")
_OPEN_SIZE = re.compile(r"\?|-1|[0-9]{0,19}\.\.[0-9]{0,19}")
_COMMA = re.compile(r"(?<!\\),")


def read(path: Path, allow_linked: bool) -> Checked:
    """The interface of an .xml with the .bin beside it; raises BadModel for a pair that is broken in any way.

    `allow_linked` accepts a .bin that is a link to elsewhere.
    """
    data = read_regular(path, what="the deployed file", error=BadModel, limit=MAX_XML_BYTES)
    beside = path.with_suffix(".bin")
    with open_beside(
        path, beside.name, what="its weights", error=BadModel, limit=MAX_BIN_BYTES, allow_linked=allow_linked
    ) as stream:
        weights = Weights(stream, os.fstat(stream.fileno()).st_size)
        try:
            interface = _interface(xml.parse(data), weights)
            _check_length(weights)
        except (xml.XmlError, _BrokenError) as err:
            raise BadModel(
                f"the deployed file {one_line(path.name, 120)!r} is no sound OpenVINO IR: {one_line(err, 300)}",
                hint="convert or copy it again",
            ) from err
        stream.seek(0)
        digest = digest_stream(stream)
    return Checked(interface=interface, files=((path, hashlib.sha256(data).hexdigest()), (beside, digest)))


class _BrokenError(Exception):
    """What is wrong with the file, in words."""


@dataclass(frozen=True, slots=True)
class _Layer:
    element: Element
    shown: str
    kind: str
    inputs: tuple[int, ...]
    outputs: dict[int, Element]

    @property
    def name(self) -> str:
        return self.element.get("name", "")


@dataclass(frozen=True, slots=True)
class _Graph:
    """One network or body: its layers by id, and for each input port the output port that feeds it."""

    layers: dict[int, _Layer]
    sources: dict[tuple[int, int], tuple[int, int]]


def _check_length(weights: Weights) -> None:
    """A sparse file takes no room on its disk, but hours to hash and all the room that its copy gets."""
    if weights.size > weights.end + MAX_BEHIND:
        raise _BrokenError(
            f"its .bin has {weights.size:,} bytes, of which constants need the first {weights.end:,};"
            f" the limit is {MAX_BEHIND:,} more"
        )


def _interface(root: Element, weights: Weights) -> Interface:
    if root.tag != "net":
        raise _BrokenError(f"its root is <{one_line(root.tag, 40)}>, not <net>")
    if root.get("version") not in VERSIONS:
        raise _BrokenError(f"it is of version {one_line(root.get('version'), 20)}; known: {', '.join(VERSIONS)}")
    graph = _graph(root, weights)
    results = [(number, each) for number, each in graph.layers.items() if each.kind == "Result"]
    if not results:
        raise _BrokenError("it has no Result")
    tensors: set[str] = {each.name for _, each in results}
    for layer in graph.layers.values():
        tensors.update(name for port in layer.outputs.values() for name in _names(port))
    return Interface(
        inputs=tuple(_input(each) for each in graph.layers.values() if each.kind == "Parameter"),
        tensors=frozenset(tensors),
    )


def _input(layer: _Layer) -> Port:
    data = layer.element.find("data")
    assert data is not None  # `_check_parameter` looked
    names = [name for port in layer.outputs.values() for name in _names(port)]
    return Port(
        names=tuple(names or [layer.name]), shape=_open_shape(data, layer.shown), elem_type=data.get("element_type", "")
    )


def _names(port: Element) -> list[str]:
    """The tensor names of an output port; a comma inside a name is escaped."""
    return [each.replace("\\,", ",") for each in _COMMA.split(port.get("names", "")) if each]


def _graph(element: Element, weights: Weights) -> _Graph:
    """The layers and edges of a network or body, and of all bodies inside, checked."""
    layers: dict[int, _Layer] = {}
    for each in _children(element, "layers", "layer"):
        number = _number(each, "id", "a layer")
        if number in layers:
            raise _BrokenError(f"two layers have the id {number}")
        layers[number] = _layer(each)
    if not layers:
        raise _BrokenError("it has no layers")
    graph = _Graph(layers, _sources(element, layers))
    for number, layer in layers.items():
        unfed = [port for port in layer.inputs if (number, port) not in graph.sources]
        if unfed:
            raise _BrokenError(f"no edge leads to port {unfed[0]} of {layer.shown}")
    for layer in layers.values():
        _check_layer(layer, weights)
    try:
        TopologicalSorter(_predecessors(graph)).prepare()
    except CycleError as err:
        raise _BrokenError("its layers feed each other in a circle") from err
    return graph


def _predecessors(graph: _Graph) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for (reader, _), (writer, _) in graph.sources.items():
        found.setdefault(reader, set()).add(writer)
    return found


def _layer(element: Element) -> _Layer:
    kind = element.get("type", "")
    shown = f"the layer {one_line(element.get('name', ''), 80)!r}"
    if not kind:
        raise _BrokenError(f"{shown} has no type")
    wrong = ir_operators.why_not(kind, element.get("version", ""))
    if wrong is not None:
        raise _BrokenError(f"{shown} {wrong}")
    ports: dict[str, dict[int, Element]] = {"input": {}, "output": {}}
    for side, found in ports.items():
        for port in _children(element, side, "port"):
            number = _number(port, "id", shown)
            if number in found:
                raise _BrokenError(f"{shown} has two {side} ports {number}")
            found[number] = port
            _dims(port, shown)
            precision = port.get("precision", "" if side == "output" else "UNSPECIFIED")
            if precision not in PRECISIONS:
                raise _BrokenError(f"{shown} has a port of the precision {one_line(precision, 20)!r}, which is none")
    return _Layer(element, shown, kind, tuple(ports["input"]), ports["output"])


def _dims(port: Element, shown: str) -> list[int]:
    texts = [(each.text or "").strip() for each in port.iterfind("dim")]
    if len(texts) > MAX_RANK or not all(_SIZE.fullmatch(each) for each in texts):
        raise _BrokenError(f"{shown} has a port of impossible sizes {one_line(texts[:8], 80)}")
    sizes = [int(each) for each in texts]
    if prod(each for each in sizes if each >= 0) > MAX_TENSOR_BYTES:
        raise _BrokenError(f"{shown} has a port of {sizes[:8]}; the limit is {MAX_TENSOR_BYTES:,} elements")
    return sizes


def _sources(element: Element, layers: dict[int, _Layer]) -> dict[tuple[int, int], tuple[int, int]]:
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for each in _children(element, "edges", "edge"):
        source = _number(each, "from-layer", "an edge"), _number(each, "from-port", "an edge")
        target = _number(each, "to-layer", "an edge"), _number(each, "to-port", "an edge")
        writer, reader = layers.get(source[0]), layers.get(target[0])
        if writer is None or reader is None or source[1] not in writer.outputs or target[1] not in reader.inputs:
            raise _BrokenError(
                f"an edge leads from {source[0]}:{source[1]} to {target[0]}:{target[1]}, which are no ports"
            )
        if target in found:
            raise _BrokenError(f"two edges lead to port {target[1]} of {reader.shown}")
        found[target] = source
    return found


def _check_layer(layer: _Layer, weights: Weights) -> None:
    if layer.kind == "Parameter":
        _check_parameter(layer)
    elif layer.kind == "Const":
        _check_constant(layer, weights)
    if layer.element.get("version") != "extension":  # whose attributes may mean anything
        _check_windows(layer)
    for child in layer.element:
        if child.find("layers") is not None:
            body = _graph(child, weights)
            prefix = child.tag.removesuffix("body")  # then_body goes with then_port_map
            _check_body(layer, body, layer.element.find(f"{prefix}port_map"), layer.element.find("back_edges"))


def _check_parameter(layer: _Layer) -> None:
    data = layer.element.find("data")
    if data is None or len(layer.outputs) != 1 or layer.inputs:
        raise _BrokenError(f"{layer.shown} is no sound Parameter")
    _check_type(data.get("element_type", ""), TYPES, layer)
    _open_shape(data, layer.shown)


def _check_type(kind: str, known: Container[str], layer: _Layer) -> None:
    if kind not in known:
        raise _BrokenError(f"{layer.shown} has the element type {one_line(kind, 20)!r}, which conform does not know")


def _check_windows(layer: _Layer) -> None:
    data = layer.element.find("data")
    for key in (*_STEPS, *_PADS):
        text = "" if data is None else data.get(key, "")
        texts = [each.strip() for each in text.split(",") if each.strip()]
        least = 1 if key in _STEPS else -_MAX_WINDOW
        if not all(_INTEGER.fullmatch(each) and least <= int(each) <= _MAX_WINDOW for each in texts):
            raise _BrokenError(f"{layer.shown} has the impossible {key} {one_line(text, 60)!r}")


def _check_constant(layer: _Layer, weights: Weights) -> None:
    data = layer.element.find("data")
    if data is None or len(layer.outputs) != 1 or layer.inputs:
        raise _BrokenError(f"{layer.shown} is no sound Const")
    kind = data.get("element_type", "")
    _check_type(kind, BITS, layer)
    shape = _open_shape(data, layer.shown)
    if shape is None or None in shape:
        raise _BrokenError(f"{layer.shown} is a Const without a shape of its own")
    if list(shape) != _dims(next(iter(layer.outputs.values())), layer.shown):
        raise _BrokenError(f"{layer.shown} has another shape than its port")
    start, length = _number(data, "offset", layer.shown), _number(data, "size", layer.shown)
    count = prod(each or 0 for each in shape)
    needed = needed_bytes(kind, count)
    if needed not in (None, length):
        raise _BrokenError(f"{layer.shown} {kind} {list(shape)[:8]} needs {needed:,} bytes, it says {length:,}")
    if start + length > weights.size:
        raise _BrokenError(
            f"{layer.shown} is bytes {start:,} to {start + length:,} of the .bin, which has {weights.size:,}"
        )
    weights.end = max(weights.end, start + length)
    if needed is None and not weights.strings_are_sound(start, length, count):
        raise _BrokenError(f"{layer.shown} holds strings that are not where its first bytes say")


def _open_shape(data: Element, shown: str) -> tuple[int | None, ...] | None:
    """The `shape` of a Parameter or Const: sizes, `?` or `a..b` where one is open, `...` where the rank is."""
    texts = [each.strip() for each in data.get("shape", "").split(",")]
    if texts == ["..."]:
        return None
    if texts == [""]:
        return ()
    if len(texts) > MAX_RANK or not all(_WHOLE.fullmatch(each) or _OPEN_SIZE.fullmatch(each) for each in texts):
        raise _BrokenError(f"{shown} has the impossible shape {one_line(data.get('shape'), 80)!r}")
    if any(int(each) > _MAX_SIZE for text in texts for each in text.split("..") if each.isdecimal()):
        raise _BrokenError(f"{shown} has the impossible shape {one_line(data.get('shape'), 80)!r}")
    shape = tuple(int(each) if _WHOLE.fullmatch(each) else None for each in texts)
    if prod(each for each in shape if each is not None) > MAX_TENSOR_BYTES:
        raise _BrokenError(f"{shown} has the shape {list(shape)[:8]}; the limit is {MAX_TENSOR_BYTES:,} elements")
    return shape


def _check_body(layer: _Layer, body: _Graph, ports: Element | None, back: Element | None) -> None:
    """What ties a body to the layer around it names ports and layers that there are."""
    for each in ports if ports is not None else ():
        inner = _number(each, "internal_layer_id", layer.shown)
        outer = each.get("external_port_id", "")
        outside = [str(port) for port in (layer.inputs if each.tag == "input" else layer.outputs)]
        if inner not in body.layers or outer not in (*outside, "-1"):  # -1: a value of the loop itself
            raise _BrokenError(
                f"{layer.shown} ties its port {one_line(outer, 20)!r} to layer {inner} of its body: no such"
            )
        if each.get("axis", "").lstrip("-").isdecimal() and each.get("stride", "1") == "0":
            raise _BrokenError(f"{layer.shown} cuts its port {one_line(outer, 20)!r} into steps of 0")
    for each in back if back is not None else ():
        ends = _number(each, "from-layer", layer.shown), _number(each, "to-layer", layer.shown)
        if not set(ends) <= set(body.layers):
            raise _BrokenError(f"{layer.shown} has a back edge from {ends[0]} to {ends[1]}, which are no layers")


def _children(element: Element, group: str, tag: str) -> Iterator[Element]:
    for each in element.iterfind(group):
        yield from each.iterfind(tag)


def _number(element: Element, key: str, shown: str) -> int:
    text = element.get(key, "")
    if not _WHOLE.fullmatch(text):
        raise _BrokenError(f"{shown} has {key} = {one_line(text, 40)!r}, which is no whole number")
    return int(text)
