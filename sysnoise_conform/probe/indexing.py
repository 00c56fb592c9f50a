"""Indices and the movement of data: bounds, order, padding, blocks, boxes."""

from __future__ import annotations

import numpy as np

from sysnoise_conform.probe.arrays import Array, f32, i64
from sysnoise_conform.probe.case import Kind, ProbeCase, Refusal, Trigger, case
from sysnoise_conform.probe.node import Node
from sysnoise_conform.probe.rounding import named


def _blocks_to_space(x: Array, size: int, mode: str) -> Array:
    batch, channels, height, width = x.shape
    depth = channels // size**2
    if mode == "DCR":
        y = x.reshape(batch, size, size, depth, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(batch, depth, size, size, height, width).transpose(0, 1, 4, 2, 5, 3)
    return np.ascontiguousarray(y.reshape(batch, depth, height * size, width * size))


def _pad(x: Array, mode: str, *, opset: int, kind: Kind = Kind.CONTROL) -> ProbeCase:
    y = np.pad(x, ((0, 0), (0, 0), (2, 4), (3, 1)), mode)  # type: ignore[call-overload]
    return case(
        f"pad-{mode}", "Pad", f"mode={mode}", kind, "as numpy pads",
        {"x": x, "pads": i64([0, 0, 2, 3, 0, 0, 4, 1])}, y, constants=("pads",),
        attributes={"mode": mode}, opset=opset, trigger=Trigger(attributes=("mode",)),
    )  # fmt: skip


def _gathers() -> list[ProbeCase]:
    row = np.arange(6, dtype=np.float32)
    return [
        case("gather-out-of-bounds", "Gather", "a constant index out of bounds", Kind.BUG,
             "an error: indices go from -6 to 5", {"x": row, "i": i64([5, 6, -7])},
             Refusal(why="an index is out of bounds"), constants=("i",), opset=13),
        case("gather-negative", "Gather", "negative indices", Kind.CONTROL, "they count from the end",
             {"x": row, "i": i64([-1, -6, 0])}, f32([5, 0, 0]), constants=("i",), opset=13,
             trigger=Trigger(also=negative_indices)),
        case("gatherelements-negative", "GatherElements", "negative indices", Kind.CONTROL, "they count from the end",
             {"x": row.reshape(2, 3), "i": i64([[-1, 0], [1, -3]])}, f32([[2, 0], [4, 3]]),
             constants=("i",), attributes={"axis": 1}, opset=13, trigger=Trigger(also=negative_indices)),
        case("scatterelements-add", "ScatterElements", "reduction=add, an index twice", Kind.CONTROL, "both are added",
             {"x": row, "i": i64([1, 1, 4]), "u": f32([10, 20, 30])}, f32([0, 31, 2, 3, 34, 5]),
             constants=("i",), attributes={"axis": 0, "reduction": "add"}, opset=16,
             trigger=Trigger(attributes=("reduction",)), when="where an index comes twice"),
        case("scatternd", "ScatterND", "rows", Kind.CONTROL, "whole rows are replaced",
             {"x": row.reshape(3, 2), "i": i64([[2], [0]]), "u": f32([[7, 8], [9, 10]])},
             f32([[9, 10], [2, 3], [7, 8]]), constants=("i",), opset=16,
             trigger=Trigger(attributes=("reduction",))),
        case("slice-backwards", "Slice", "steps=-2", Kind.CONTROL, "from the end, every second",
             {"x": row, "s": i64([-1]), "e": i64([-100]), "a": i64([0]), "t": i64([-2])},
             f32([5, 3, 1]), constants=("s", "e", "a", "t"), opset=13, trigger=Trigger(also=_backwards)),
    ]  # fmt: skip


def _boxes() -> list[ProbeCase]:
    corners = f32([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, -0.1, 1, 0.9], [0, 10, 1, 11], [0, 10.1, 1, 11.1],
                           [0, 100, 1, 101]]])  # fmt: skip
    limits = {"most": i64([3]), "overlap": f32([0.5]), "least": f32([0.0])}

    def one(name: str, about: str, why: str, scores: Array, y: list[list[int]]) -> ProbeCase:
        return case(f"nonmaxsuppression{name}", "NonMaxSuppression", about, Kind.CONTROL, why,
                    {"boxes": corners, "scores": f32([[scores]]), **limits}, i64(y),
                    constants=tuple(limits), opset=11, trigger=Trigger(),
                    when="where two scores are equal" if name else "")  # fmt: skip

    return [
        one("", "6 boxes", "the best score first", f32([0.9, 0.75, 0.6, 0.95, 0.5, 0.3]),
            [[0, 0, 3], [0, 0, 0], [0, 0, 5]]),
        one("-ties", "6 boxes, five equal scores", "of equals the lower index comes first",
            f32([0.9, 0.9, 0.9, 0.9, 0.9, 0.3]), [[0, 0, 0], [0, 0, 3], [0, 0, 5]]),
    ]  # fmt: skip


