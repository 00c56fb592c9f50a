"""Convolutions and matrix products: the rounding of long sums, and where a kernel lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sysnoise_conform.probe.arrays import Array, f32
from sysnoise_conform.probe.case import Kind, ProbeCase, Trigger, case
from sysnoise_conform.probe.node import Node
from sysnoise_conform.probe.rounding import summed


def convolve(
    x: Array, w: Array, *, strides: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1), group: int = 1,
) -> Array:  # fmt: skip
    """Conv over two axes in float64."""
    top, left, bottom, right = pads
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    kernel = w.shape[2:]
    counts = [
        (size - step * (k - 1) - 1) // stride + 1
        for size, k, stride, step in zip(padded.shape[2:], kernel, strides, dilations, strict=True)
    ]
    parts = []
    for inputs, weights in zip(np.split(padded, group, 1), np.split(w.astype(np.float64), group, 0), strict=True):
        y = np.zeros((x.shape[0], weights.shape[0], *counts))
        for i, j in np.ndindex(*kernel):
            rows = slice(i * dilations[0], i * dilations[0] + (counts[0] - 1) * strides[0] + 1, strides[0])
            columns = slice(j * dilations[1], j * dilations[1] + (counts[1] - 1) * strides[1] + 1, strides[1])
            y += np.einsum("nchw,oc->nohw", inputs[:, :, rows, columns], weights[:, :, i, j], optimize=True)
        parts.append(y)
    return np.concatenate(parts, 1)


def convolve_transposed(
    x: Array, w: Array, *, strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int] = (1, 1),
    group: int = 1, output_padding: int = 0,
) -> Array:  # fmt: skip
    """ConvTranspose over two axes in float64: each input pixel puts a kernel down, the pads are cut off."""
    top, left, bottom, right = pads
    kernel, sizes = w.shape[2:], x.shape[2:]
    lengths = [
        (size - 1) * stride + step * (k - 1) + 1 + output_padding
        for size, k, stride, step in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    parts = []
    for inputs, weights in zip(
        np.split(x.astype(np.float64), group, 1), np.split(w.astype(np.float64), group, 0), strict=True
    ):
        y = np.zeros((x.shape[0], weights.shape[1], *lengths))
        for i, j in np.ndindex(*kernel):
            rows = slice(i * dilations[0], i * dilations[0] + (sizes[0] - 1) * strides[0] + 1, strides[0])
            columns = slice(j * dilations[1], j * dilations[1] + (sizes[1] - 1) * strides[1] + 1, strides[1])
            y[:, :, rows, columns] += np.einsum("nchw,co->nohw", inputs, weights[:, :, i, j], optimize=True)
        parts.append(y)
    y = np.concatenate(parts, 1)
    return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]


def _conv(
    name: str, about: str, why: str, x: Array, w: Array, trigger: Trigger | None, *, kind: Kind = Kind.CONTROL,
    attributes: dict[str, Any] | None = None, **as_numbers: Any,
) -> ProbeCase:  # fmt: skip
    """`as_numbers` is for the reference; the node's attributes are the same unless given."""
    scale = convolve(np.abs(x), np.abs(w), **as_numbers)
    return case(
        f"conv-{name}", "Conv", about, kind, why, {"x": x, "w": w},
        summed(convolve(x, w, **as_numbers), int(np.prod(w.shape[1:])), scale), constants=("w",),
        attributes={k: list(v) if isinstance(v, tuple) else v for k, v in as_numbers.items()}
        if attributes is None
        else attributes,
        trigger=trigger,
    )  # fmt: skip


def _transposed(
    name: str, about: str, why: str, x: Array, w: Array, trigger: Trigger, attributes: dict[str, Any], **as_numbers: Any
) -> ProbeCase:
    scale = convolve_transposed(np.abs(x), np.abs(w), **as_numbers)
    terms = int(np.prod((w.shape[0], *w.shape[2:])))
    return case(
        f"convtranspose-{name}", "ConvTranspose", about, Kind.CONTROL, why, {"x": x, "w": w},
        summed(convolve_transposed(x, w, **as_numbers), terms, scale), constants=("w",), attributes=attributes,
        trigger=trigger,
    )  # fmt: skip


def _dilated_by_group(node: Node) -> bool:
    return any(each != 1 for each in node.attributes.get("dilations", ())) and node.attributes.get("group", 1) != 1


