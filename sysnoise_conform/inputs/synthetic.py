"""Seeded inputs for a model that was given none: plausible enough to exercise it, no evidence for a release."""

from __future__ import annotations

import hashlib
from math import prod
from typing import assert_never

import numpy as np
from onnx import TensorProto

from sysnoise_conform.card import Card, ImageInput
from sysnoise_conform.errors import BadInput
from sysnoise_conform.graph.free_sizes import free_sizes
from sysnoise_conform.graph.intake import Model, Port
from sysnoise_conform.graph.shapes import Shapes, bind_shapes, describe, numpy_type
from sysnoise_conform.inputs.roles import FLOATS, INTEGERS, Ids, Image, Mask, Real, Role, Whole, role_of
from sysnoise_conform.inputs.samples import SYNTHETIC, Feed, Samples, kept
from sysnoise_conform.printable import one_line

DEFAULT_SAMPLES = 4
DEFAULT_LAYERS = 20_000  # over all samples that nobody asked for: each layer of each costs a comparison of its own
MAX_ELEMENTS = 1 << 30
_UNKNOWN_WHOLE = 10  # integers of unknown meaning are 0 to 9


def synthetic(model: Model, *, card: Card | None, samples: int | None, seed: int, shapes: Shapes) -> Samples:
    """`samples` feeds that depend on nothing but `seed`, the inputs and their place in the graph.

    Raises BadInput for dimensions that nobody fixed and for inputs that can't be made up (strings).
    """
    known = {**_card_shapes(model, card), **shapes}
    free = free_sizes(model, known)
    sizes = bind_shapes(model, {**known, **free})
    count = samples if samples is not None else _default_count(len(model.layers))
    roles = {each.name: role_of(each, sizes[each.name], model.proto.graph) for each in model.inputs}
    for port in model.inputs:
        if port.elem_type not in FLOATS | INTEGERS | {TensorProto.BOOL}:
            raise BadInput(
                f"no synthetic values exist for input {one_line(port.name)!r} ({describe(port)})", hint="give --inputs"
            )
        if prod(sizes[port.name]) > MAX_ELEMENTS:
            raise BadInput(f"input {one_line(port.name)!r} would have {prod(sizes[port.name]):,} elements")
    spec = card.image if card is not None else None

    def make(number: int) -> Feed:
        return {
            port.name: _values(
                port, sizes[port.name], roles[port.name], spec, np.random.default_rng([seed, number, place])
            )
            for place, port in enumerate(model.inputs)
        }

    feed = kept(make)
    digest = hashlib.sha256()
    for number in range(count):
        for name, array in feed(number).items():
            digest.update(f"{name}\0{array.dtype}\0{array.shape}\n".encode())
            digest.update(array.tobytes())
    return Samples(
        kind=SYNTHETIC,
        names=tuple(f"synthetic {number}" for number in range(count)),
        sha256=digest.hexdigest(),
        make=feed,
        notes=tuple(_note(port, roles[port.name]) for port in model.inputs),
        chosen=(*_fewer(samples, count, len(model.layers)), *(_choice(name, shape) for name, shape in free.items())),
    )


def _default_count(layers: int) -> int:
    return min(DEFAULT_SAMPLES, max(1, DEFAULT_LAYERS // max(layers, 1)))


def _fewer(asked: int | None, count: int, layers: int) -> tuple[str, ...]:
    if asked is not None or count == DEFAULT_SAMPLES:
        return ()
    return (f"--samples {count}: the model has {layers:,} layers, each is compared on every sample",)


def _choice(name: str, shape: tuple[int, ...]) -> str:
    return f"--shape {one_line(name, 80)}={','.join(map(str, shape))}: no operator here cares for the sizes"


def _card_shapes(model: Model, card: Card | None) -> dict[str, tuple[int, ...]]:
    names = {each.name for each in model.inputs}
    return {name: shape for name, shape in (card.shapes if card is not None else {}).items() if name in names}


def _values(
    port: Port, shape: tuple[int, ...], role: Role, spec: ImageInput | None, rng: np.random.Generator
) -> np.ndarray:
    dtype = numpy_type(port)
    match role:
        case Image(channels=axis):
            values = _picture(shape, axis, rng)
            if port.elem_type in INTEGERS:
                values = np.rint(values * 255) - (128 if dtype.kind == "i" else 0)
            elif spec is not None:
                values = _normalised(values * 255, axis, spec)
        case Ids(rows=rows):
            values = rng.integers(0, rows, shape)
        case Mask():
            values = _mask(shape, rng)
        case Whole():
            values = rng.integers(0, _UNKNOWN_WHOLE, shape)
        case Real():
            values = rng.standard_normal(shape)
        case _:
            assert_never(role)
    return np.asarray(values).astype(dtype)


def _picture(shape: tuple[int, ...], axis: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls as 1/frequency, as natural images' does, in 0..1; colours mostly agree."""
    count, channels = shape[0], shape[axis]
    height, width = (shape[2], shape[3]) if axis == 1 else (shape[1], shape[2])
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    fields = rng.standard_normal((count, channels + 1, height, width))
    smooth = np.fft.irfft2(np.fft.rfft2(fields) / frequency, s=(height, width))
    smooth /= smooth.std(axis=(2, 3), keepdims=True) + 1e-12
    mixed = smooth[:, :1] + 0.35 * smooth[:, 1:]
    values = np.clip(0.45 + 0.2 * mixed, 0, 1)
    return values if axis == 1 else values.transpose(0, 2, 3, 1)


def _normalised(pixels: np.ndarray, axis: int, spec: ImageInput) -> np.ndarray:
    lead = [1] * 4
    channels = pixels.shape[axis]
    mean, std = (np.resize(np.array(each), channels) for each in (spec.mean, spec.std))
    lead[axis] = channels
    return (pixels * spec.scale - mean.reshape(lead)) / std.reshape(lead)


def _mask(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Ones, then zeros, along the last axis: padding on the right, at least half of it kept."""
    if not shape:
        return np.ones(())
    length = shape[-1]
    kept = rng.integers((length + 1) // 2, length + 1, (*shape[:-1], 1))
    return np.arange(length) < kept


def _note(port: Port, role: Role) -> str:
    name = one_line(port.name, 80)
    match role:
        case Image():
            return f"{name}: image-like 1/f noise"
        case Ids(rows=rows):
            return f"{name}: indices below {rows}"
        case Mask():
            return f"{name}: a mask of ones with zeros on the right"
        case Whole():
            return f"{name}: integers below {_UNKNOWN_WHOLE} of unknown meaning; bind it with --input, or give --inputs"
        case Real():
            return f"{name}: normal random numbers"
        case _:
            assert_never(role)