def _parts_that_differ(node: Node) -> bool:
    """Whether a Split is known to be by a number of parts that its axis can't be divided into evenly."""
    shape, parts, axis = node.shape(), node.attributes.get("num_outputs"), int(node.attributes.get("axis", 0))
    if not parts or shape is None or not -len(shape) <= axis < len(shape):
        return False
    size = shape[axis]
    return size is not None and size % int(parts) != 0


def cases() -> tuple[ProbeCase, ...]:
    """All of them."""
    rng = np.random.default_rng(27)
    image = rng.random((1, 3, 6, 7), dtype=np.float32)
    blocks = rng.standard_normal((1, 8, 3, 3)).astype(np.float32)
    order = Trigger(attributes=("mode", "blocksize"))
    return (
        *_gathers(),
        *_boxes(),
        _pad(image, "wrap", opset=19, kind=Kind.UNSUPPORTED),
        _pad(image, "reflect", opset=13),
        _pad(image, "edge", opset=13),
        case("depthtospace-dcr", "DepthToSpace", "mode=DCR", Kind.SEMANTICS,
             "depth, column, row: PyTorch's pixel_shuffle is CRD", {"x": blocks}, _blocks_to_space(blocks, 2, "DCR"),
             attributes={"blocksize": 2}, opset=13, trigger=order),
        case("depthtospace-crd", "DepthToSpace", "mode=CRD", Kind.CONTROL, "column, row, depth", {"x": blocks},
             _blocks_to_space(blocks, 2, "CRD"), attributes={"blocksize": 2, "mode": "CRD"}, opset=13, trigger=order),
        case("transpose", "Transpose", "perm=2,0,3,1", Kind.CONTROL, "the axes in another order", {"x": image},
             np.ascontiguousarray(image.transpose(2, 0, 3, 1)), attributes={"perm": [2, 0, 3, 1]}, opset=13,
             trigger=Trigger()),
        case("tile", "Tile", "two axes", Kind.CONTROL, "repeated as a whole", {"x": image, "r": i64([1, 2, 1, 3])},
             np.tile(image, (1, 2, 1, 3)), constants=("r",), opset=13, trigger=Trigger()),
        case("split-uneven", "Split", "parts of 1, 4 and 2", Kind.CONTROL, "as long as they are asked for",
             {"x": image, "s": i64([1, 4, 2])},
             named({"a": image[..., :1], "b": image[..., 1:5], "c": image[..., 5:]}), constants=("s",),
             attributes={"axis": 3}, opset=13, trigger=Trigger()),
        case("split-num-outputs-uneven", "Split", "num_outputs=2 of 7", Kind.BUG, "all parts but the last are as long",
             {"x": image}, named({"a": image[..., :4], "b": image[..., 4:]}),
             attributes={"axis": 3, "num_outputs": 2}, opset=18, trigger=Trigger(also=_parts_that_differ)),
        case("expand", "Expand", "two axes", Kind.CONTROL, "as numpy broadcasts",
             {"x": f32([[[1]], [[2]]]), "s": i64([2, 3, 4])},
             np.ascontiguousarray(np.broadcast_to(f32([[[1]], [[2]]]), (2, 3, 4))), constants=("s",), opset=13,
             trigger=Trigger()),
        case("trilu-lower", "Trilu", "upper=0, k=-1", Kind.CONTROL, "what lies below the diagonal",
             {"x": image[0], "k": np.array(-1, np.int64)}, np.tril(image[0], -1), constants=("k",),
             attributes={"upper": 0}, opset=14, trigger=Trigger(attributes=("upper",))),
        case("onehot-negative", "OneHot", "a negative index, axis=0", Kind.CONTROL, "it counts from the end",
             {"i": i64([0, -1, 2]), "depth": i64([4]), "values": f32([-1, 5])},
             np.where(np.array([0, 3, 2]) == np.arange(4)[:, None], f32(5), f32(-1)),
             constants=("depth", "values"), attributes={"axis": 0}, opset=11, trigger=Trigger(attributes=("axis",)),
             when="where an index is negative"),
        case("concat-negative-axis", "Concat", "axis=-2", Kind.CONTROL, "it counts from the end",
             {"x": image, "z": image[:, :, :2]}, np.concatenate([image, image[:, :, :2]], -2), attributes={"axis": -2},
             opset=13, trigger=Trigger(also=lambda node: node.attributes.get("axis", 0) < 0)),
        case("where-broadcast", "Where", "all three broadcast", Kind.CONTROL, "as numpy broadcasts",
             {"c": np.array([[True], [False]]), "x": f32([[1, 2, 3]]), "y_": f32([[[4]], [[5]]])},
             np.where([[True], [False]], f32([[1, 2, 3]]), f32([[[4]], [[5]]])), opset=16,
             trigger=Trigger()),
    )  # fmt: skip


def negative_indices(node: Node) -> bool:
    """Whether a constant second input has one that counts from the end."""
    index = node.constant(1)
    return index is not None and bool((index < 0).any())


def _backwards(node: Node) -> bool:
    steps = node.constant(4)
    return steps is not None and bool((steps < 0).any())