def _scaled(node: Node) -> bool:
    return any(node.attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta"))


def _uneven(node: Node) -> bool:
    pads: tuple[int, ...] = node.attributes.get("pads", ())
    return pads[: len(pads) // 2] != pads[len(pads) // 2 :]


def _matmul(rng: np.random.Generator) -> ProbeCase:
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((64, 512), (512, 64)))
    y = a.astype(np.float64) @ b.astype(np.float64)
    return case(
        "matmul-512", "MatMul", "sums of 512 products", Kind.PRECISION, "float32's rounding and no more",
        {"a": a, "b": b}, summed(y, 512, np.abs(a).astype(np.float64) @ np.abs(b)), trigger=Trigger(),
    )  # fmt: skip


def _gemm(
    rng: np.random.Generator, name: str, about: str, why: str, trigger: Trigger, *, turned: int = 0,
    alpha: float = 1.0, beta: float = 1.0, bias: tuple[int, ...] = (4,),
) -> ProbeCase:  # fmt: skip
    shapes = ((7, 5), (4, 7), bias) if turned else ((5, 7), (7, 4), bias)
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    x, y, z = (each.astype(np.float64) for each in (a, b, c))
    x, y = (x.T, y.T) if turned else (x, y)
    return case(
        f"gemm-{name}", "Gemm", about, Kind.CONTROL, why, {"a": a, "b": b, "c": c},
        summed(alpha * x @ y + beta * z, 8, alpha * np.abs(x) @ np.abs(y) + beta * np.abs(z)), constants=("b", "c"),
        attributes={"transA": turned, "transB": turned, "alpha": alpha, "beta": beta}, opset=13, trigger=trigger,
    )  # fmt: skip


def _integers(rng: np.random.Generator) -> ProbeCase:
    a = rng.integers(0, 256, (4, 64), dtype=np.uint8)
    b = rng.integers(-128, 128, (64, 8), dtype=np.int8)
    a[0], b[:, 0] = 255, 127  # the largest products in a row: where 16 bits between them overflow
    return case(
        "matmulinteger-extremes", "MatMulInteger", "255 x 127, 64 times", Kind.CONTROL, "32 bits hold every sum",
        {"a": a, "b": b}, a.astype(np.int32) @ b.astype(np.int32), constants=("b",), trigger=Trigger(),
    )  # fmt: skip


def cases() -> tuple[ProbeCase, ...]:
    """All of them."""
    rng = np.random.default_rng(23)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    wide, weights = normal(1, 256, 8, 8), normal(64, 256, 3, 3) / f32(48)
    odd, even, w, t = normal(1, 4, 9, 9), normal(1, 4, 8, 8), normal(6, 4, 3, 3), normal(4, 6, 3, 3)
    half, depthwise, grouped = normal(6, 2, 3, 3), normal(4, 1, 3, 3), normal(4, 3, 3, 3)
    three, two, padding = [3, 3], [2, 2], Trigger(attributes=("auto_pad",))
    return (
        _conv("256", "3x3, 256 to 64 channels", "float32's rounding and no more", wide, weights, None,
              kind=Kind.PRECISION, pads=(1, 1, 1, 1)),
        _conv("same-upper", "auto_pad=SAME_UPPER, strides=2", "an odd padding has its larger half behind",
              odd[:, :, :8], w, padding, attributes={"auto_pad": "SAME_UPPER", "strides": two}, strides=(2, 2),
              pads=(0, 1, 1, 1)),
        _conv("same-lower", "auto_pad=SAME_LOWER, strides=2", "an odd padding has its larger half in front", even, w,
              padding, attributes={"auto_pad": "SAME_LOWER", "strides": two}, strides=(2, 2), pads=(1, 1, 0, 0)),
        _conv("uneven-pads", "pads of two sizes", "each side has its own padding", even, w, Trigger(also=_uneven),
              pads=(2, 0, 1, 1)),
        _conv("dilated-groups", "dilations=2, group=2", "each group sees its own channels", even, half,
              Trigger(also=_dilated_by_group), dilations=(2, 2), group=2, pads=(2, 2, 2, 2)),
        _conv("depthwise", "depthwise", "each channel by itself", even, depthwise,
              Trigger(also=lambda node: node.attributes.get("group", 1) == ((node.shape(1) or (None,))[0] or 0) > 1),
              group=4, pads=(1, 1, 1, 1)),
        _transposed("output-padding", "strides=2, output_padding=1", "one more row and column behind", odd, t,
                    Trigger(also=lambda node: any(node.attributes.get("output_padding", ()))),
                    {"strides": two, "pads": [1] * 4, "output_padding": [1, 1]},
                    strides=(2, 2), pads=(1, 1, 1, 1), output_padding=1),
        _transposed("dilated-groups", "dilations=2, group=2, uneven pads", "each group sees its own channels",
                    normal(1, 4, 6, 5), grouped, Trigger(also=_dilated_by_group),
                    {"strides": [2, 1], "pads": [0, 1, 2, 0], "dilations": two, "group": 2},
                    strides=(2, 1), pads=(0, 1, 2, 0), dilations=(2, 2), group=2),
        _transposed("same-upper", "auto_pad=SAME_UPPER, strides=2", "the output is strides times as large", even, t,
                    padding, {"auto_pad": "SAME_UPPER", "strides": two, "kernel_shape": three},
                    strides=(2, 2), pads=(0, 0, 1, 1)),
        _gemm(rng, "transposed", "transA=1, transB=1", "both are turned", Trigger(attributes=("transA", "transB")),
              turned=1),
        _gemm(rng, "scaled", "alpha=0.5, beta=2", "the product and the bias are scaled", Trigger(also=_scaled),
              alpha=0.5, beta=2.0),
        _gemm(rng, "bias-column", "a bias for each row", "it is broadcast along the columns",
              Trigger(also=lambda node: (shape := node.shape(2)) is not None and len(shape) == 2 and shape[1] == 1),
              bias=(5, 1)),
        _matmul(rng),
        _integers(rng),
    )  # fmt: skip
