"""What a noise makes of a graph: another one, none, or the node in the way; ONNX Runtime and PyTorch are the judges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from graphs import graph
from noise.asking import graphs_of, ort

from sysnoise_conform.graph.rewrite import NoOp, NotApplicable, Rewrite, Rewritten, edited
from sysnoise_conform.graph.windows import windows_of
from sysnoise_conform.noise import AXES

# A ResNet's beginning, and what makes ten numbers of it at any size.
STEM = """g (float[1,3,{0},{0}] x) => (float[1,10] y)
    <float[8,3,7,7] w = {{{1}}}, float[8,10] m = {{{2}}}> {{
    [stem] c = Conv <kernel_shape = [7,7], strides = [2,2], pads = [3,3,3,3]> (x, w)
    [pool] p = MaxPool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (c)
    {3} }}"""
GLOBAL = "[mean] g = GlobalAveragePool (p) [flat] f = Flatten (g) [head] y = MatMul (f, m)"


def stem(size: int, tail: str = GLOBAL, opset: int = 17) -> onnx.ModelProto:
    random = np.random.default_rng(1)
    weights = [", ".join(f"{v:.4f}" for v in random.standard_normal(n)) for n in (8 * 3 * 49, 80)]
    return graph(STEM.format(size, *weights, tail), opset=opset)


def picture(proto: onnx.ModelProto) -> np.ndarray:
    shape = [each.dim_value or 1 for each in proto.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


def resolved(proto: onnx.ModelProto, folder: Path, **levels: str) -> Rewrite:
    return graphs_of(proto, folder).resolve(tuple(levels.items()), picture(proto))


def rewritten(proto: onnx.ModelProto, folder: Path, **levels: str) -> onnx.ModelProto:
    found = resolved(proto, folder, **levels)
    assert isinstance(found, Rewritten), found
    return edited(proto, found.edits)


@pytest.mark.parametrize("opset", [12, 22])
def test_the_number_of_windows_is_onnxruntimes(opset: int) -> None:
    random = np.random.default_rng(opset)
    clipped = 0
    for _ in range(120):
        kernel, stride, dilation = int(random.integers(1, 5)), int(random.integers(1, 5)), int(random.integers(1, 3))
        begin, end = (int(each) for each in random.integers(0, kernel, 2))
        size = int(random.integers((kernel - 1) * dilation + 1, 20))
        for ceil in (0, 1):
            proto = graph(
                f"g (float[1,1,{size}] x) => (float[] y) {{ y = MaxPool <kernel_shape = [{kernel}],"
                f" strides = [{stride}], dilations = [{dilation}], pads = [{begin}, {end}], ceil_mode = {ceil}> (x) }}",
                opset=opset,
            )  # fmt: skip
            proto.graph.output[0].type.tensor_type.ClearField("shape")
            (window,) = windows_of(proto.graph.node[0], (1, 1, size), ())
            (found,) = ort(proto, np.zeros((1, 1, size), np.float32))
            assert window.count(ceil=bool(ceil)) == found.shape[-1], proto.graph.node[0]
            room = size + begin + end - window.extent
            clipped += ceil and window.count(ceil=True) < -(-room // stride) + 1
    assert clipped, "no case in which a last window begins in the padding"


@pytest.mark.parametrize(("size", "pooled"), [(224, 57), (800, 201), (1344, 337)])
def test_ceil_mode_adds_a_window_to_a_resnets_pooling(tmp_path: Path, size: int, pooled: int) -> None:
    proto = stem(size)
    changed = rewritten(proto, tmp_path, ceil_mode="ceil")
    x = picture(proto)
    w, m = (torch.from_numpy(onnx.numpy_helper.to_array(each)) for each in proto.graph.initializer)
    p = F.max_pool2d(F.conv2d(torch.from_numpy(x), w, None, 2, 3), 3, 2, 1, ceil_mode=True)
    assert p.shape[-1] == pooled
    expected = p.mean((2, 3)) @ m
    np.testing.assert_allclose(ort(changed, x)[0], expected.numpy(), rtol=1e-3, atol=1e-4)
    assert not np.allclose(ort(proto, x)[0], expected.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [193, 513, 1333])
def test_ceil_mode_does_nothing_to_an_odd_convolution(tmp_path: Path, size: int) -> None:
    found = resolved(stem(size), tmp_path, ceil_mode="ceil")
    assert isinstance(found, NoOp)
    assert "on these sizes" in found.why
    assert "pool has" in found.why
    assert not found.always


def test_floor_takes_it_back(tmp_path: Path) -> None:
    proto = stem(64)
    up = rewritten(proto, tmp_path, ceil_mode="ceil")
    down = rewritten(up, tmp_path, ceil_mode="floor")
    x = picture(proto)
    np.testing.assert_array_equal(ort(down, x)[0], ort(proto, x)[0])
    assert isinstance(resolved(up, tmp_path, ceil_mode="ceil"), NoOp)


@pytest.mark.parametrize(
    ("tail", "node"),
    [
        ("[flat] f = Flatten (p) [fc] y = MatMul (f, big)", "fc"),
        ("[shape] r = Reshape (p, to) [sum] f = ReduceMean <axes = [2], keepdims = 0> (r) [head] y = MatMul (f, m)",
         "shape"),
        ("[lateral] l = MaxPool <kernel_shape = [4,4], strides = [4,4]> (c) [up] u = Resize (l, , twice)"
         " [fpn] a = Add (p, u) [mean] g = GlobalAveragePool (a) f = Flatten (g) y = MatMul (f, m)", "fpn"),
    ],
)  # fmt: skip
def test_a_graph_that_no_longer_fits_together_names_its_node(tmp_path: Path, tail: str, node: str) -> None:
    proto = stem(64, tail)
    for name, array in {
        "to": np.array([1, 8, 256]), "big": np.ones((2048, 10), np.float32),
        "twice": np.array([1, 1, 2, 2], np.float32),
    }.items():  # fmt: skip
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    x = picture(proto)
    assert ort(proto, x)[0].shape == (1, 10)
    found = resolved(proto, tmp_path, ceil_mode="ceil")
    assert isinstance(found, NotApplicable), found
    assert found.node == node
    assert "no longer runs" in found.why


def test_an_output_of_another_size_is_told(tmp_path: Path) -> None:
    proto = graph(
        "g (float[1,2,8,8] x) => (float[1,2,4,4] y) { [last] y = MaxPool <kernel_shape=[3,3], strides=[2,2],"
        " pads=[1,1,1,1]> (x) }"
    )
    found = resolved(proto, tmp_path, ceil_mode="ceil")
    assert found == NotApplicable(
        node="last", why="the output 'y' would be [1, 2, 5, 5], what decodes it takes [1, 2, 4, 4]"
    )


def test_an_old_opset_is_told(tmp_path: Path) -> None:
    found = resolved(stem(64, opset=9), tmp_path, ceil_mode="ceil")
    assert found == NotApplicable(node="pool", why="opset 9 has no ceil_mode; export with 10 or later")


def test_a_model_without_such_nodes_says_so(tmp_path: Path) -> None:
    proto = graph("g (float[1,2,4,4] x) => (float[1,2,4,4] y) { y = Relu (x) }")
    for name, axis in AXES.items():
        if axis.stage == "graph" and name != "precision":
            for level in axis.levels[1:]:
                found = resolved(proto, tmp_path, **{name: level.name})
                assert isinstance(found, NoOp)
                assert found.always
                assert found.why.startswith("the graph has no ")


def test_an_average_counts_the_padding_or_does_not(tmp_path: Path) -> None:
    proto = graph(
        "g (float[1,2,9,9] x) => (float[1,2,5,5] y) { [avg] y = AveragePool <kernel_shape=[3,3], strides=[2,2],"
        " pads=[1,1,1,1]> (x) }"
    )
    x = picture(proto)
    counted = rewritten(proto, tmp_path, count_include_pad="include")
    for made, include in ((proto, False), (counted, True)):
        expected = F.avg_pool2d(torch.from_numpy(x), 3, 2, 1, count_include_pad=include).numpy()
        np.testing.assert_allclose(ort(made, x)[0], expected, rtol=1e-5, atol=1e-6)
    assert isinstance(resolved(proto, tmp_path, count_include_pad="exclude"), NoOp)
    bare = "g (float[1,2,8,8] x) => (float[1,2,4,4] y) { y = AveragePool <kernel_shape=[2,2], strides=[2,2]> (x) }"
    assert isinstance(resolved(graph(bare), tmp_path, count_include_pad="include"), NoOp)


CONV = """g (float[1,1,{0},{0}] x) => (float[1,1,{1},{1}] y) <float[1,1,{2},{2}] w = {{{3}}}> {{
    [conv] y = Conv <strides = [2,2], {4}> (x, w) }}"""


def strided(size: int, kernel: int, padding: str) -> onnx.ModelProto:
    weights = np.random.default_rng(3).standard_normal(kernel * kernel)
    return graph(CONV.format(size, (size + 1) // 2, kernel, ", ".join(f"{v:.4f}" for v in weights), padding))


@pytest.mark.parametrize(("size", "kernel"), [(10, 3), (10, 5), (11, 4)])
@pytest.mark.parametrize("side", ["upper", "lower"])
def test_padding_on_the_other_side_is_what_auto_pad_means(tmp_path: Path, size: int, kernel: int, side: str) -> None:
    half = kernel // 2  # as PyTorch writes it
    proto = strided(size, kernel, f"pads = [{half},{half},{half},{half}]")
    x = picture(proto)
    meant = ort(strided(size, kernel, f'auto_pad = "SAME_{side.upper()}"'), x)[0]
    found = resolved(proto, tmp_path, auto_pad=f"same_{side}")
    made = edited(proto, found.edits) if isinstance(found, Rewritten) else proto
    np.testing.assert_array_equal(ort(made, x)[0], meant)
    assert isinstance(found, NoOp) == bool((ort(proto, x)[0] == meant).all())


def test_windows_that_are_not_meant_to_keep_the_size_stay(tmp_path: Path) -> None:
    without = "g (float[1,1,9,9] x) => (float[1,1,4,4] y) { y = MaxPool <kernel_shape=[3,3], strides=[2,2]> (x) }"
    assert isinstance(resolved(graph(without), tmp_path, auto_pad="same_upper"), NoOp)


def test_region_corners_move_by_half_a_pixel(tmp_path: Path) -> None:
    text = """g (float[1,1,8,8] x) => (float[1,1,2,2] y) <float[1,4] r = {1.0, 1.0, 6.0, 5.0}, int64[1] i = {0}> {
        [align] y = RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2> (x, r, i) }"""
    proto = graph(text)
    x = picture(proto)
    shifted = rewritten(proto, tmp_path, roialign="output_half_pixel")
    moved = onnx.ModelProto()
    moved.CopyFrom(proto)
    moved.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.array([[1.5, 1.5, 6.5, 5.5]], np.float32), "r")
    )
    np.testing.assert_allclose(ort(shifted, x)[0], ort(moved, x)[0], rtol=1e-5)
    assert isinstance(resolved(proto, tmp_path, roialign="half_pixel"), NoOp)
    old = resolved(graph(text, opset=12), tmp_path, roialign="half_pixel")
    assert isinstance(old, NotApplicable)
    assert old.node == "align"


def test_noises_of_one_graph_are_put_together(tmp_path: Path) -> None:
    proto = stem(64, '[up] u = Resize <mode = "nearest"> (p, , twice) ' + GLOBAL.replace("(p)", "(u)"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"))
    graphs, x = graphs_of(proto, tmp_path), picture(proto)
    levels = (("ceil_mode", "ceil"), ("auto_pad", "same_upper"), ("upsample", "linear"))
    found = graphs.resolve(levels, x)
    assert isinstance(found, Rewritten)
    assert found.changed == ("pool", "stem", "up")
    # Each by hand on the file.
    byhand = onnx.ModelProto()
    byhand.CopyFrom(proto)
    nodes = {each.name: each for each in byhand.graph.node}
    nodes["pool"].attribute.append(onnx.helper.make_attribute("ceil_mode", 1))
    next(each for each in nodes["stem"].attribute if each.name == "pads").ints[:] = [2, 2, 3, 3]
    next(each for each in nodes["up"].attribute if each.name == "mode").s = b"linear"
    np.testing.assert_array_equal(ort(graphs.write(levels, tmp_path, x), x)[0], ort(byhand, x)[0])
    # One without an effect changes nothing of what the others do.
    more = graphs.resolve((*levels, ("roialign", "half_pixel")), x)
    assert isinstance(more, Rewritten)
    assert more.edits == found.edits


def test_an_input_of_any_size_is_asked_size_by_size(tmp_path: Path) -> None:
    proto = stem(64)
    for dim in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.ClearField("dim_value")
    graphs = graphs_of(proto, tmp_path)
    even, odd = (np.zeros((1, 3, size, size), np.float32) for size in (64, 65))
    levels = (("ceil_mode", "ceil"),)
    assert isinstance(graphs.resolve(levels, even), Rewritten)
    found = graphs.resolve(levels, odd)
    assert isinstance(found, NoOp)
    assert not graphs.settled(found)
