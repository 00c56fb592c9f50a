"""Every rule of Resize as a level: which are the same on real sizes, with ONNX Runtime and PyTorch as judges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from graphs import graph
from noise.asking import graphs_of, ort

from sysnoise_conform.graph.rewrite import NoOp, NotApplicable, Rewritten, edited
from sysnoise_conform.matrix.graphs import Distinct
from sysnoise_conform.noise import AXES

LEVELS = [each.name for each in AXES["upsample"].levels[1:]]
X = np.random.default_rng(0).random((1, 2, 25, 42)).astype(np.float32)


def resize(target: tuple[int, int], attributes: str, opset: int = 19, by: str = "sizes") -> onnx.ModelProto:
    operands = "(x, , , to)" if by == "sizes" else "(x, , to)"
    proto = graph(
        f"g (float[1,2,25,42] x) => (float[1,2,{target[0]},{target[1]}] y)"
        f" {{ [up] y = Resize <{attributes}> {operands} }}", opset=opset,
    )  # fmt: skip
    factors = np.array([1, 1, target[0] / 25, target[1] / 42], np.float32)
    proto.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array([1, 2, *target]) if by == "sizes" else factors, "to")
    )
    return proto


TORCH_NEAREST = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'


def distinct(proto: onnx.ModelProto, folder: Path, levels: list[str] = LEVELS) -> list[Distinct]:
    return graphs_of(proto, folder).distinct("upsample", levels, X)


def by_hand(proto: onnx.ModelProto, level: str) -> onnx.ModelProto:
    """A level written into the node from its name."""
    mode, rule, rounding = (*level.split("-"), "", "")[:3]
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    node = made.graph.node[0]
    for name, value in (("mode", mode), ("coordinate_transformation_mode", rule), ("nearest_mode", rounding)):
        if value:
            kept = [each for each in node.attribute if each.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])
    return made


@pytest.mark.parametrize("target", [(50, 84), (51, 85), (12, 21)])
def test_levels_are_one_where_onnxruntime_computes_the_same(tmp_path: Path, target: tuple[int, int]) -> None:
    proto = resize(target, TORCH_NEAREST)
    found = distinct(proto, tmp_path)
    known = [each for each in found if not isinstance(each.found, NotApplicable)]
    (gone,) = [each for each in found if isinstance(each.found, NotApplicable)]
    assert {gone.level, *gone.same} <= {each for each in LEVELS if "tf_half_pixel_for_nn" in each}
    outputs = {
        level: ort(by_hand(proto, level), X)[0]
        for each in known for level in (each.level, *each.same) if "tf_half_pixel_for_nn" not in level
    }  # fmt: skip
    assert len(outputs) > 30
    for each in known:
        for level in set(each.same) & outputs.keys():
            np.testing.assert_allclose(outputs[level], outputs[each.level], atol=1e-5, err_msg=level)
    firsts = [each for each in known if each.level in outputs]
    for at, one in enumerate(firsts):
        for other in firsts[:at]:
            assert np.abs(outputs[one.level] - outputs[other.level]).max() > 1e-3, (one.level, other.level)
    same = next(each for each in known if isinstance(each.found, NoOp))
    np.testing.assert_allclose(outputs[same.level], ort(proto, X)[0], atol=1e-6)


def test_what_equals_pytorchs_nearest(tmp_path: Path) -> None:
    """On a doubled map by six pairs of rules, else by one alone; half_pixel + round_prefer_ceil is nearest-exact."""
    own = next(each for each in distinct(resize((50, 84), TORCH_NEAREST), tmp_path) if isinstance(each.found, NoOp))
    three = ("asymmetric", "half_pixel", "align_corners")
    assert {tuple(each.split("-")[1:]) for each in own.same if each.split("-")[1] in three} == {
        ("asymmetric", "floor"), ("asymmetric", "round_prefer_floor"),
        ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"),
        ("align_corners", "round_prefer_floor"), ("align_corners", "round_prefer_ceil"),
    }  # fmt: skip
    odd = next(each for each in distinct(resize((51, 85), TORCH_NEAREST), tmp_path) if isinstance(each.found, NoOp))
    assert (odd.level, odd.same) == ("nearest", ("nearest-asymmetric-floor",))
    exact = by_hand(resize((51, 85), TORCH_NEAREST), "nearest-half_pixel-round_prefer_ceil")
    np.testing.assert_array_equal(
        ort(exact, X)[0], F.interpolate(torch.from_numpy(X), (51, 85), mode="nearest-exact").numpy()
    )


def test_half_pixel_with_floor_moves_three_of_four_pixels(tmp_path: Path) -> None:
    proto = resize((50, 84), TORCH_NEAREST)
    found = graphs_of(proto, tmp_path).resolve((("upsample", "nearest-half_pixel-floor"),), X)
    assert isinstance(found, Rewritten)
    moved = ort(edited(proto, found.edits), X)[0] != ort(proto, X)[0]
    assert moved.mean() == pytest.approx(0.73, abs=0.02)


@pytest.mark.parametrize("by", ["sizes", "scales"])
def test_linear_is_pytorchs_bilinear(tmp_path: Path, by: str) -> None:
    proto = resize((50, 84), TORCH_NEAREST, by=by)
    for level, align in (("linear-half_pixel", False), ("linear-align_corners", True)):
        found = graphs_of(proto, tmp_path).resolve((("upsample", level),), X)
        assert isinstance(found, Rewritten)
        assert found.changed == ("up",)
        expected = F.interpolate(torch.from_numpy(X), (50, 84), mode="bilinear", align_corners=align).numpy()
        np.testing.assert_allclose(ort(edited(proto, found.edits), X)[0], expected, atol=1e-5)


def test_before_opset_11_only_the_mode_can_change(tmp_path: Path) -> None:
    proto = graph(
        'g (float[1,2,25,42] x) => (float[1,2,50,84] y) { [up] y = Upsample <mode = "nearest"> (x, to) }', opset=9
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "to"))
    first, *others = distinct(proto, tmp_path, ["nearest", "linear", "linear-half_pixel", "cubic"])
    assert isinstance(first.found, NoOp)
    assert isinstance(others[0].found, Rewritten)
    assert isinstance(others[1].found, NotApplicable)
    assert others[1].same == ("cubic",)
    assert (others[1].found.node, others[1].found.why.split(";")[1]) == ("up", " export with 11 or later")
    made = ort(edited(proto, others[0].found.edits), X)[0]
    np.testing.assert_allclose(made[..., ::2, ::2], X, atol=1e-6)
    np.testing.assert_allclose(made[..., ::2, 1:-1:2], (X[..., :-1] + X[..., 1:]) / 2, atol=1e-6)


def test_numbers_that_have_no_mean_are_not_interpolated(tmp_path: Path) -> None:
    proto = graph(
        "g (float[1,2,25,42] x) => (int32[1,2,50,84] y) { i = Cast <to = 6> (x) [up] y = Resize (i, , to) }", opset=19
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "to"))
    (linear,) = distinct(proto, tmp_path, ["linear"])
    assert linear.found == NotApplicable(node="up", why="it resizes INT32, of which linear takes no means")


def test_a_crop_is_left_alone(tmp_path: Path) -> None:
    proto = resize((50, 84), 'coordinate_transformation_mode = "tf_crop_and_resize"')
    proto.graph.node[0].input[1] = "roi"
    roi = np.array([0, 0, 0.1, 0.1, 1, 1, 0.9, 0.9], np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(roi, "roi"))
    (linear,) = distinct(proto, tmp_path, ["linear"])
    assert isinstance(linear.found, NotApplicable)


def test_sizes_that_the_graph_computes_are_known(tmp_path: Path) -> None:
    """No shape inference tells them: they are read off a run."""
    proto = graph(
        """g (float[1,2,H,W] x) => (float[1,2,A,B] y) <int64[2] cut = {2, 4}, int64[1] zero = {0},
        int64[1] two = {2}, int64[1] four = {4}, float[1] k = {1.5}> {
        s = Shape (x) h = Slice (s, two, four) f = Cast <to = 1> (h) g = Mul (f, k) r = Ceil (g) i = Cast <to = 7> (r)
        n = Slice (s, zero, two) to = Concat <axis = 0> (n, i) [up] y = Resize (x, , , to) }""", opset=19,
    )  # fmt: skip
    graphs = graphs_of(proto, tmp_path)
    found = graphs.resolve((("upsample", "linear"),), X)
    assert isinstance(found, Rewritten)
    expected = F.interpolate(torch.from_numpy(X), (38, 63), mode="bilinear").numpy()
    written = graphs.write((("upsample", "linear"),), tmp_path, X)
    np.testing.assert_allclose(ort(written, X)[0], expected, atol=1e-5)
