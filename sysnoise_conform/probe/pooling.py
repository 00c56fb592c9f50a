"""Pooling: what a window that runs past the input counts, and which windows there are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from sysnoise_conform.probe.arrays import Array
from sysnoise_conform.probe.case import Kind, ProbeCase, Trigger, case
from sysnoise_conform.probe.node import Node
from sysnoise_conform.probe.rounding import rounded


def _length(size: int, kernel: int, stride: int, before: int, after: int, dilation: int, *, ceil: bool) -> int:
    """The number of windows along one axis; one that would start in the padding behind the input is none."""
    room = size + before + after - dilation * (kernel - 1) - 1
    count = (-(-room // stride) if ceil else room // stride) + 1
    return count - 1 if ceil and (count - 1) * stride >= size + before else count


def pool(
    x: Array,
    kernel: Sequence[int],
    how: Callable[[Array, int], float],
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int] | None = None,
    ceil: bool = False,
) -> Array:
    """Each window through `how(values inside the input, cells inside the padded input)`."""
    rank = len(kernel)
    steps = dilations or (1,) * rank
    sizes = x.shape[2:]
    before, after = pads[:rank], pads[rank:]
    counts = [
        _length(*each, ceil=ceil) for each in zip(sizes, kernel, strides, before, after, steps, strict=True)
    ]
    y = np.empty((*x.shape[:2], *counts))
    for place in itertools.product(*map(range, counts)):
        inside, padded = [], 1
        for axis in range(rank):
            start = place[axis] * strides[axis] - before[axis]
            cells = range(start, start + kernel[axis] * steps[axis], steps[axis])
            inside.append([each for each in cells if 0 <= each < sizes[axis]])
            padded *= sum(each < sizes[axis] + after[axis] for each in cells)
        for n, c in np.ndindex(x.shape[:2]):
            y[(n, c, *place)] = how(x[n, c][np.ix_(*inside)].astype(np.float64).ravel(), padded)
    return y


def _mean_of_inside(values: Array, _padded: int) -> float:
    return float(values.mean())


def _mean_of_padded(values: Array, padded: int) -> float:
    return float(values.sum() / padded)


def _largest(values: Array, _padded: int) -> float:
    return float(values.max())


def _has_pads(node: Node) -> bool:
    return any(node.attributes.get("pads", ()))


def _drops_a_window(node: Node) -> bool:
    """Whether the plain ceil formula has a window that lies in the padding alone; False where a size is unknown."""
    attributes, shape = node.attributes, node.shape()
    kernel = attributes.get("kernel_shape", ())
    if shape is None or len(shape) != len(kernel) + 2 or attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return False
    strides, pads = attributes.get("strides", (1,) * len(kernel)), attributes.get("pads", (0,) * 2 * len(kernel))
    steps = attributes.get("dilations", (1,) * len(kernel))
    for axis, size in enumerate(shape[2:]):
        if size is None:
            continue
        before, after = pads[axis], pads[axis + len(kernel)]
        room = size + before + after - steps[axis] * (kernel[axis] - 1) - 1
        if -(-room // strides[axis]) * strides[axis] >= size + before:
            return True
    return False


def cases() -> tuple[ProbeCase, ...]:
    """All of them."""
    rng = np.random.default_rng(20)
    counting = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    small = rng.random((1, 2, 7, 7), dtype=np.float32)
    box = rng.random((1, 2, 3, 6, 5), dtype=np.float32)
    with_nan = small.copy()
    with_nan[0, 0, 3, 3] = np.nan
    negative = (-1 - rng.random((1, 2, 5, 5))).astype(np.float32)
    two, three, ones = [2, 2], [3, 3], [1, 1, 1, 1]
    ceil_count = Trigger(attributes=("ceil_mode", "count_include_pad"))
    mean = "a mean of at most 9 numbers"
    found = [
        *(
            case(
                f"averagepool-ceil-include-pad-opset{opset}", "AveragePool", "ceil_mode=1, count_include_pad=1",
                Kind.BUG, "a window that runs past the padded input is divided by the cells inside of it",
                {"x": counting},
                rounded(np.array([[14 / 9, 10 / 3, 2], [19 / 3, 11, 6], [4.5, 7.5, 4]])[None, None], 8, mean),
                attributes={
                    "kernel_shape": three, "strides": two, "pads": ones, "ceil_mode": 1, "count_include_pad": 1
                },
                opset=opset, trigger=ceil_count,
            )
            for opset in (11, 19, 22)
        ),
        *(
            case(
                f"maxpool-ceil-last-window-opset{opset}", "MaxPool", "3-D, ceil_mode=1, last window in the padding",
                Kind.BUG, "a window that would start in the padding behind the input does not exist",
                {"x": box},
                pool(box, [3] * 3, _largest, strides=[3] * 3, pads=[1] * 6, ceil=True).astype(np.float32),
                attributes={"kernel_shape": [3] * 3, "strides": [3] * 3, "pads": [1] * 6, "ceil_mode": 1},
                opset=opset, trigger=Trigger(attributes=("ceil_mode",), also=_drops_a_window),
            )
            for opset in (12, 22)
        ),
        case(
            "maxpool-nan", "MaxPool", "a NaN among the inputs", Kind.OPEN,
            "PyTorch gives NaN in all windows that see one", {"x": with_nan},
            pool(with_nan, three, _largest, strides=[1, 1], pads=[0] * 4).astype(np.float32),
            attributes={"kernel_shape": three, "strides": [1, 1]},
            trigger=Trigger(), when="where a NaN reaches it",
        ),
        case(
            "averagepool-ceil-exclude-pad", "AveragePool", "ceil_mode=1, count_include_pad=0", Kind.CONTROL,
            "no window lies in the padding alone, and only cells of the input count",
            {"x": counting[:, :, :2, :2]},
            rounded(np.array([[[[3.5]]]]), 8, mean),
            attributes={"kernel_shape": three, "strides": three, "pads": ones, "ceil_mode": 1},
            trigger=Trigger(attributes=("ceil_mode", "count_include_pad"), also=_drops_a_window),
        ),
        case(
            "maxpool-ceil", "MaxPool", "ceil_mode=1", Kind.CONTROL, "the last window is a part of one", {"x": small},
            pool(small, two, _largest, strides=two, pads=[0] * 4, ceil=True).astype(np.float32),
            attributes={"kernel_shape": two, "strides": two, "ceil_mode": 1},
            trigger=Trigger(attributes=("ceil_mode",)),
        ),
        case(
            "averagepool-exclude-pad", "AveragePool", "pads, count_include_pad=0", Kind.CONTROL,
            "only cells of the input count", {"x": small},
            rounded(pool(small, three, _mean_of_inside, strides=two, pads=ones), 9, mean),
            attributes={"kernel_shape": three, "strides": two, "pads": ones},
            trigger=Trigger(attributes=("ceil_mode", "count_include_pad"), also=_has_pads),
        ),
        case(
            "averagepool-include-pad", "AveragePool", "pads, count_include_pad=1", Kind.CONTROL,
            "cells of the padding count as zeros", {"x": small},
            rounded(pool(small, three, _mean_of_padded, strides=two, pads=ones), 9, mean),
            attributes={"kernel_shape": three, "strides": two, "pads": ones, "count_include_pad": 1},
            trigger=Trigger(attributes=("ceil_mode", "count_include_pad"), also=_has_pads),
        ),
        case(
            "averagepool-uneven-pads", "AveragePool", "pads of two sizes", Kind.CONTROL,
            "each side has its own padding", {"x": small},
            rounded(pool(small, two, _mean_of_inside, strides=[1, 1], pads=[1, 0, 0, 1]), 9, mean),
            attributes={"kernel_shape": two, "strides": [1, 1], "pads": [1, 0, 0, 1]},
            trigger=Trigger(attributes=("ceil_mode", "count_include_pad"), also=_uneven),
        ),
        case(
            "averagepool-same-upper", "AveragePool", "auto_pad=SAME_UPPER", Kind.CONTROL,
            "an odd padding has its larger half behind", {"x": small[:, :, :6, :6]},
            rounded(pool(small[:, :, :6, :6], three, _mean_of_inside, strides=two, pads=[0, 0, 1, 1]), 9, mean),
            attributes={"kernel_shape": three, "strides": two, "auto_pad": "SAME_UPPER"},
            trigger=Trigger(attributes=("auto_pad", "count_include_pad")),
        ),
        case(
            "maxpool-same-lower", "MaxPool", "auto_pad=SAME_LOWER", Kind.CONTROL,
            "an odd padding has its larger half in front", {"x": small[:, :, :6, :6]},
            pool(small[:, :, :6, :6], three, _largest, strides=two, pads=[1, 1, 0, 0]).astype(np.float32),
            attributes={"kernel_shape": three, "strides": two, "auto_pad": "SAME_LOWER"},
            trigger=Trigger(attributes=("auto_pad",)),
        ),
        case(
            "maxpool-negative-pads", "MaxPool", "pads, all inputs negative", Kind.CONTROL,
            "padding is no number: it never wins", {"x": negative},
            pool(negative, three, _largest, strides=two, pads=ones).astype(np.float32),
            attributes={"kernel_shape": three, "strides": two, "pads": ones}, trigger=Trigger(also=_has_pads),
        ),
        case(
            "maxpool-dilations", "MaxPool", "dilations=2", Kind.CONTROL, "every second cell of a window counts",
            {"x": small},
            pool(small, two, _largest, strides=[1, 1], pads=[0] * 4, dilations=two).astype(np.float32),
            attributes={"kernel_shape": two, "strides": [1, 1], "dilations": two}, trigger=Trigger(also=_dilated),
        ),
        case(
            "averagepool-dilations", "AveragePool", "dilations=2", Kind.CONTROL, "every second cell of a window counts",
            {"x": small},
            rounded(pool(small, two, _mean_of_inside, strides=[1, 1], pads=[0] * 4, dilations=two), 9, mean),
            attributes={"kernel_shape": two, "strides": [1, 1], "dilations": two}, opset=19,
            trigger=Trigger(also=_dilated),
        ),
        case(
            "globalaveragepool", "GlobalAveragePool", "7x7", Kind.CONTROL, "the mean over the image", {"x": small},
            rounded(small.astype(np.float64).mean((2, 3), keepdims=True), 24, "a mean of 49 numbers"),
            trigger=Trigger(),
        ),
    ]  # fmt: skip
    return tuple(found)


def _uneven(node: Node) -> bool:
    pads: tuple[int, ...] = node.attributes.get("pads", ())
    return pads[: len(pads) // 2] != pads[len(pads) // 2 :]


def _dilated(node: Node) -> bool:
    return any(each != 1 for each in node.attributes.get("dilations", ()))
