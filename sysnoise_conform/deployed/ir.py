"""An OpenVINO IR, checked: the layers of its .xml, the edges between them, and where each weight lies in its .bin."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from math import prod
from pathlib import Path
from xml.etree.ElementTree import Element

from sysnoise_conform.deployed import xml
from sysnoise_conform.deployed.interface import Checked, Interface, Port
from sysnoise_conform.errors import BadModel
from sysnoise_conform.files import digest_stream, open_beside, read_regular
from sysnoise_conform.printable import one_line

MAX_XML_BYTES = 1 << 28
MAX_BIN_BYTES = 64 << 30
MAX_TENSOR_BYTES = 64 << 30
MAX_RANK = 64
VERSIONS = ("10", "11")

# Bits of one element; None where elements have no fixed size, or are packed across bytes.
_BITS: dict[str, int | None] = {
    "f64": 64, "f32": 32, "f16": 16, "bf16": 16, "f8e4m3": 8, "f8e5m2": 8, "f8e8m0": 8, "f4e2m1": 4, "nf4": 4,
    "i64": 64, "i32": 32, "i16": 16, "i8": 8, "i4": 4, "u64": 64, "u32": 32, "u16": 16, "u8": 8, "u4": 4, "u2": 2,
    "u1": 1, "boolean": 8, "u3": None, "u6": None, "string": None,
}  # fmt: skip
_WHOLE = re.compile(r"[0-9]{1,19}")
_SIZE = re.compile(r"-1|[0-9]{1,19}")
_OPEN_SIZE = re.compile(r"\?|-1|[0-9]{0,19}\.\.[0-9]{0,19}")
_COMMA = re.compile(r"(?<!\\),")


def read(path: Path, allow_linked: bool) -> Checked:
    """The interface of an .xml with the .bin beside it; raises BadModel for a pair that is broken in any way.

    `allow_linked` accepts a .bin that is a link to elsewhere.
    """
    data = read_regular(path, what="the deployed file", error=BadModel, limit=MAX_XML_BYTES)
    weights = path.with_suffix(".bin")
    with open_beside(
        path, weights.name, what="its weights", error=BadModel, limit=MAX_BIN_BYTES, allow_linked=allow_linked
    ) as stream:
        size, digest = os.fstat(stream.fileno()).st_size, digest_stream(stream)
    try:
        interface = _interface(xml.parse(data), size)
    except (xml.XmlError, _BrokenError) as err:
        raise BadModel(
            f"the deployed file {one_line(path.name, 120)!r} is no sound OpenVINO IR: {one_line(err, 300)}",
            hint="convert or copy it again",
        ) from err
    return Checked(interface=interface, files=((path, hashlib.sha256(data).hexdigest()), (weights, digest)))


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


def _interface(root: Element, size: int) -> Interface:
    if root.tag != "net":
        raise _BrokenError(f"its root is <{one_line(root.tag, 40)}>, not <net>")
    if root.get("version") not in VERSIONS:
        raise _BrokenError(f"it is of version {one_line(root.get('version'), 20)}; known: {', '.join(VERSIONS)}")
    graph = _graph(root, size)
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


def _graph(element: Element, size: int) -> _Graph:
    """The layers and edges of a network or body, and of all bodies inside, checked; `size` bytes of weights."""
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
        _check_layer(layer, size)
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
    ports: dict[str, dict[int, Element]] = {"input": {}, "output": {}}
    for side, found in ports.items():
        for port in _children(element, side, "port"):
            number = _number(port, "id", shown)
            if number in found:
                raise _BrokenError(f"{shown} has two {side} ports {number}")
            found[number] = port
            _dims(port, shown)
    return _Layer(element, shown, kind, tuple(ports["input"]), ports["output"])


def _dims(port: Element, shown: str) -> list[int]:
    texts = [(each.text or "").strip() for each in port.iterfind("dim")]
    if len(texts) > MAX_RANK or not all(_SIZE.fullmatch(each) for each in texts):
        raise _BrokenError(f"{shown} has a port of impossible sizes {one_line(texts[:8], 80)}")
    return [int(each) for each in texts]


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


def _check_layer(layer: _Layer, size: int) -> None:
    if layer.kind == "Parameter":
        _check_parameter(layer)
    elif layer.kind == "Const":
        _check_constant(layer, size)
    for child in layer.element:
        if child.find("layers") is not None:
            body = _graph(child, size)
            prefix = child.tag.removesuffix("body")  # then_body goes with then_port_map
            _check_body(layer, body, layer.element.find(f"{prefix}port_map"), layer.element.find("back_edges"))


def _check_parameter(layer: _Layer) -> None:
    data = layer.element.find("data")
    if data is None or len(layer.outputs) != 1 or layer.inputs:
        raise _BrokenError(f"{layer.shown} is no sound Parameter")
    _open_shape(data, layer.shown)


def _check_constant(layer: _Layer, size: int) -> None:
    data = layer.element.find("data")
    if data is None or len(layer.outputs) != 1 or layer.inputs:
        raise _BrokenError(f"{layer.shown} is no sound Const")
    kind = data.get("element_type", "")
    if kind not in _BITS:
        raise _BrokenError(f"{layer.shown} has the element type {one_line(kind, 20)!r}, which conform does not know")
    shape = _open_shape(data, layer.shown)
    if shape is None or None in shape:
        raise _BrokenError(f"{layer.shown} is a Const without a shape of its own")
    if list(shape) != _dims(next(iter(layer.outputs.values())), layer.shown):
        raise _BrokenError(f"{layer.shown} has another shape than its port")
    start, length = _number(data, "offset", layer.shown), _number(data, "size", layer.shown)
    bits = _BITS[kind]
    if bits is not None:
        needed = -(-prod(each or 0 for each in shape) * bits // 8)
        if needed != length:
            raise _BrokenError(f"{layer.shown} {kind} {list(shape)[:8]} needs {needed:,} bytes, it says {length:,}")
    if start + length > size:
        raise _BrokenError(f"{layer.shown} is bytes {start:,} to {start + length:,} of the .bin, which has {size:,}")


def _open_shape(data: Element, shown: str) -> tuple[int | None, ...] | None:
    """The `shape` of a Parameter or Const: sizes, `?` or `a..b` where one is open, `...` where the rank is."""
    texts = [each.strip() for each in data.get("shape", "").split(",")]
    if texts == ["..."]:
        return None
    if texts == [""]:
        return ()
    if len(texts) > MAX_RANK or not all(_WHOLE.fullmatch(each) or _OPEN_SIZE.fullmatch(each) for each in texts):
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
