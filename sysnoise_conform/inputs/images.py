"""Samples out of pictures, prepared as the model's card says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sysnoise_conform.card import Card, ImageInput
from sysnoise_conform.errors import BadInput
from sysnoise_conform.graph.intake import Model, Port
from sysnoise_conform.graph.shapes import Shapes, check_feed, describe, numpy_type
from sysnoise_conform.inputs.samples import IMAGES, Feed, Samples, kept
from sysnoise_conform.pictures.decode import decode
from sysnoise_conform.pictures.place import prepare
from sysnoise_conform.printable import one_line


def from_images(model: Model, paths: Sequence[Path], card: Card | None, shapes: Shapes) -> Samples:
    """One sample per picture, in the given order; each is decoded once here, so that a broken one is named at once.

    Raises BadInput without a card that has an [image] table, and for a model with further inputs.
    """
    if card is None or card.image is None:
        where = "no card was found" if card is None else f"the card {one_line(card.name)!r} has no [image] table"
        raise BadInput(
            f"pictures need a model card that says how to prepare them, and {where}",
            hint=f"write {one_line(model.path.stem)}.toml beside the model, or give --card",
        )
    spec = card.image
    port = image_port(model, spec)
    digest = hashlib.sha256(repr(replace(spec, name="")).encode())
    for path in paths:
        pixels = decode(path, exif=spec.exif, decoder=spec.decoder)
        digest.update(f"{path.name}\0{pixels.shape}\n".encode(errors="surrogateescape"))
        digest.update(pixels.tobytes())
    size = fixed_size(port, spec, shapes)

    def make(number: int) -> Feed:
        path = paths[number]
        tensor = prepare(decode(path, exif=spec.exif, decoder=spec.decoder), spec, size)
        feed = {port.name: tensor.astype(numpy_type(port), copy=False)}
        check_feed(model, feed, f"the image {one_line(path.name, 120)!r}, prepared as the card says,")
        return feed

    feed = kept(make)
    if paths:
        feed(0)
    return Samples(
        kind=IMAGES,
        names=tuple(one_line(each.name, 120) for each in paths),
        sha256=digest.hexdigest(),
        make=feed,
    )


def image_port(model: Model, spec: ImageInput) -> Port:
    """The one input that pictures fill. Raises BadInput where there are others, or it is no image."""
    ports = {each.name: each for each in model.inputs}
    if spec.name and spec.name not in ports:
        raise BadInput(f"the card's image input {one_line(spec.name)!r} is no input of the model")
    others = [name for name in ports if name != spec.name] if spec.name else list(ports)[1:]
    if others or not ports:
        wanted = ", ".join(f"{one_line(name)} {describe(ports[name])}" for name in others) or "an image input"
        raise BadInput(
            f"pictures fill one input; the model also takes: {wanted}", hint="bind it with --input name=value"
        )
    port = ports[spec.name] if spec.name else model.inputs[0]
    if port.shape is not None and len(port.shape) != 4:
        raise BadInput(f"input {one_line(port.name)!r} is {describe(port)}: no image", hint="pass arrays instead")
    channels = port.shape[1 if spec.layout == "NCHW" else 3] if port.shape else None
    made = 1 if spec.colour == "GRAY" else 3
    if isinstance(channels, int) and channels != made:
        raise BadInput(
            f"the card makes images of {made} channel{'s' * (made > 1)} ({spec.colour}, {spec.layout}), the model's"
            f" input {one_line(port.name)!r} is {describe(port)}",
            hint="correct the card's colour or layout",
        )
    return port


def fixed_size(port: Port, spec: ImageInput, shapes: Shapes | None = None) -> tuple[int | None, int | None]:
    """Height and width that the model, or the command line, fixes."""
    declared = tuple(each if isinstance(each, int) else None for each in port.shape or ())
    sizes: tuple[int | None, ...] = (shapes or {}).get(port.name, declared)
    if len(sizes) != 4:
        return None, None
    return (sizes[2], sizes[3]) if spec.layout == "NCHW" else (sizes[1], sizes[2])
