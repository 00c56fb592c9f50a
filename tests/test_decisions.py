"""A decision within the reach of its operands' rounding is as good as PyTorch's; a clear one that is other is not.

The healthy answers come from a real runtime on operands that were moved by no more than their rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import graph
from onnx import numpy_helper

from sysnoise_conform.decisions import Answer, Operand, Question, settle
from sysnoise_conform.golden.executor import Executor, Mode
from sysnoise_conform.golden.values import Value, to_numpy

Feeds = dict[str, np.ndarray]


def runtime(model: onnx.ModelProto, feeds: Feeds) -> Feeds:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, feeds), strict=True))


def golden(model: onnx.ModelProto, feeds: Feeds) -> Feeds:
    found = Executor(model, Mode.FLOAT64).run(feeds)
    return {
        name: to_numpy(value, declared=value.elem_type not in (1, 10, 11, 16))
        for name, value in found.items() if isinstance(value, Value)
    }  # fmt: skip


def answers(model: onnx.ModelProto, feeds: Feeds, got: Feeds, truth: Feeds | None = None) -> dict[str, Answer | None]:
    """What each output of the one node is held against."""
    (node,) = model.graph.node
    stored = {each.name: Operand(data=numpy_helper.to_array(each), exact=True) for each in model.graph.initializer}
    known = stored | {name: Operand(data=array) for name, array in feeds.items()}
    truth = golden(model, feeds) if truth is None else truth
    return {
        name: settle(
            Question(
                node=node, opset=model.opset_import[0].version, place=place, golden=truth[name], got=got[name],
                operands=tuple(known.get(each) for each in node.input),
                others={at: got[each] for at, each in enumerate(node.output)},
            )
        )
        for place, name in enumerate(node.output)
    }  # fmt: skip


def moved(array: np.ndarray, rng: np.random.Generator, units: int = 2) -> np.ndarray:
    digits = {"float32": 24, "float16": 11}[array.dtype.name]
    size = rng.integers(-units, units + 1, array.shape) * 2.0**-digits
    return (array.astype(np.float64) * (1 + size)).astype(array.dtype)


def typed(text: str, kind: str) -> onnx.ModelProto:
    return graph("g " + text.replace("T[", f"{kind}[").replace("<T s", f"<{kind} s"), opset=19)


def near_halves(rng: np.random.Generator, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    values = rng.integers(-20, 20, shape) + np.where(rng.random(shape) < 0.6, 0.5, rng.random(shape))
    return moved(values.astype(dtype), rng)


def near_whole(rng: np.random.Generator, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    values = rng.integers(-20, 20, shape) + np.where(rng.random(shape) < 0.6, 0.0, rng.random(shape))
    return moved(values.astype(dtype), rng)


STEPS = np.float32([1, 1.1, 1.2, 0.7, 0.8, 2, 0.25])
ELEMENTWISE: dict[str, tuple[str, Callable[..., np.ndarray]]] = {
    "Round": ("(T[7,9] x) => (T[7,9] y) { y = Round(x) }", near_halves),
    "Floor": ("(T[7,9] x) => (T[7,9] y) { y = Floor(x) }", near_whole),
    "Ceil": ("(T[7,9] x) => (T[7,9] y) { y = Ceil(x) }", near_whole),
    "Cast": ("(T[7,9] x) => (int8[7,9] y) { y = Cast <to = 3> (x) }", near_whole),
    "Cast to int64": ("(T[7,9] x) => (int64[7,9] y) { y = Cast <to = 7> (x) }", near_whole),
    "per tensor": ("(T[7,9] x) => (int8[7,9] y) <T s = {0.999}, int8 z = {3}> { y = QuantizeLinear(x, s, z) }",
                   lambda rng, shape, dtype: (near_halves(rng, shape, dtype) * dtype(0.999)).astype(dtype)),
    "per axis": ("(T[7,9] x) => (uint8[7,9] y) <T[7] s = {1, 1.1, 1.2, 0.7, 0.8, 2, 0.25}, "
                 "uint8[7] z = {120, 121, 122, 123, 124, 125, 126}> { y = QuantizeLinear <axis = 0> (x, s, z) }",
                 lambda rng, shape, dtype: (near_halves(rng, shape, dtype) * STEPS[:, None]).astype(dtype)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, np.float32) for name in ELEMENTWISE] + [(name, np.float16) for name in ELEMENTWISE if "per" not in name],
)
def test_a_rounding_on_the_other_side_of_a_tie_is_accepted_and_counted(name: str, dtype: type) -> None:
    text, make = ELEMENTWISE[name]
    model = typed(text, np.dtype(dtype).name.replace("32", ""))
    ties = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        feeds = {"x": make(rng, (7, 9), dtype)}
        got = runtime(model, {"x": moved(feeds["x"], rng)})
        (answer,) = answers(model, feeds, got).values()
        assert answer is not None
        np.testing.assert_array_equal(answer.data, got["y"])
        ties += answer.ties
    assert ties > 10


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_rounding_that_is_clear_is_not_excused(name: str) -> None:
    text, make = ELEMENTWISE[name]
    model = typed(text, "float")
    rng = np.random.default_rng(5)
    feeds = {"x": make(rng, (7, 9), np.float32)}
    truth = golden(model, feeds)

    (answer,) = answers(model, feeds, {"y": (truth["y"] + 1).astype(runtime(model, feeds)["y"].dtype)}).values()

    assert answer is not None
    steps = np.abs(np.asarray(answer.data, float) - np.asarray(truth["y"], float))
    clear = np.abs(feeds["x"] - np.rint(feeds["x"] * 2) / 2) > 1e-4 if "per" not in name else steps == steps + 1
    assert (steps[clear] == 0).all()
    assert answer.ties < 40


def test_what_was_never_rounded_has_no_ties() -> None:
    model = graph("g (float[6] x) => (float[6] y) { y = Round(x) }")
    feeds = {"x": np.float32([0.5, 1.5, 2.5, -0.5, -1.5, -2.5])}

    (answer,) = answers(model, feeds, {"y": np.float32([1, 2, 3, -1, -2, -3])}).values()  # away from zero

    assert answer is not None
    assert answer.ties == 0
    np.testing.assert_array_equal(answer.data, [0, 2, 2, 0, -2, -2])


@pytest.mark.parametrize("op", ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"])
def test_comparisons_of_what_is_nearly_equal_are_accepted(op: str) -> None:
    model = graph(f"g (float[40,5] a, float[5] b) => (bool[40,5] y) {{ y = {op}(a, b) }}")
    rng = np.random.default_rng(3)
    b = rng.standard_normal(5).astype(np.float32)
    a = moved(np.where(rng.random((40, 5)) < 0.5, b, rng.standard_normal((40, 5))).astype(np.float32), rng)
    feeds = {"a": a, "b": b}
    got = runtime(model, {"a": moved(a, rng), "b": b})

    (answer,) = answers(model, feeds, got).values()
    (turned,) = answers(model, feeds, {"y": ~golden(model, feeds)["y"]}).values()

    assert answer is not None
    assert answer.ties > 5
    np.testing.assert_array_equal(answer.data, got["y"])
    assert turned is not None
    far = np.abs(a - b) > 1e-4
    np.testing.assert_array_equal(turned.data[far], golden(model, feeds)["y"][far])


def test_equal_codes_are_equal_and_a_constant_hides_nothing() -> None:
    model = graph("g (float[4] a) => (bool[4] y) <float[4] b = {0, 1, 2, 3}> { y = Equal(a, b) }")

    (answer,) = answers(model, {"a": np.arange(4, dtype=np.float32)}, {"y": np.zeros(4, bool)}).values()

    assert answer is not None
    assert (answer.ties, answer.data.all()) == (0, True)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_best_of_nearly_equal_ones_is_any_of_them(op: str, keepdims: int) -> None:
    shape = "[30,1,4]" if keepdims else "[30,4]"
    model = graph(f"g (float[30,8,4] x) => (int64{shape} y) {{ y = {op} <axis = 1, keepdims = {keepdims}> (x) }}")
    rng = np.random.default_rng(4)
    x = rng.standard_normal((30, 8, 4)).astype(np.float32)
    best = x.max(axis=1) if op == "ArgMax" else x.min(axis=1)
    x[:, 2] = x[:, 5] = best
    feeds = {"x": moved(x, rng)}
    got = runtime(model, {"x": moved(feeds["x"], rng, units=1)})

    (answer,) = answers(model, feeds, got).values()
    (other,) = answers(model, feeds, {"y": (got["y"] + 1) % 8}).values()
    (outside,) = answers(model, feeds, {"y": got["y"] * 0 - 1}).values()

    assert answer is not None
    assert answer.ties > 10
    np.testing.assert_array_equal(answer.data, got["y"])
    assert other is not None
    assert outside is not None
    assert (other.data != (got["y"] + 1) % 8).mean() > 0.6  # of three equal ones two may stand side by side
    np.testing.assert_array_equal(outside.data, golden(model, feeds)["y"])


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("largest", [0, 1])
def test_the_first_k_of_nearly_equal_ones_may_change_places(largest: int, ordered: int) -> None:
    model = graph(
        f"g (float[20,30] x) => (float[20,8] v, int64[20,8] i) <int64[1] k = {{8}}> "
        f"{{ v, i = TopK <axis = 1, largest = {largest}, sorted = {ordered}> (x, k) }}"
    )
    rng = np.random.default_rng(6)
    x = rng.standard_normal((20, 30)).astype(np.float32)
    x[:, ::3] = x[:, :1]
    feeds = {"x": moved(x, rng)}
    got = runtime(model, {"x": moved(feeds["x"], rng, units=1)})

    found = answers(model, feeds, got)
    twice = answers(model, feeds, {**got, "i": np.repeat(got["i"][:, :4], 2, axis=1)})["i"]

    assert found["i"] is not None
    assert found["i"].ties > 0
    np.testing.assert_array_equal(found["i"].data, got["i"])
    assert twice is not None
    np.testing.assert_array_equal(twice.data, golden(model, feeds)["i"])


def test_in_fewer_bits_what_lies_within_their_rounding_is_a_tie_and_a_clear_one_is_not() -> None:
    model = graph("g (float[2,3] x) => (int64[2] y) { y = ArgMax <axis = 1, keepdims = 0> (x) }")
    x = np.array([[1.0, 1.0078125, 0.5], [1.0, 1.0625, 0.5]], np.float32)  # one step of bfloat16 apart, and eight
    (node,) = model.graph.node
    golden, got = np.array([1, 1]), np.array([0, 0])

    def answer(roundoff: float | None) -> Answer | None:
        operands = (Operand(data=x, roundoff=roundoff),)
        return settle(Question(node=node, opset=19, place=0, golden=golden, got=got, operands=operands, others={}))

    narrow, wide = answer(2.0**-8), answer(None)

    assert narrow is not None
    assert (narrow.data.tolist(), narrow.ties) == ([0, 1], 1)
    assert wide is not None
    assert (wide.data.tolist(), wide.ties) == ([1, 1], 0)


def test_k_worse_ones_are_not_the_first() -> None:
    model = graph("g (float[1,6] x) => (float[1,2] v, int64[1,2] i) <int64[1] k = {2}> { v, i = TopK <axis=1> (x, k) }")
    feeds = {"x": np.float32([[0.1, 0.2, 0.3, 0.4, 0.7, 0.6]])}

    found = answers(model, feeds, {"v": np.float32([[0.7, 0.4]]), "i": np.int64([[4, 3]])})

    assert found["v"] is not None
    assert found["i"] is not None
    np.testing.assert_array_equal(found["i"].data, [[4, 5]])
    assert found["v"].data[0, 1] == np.float32(0.6)


COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("rule", COORDINATES)
@pytest.mark.parametrize("by", ["sizes", "scales"])
def test_where_a_runtime_takes_another_neighbour_the_coordinate_is_a_tie(rule: str, nearest: str, by: str) -> None:
    ties = 0
    for size, target in [(26, 64), (20, 6), (13, 29), (7, 49), (30, 18), (5, 5), (9, 1), (64, 26), (10, 100)]:
        x = np.random.default_rng(size).standard_normal((1, 1, size, 3)).astype(np.float32)
        operand = (
            f"int64[4] w = {{1, 1, {target}, 3}}" if by == "sizes"
            else f"float[4] w = {{1, 1, {float(np.float32(target / size)):.9g}, 1}}"
        )  # fmt: skip
        given = "x, , , w" if by == "sizes" else "x, , w"
        model = graph(
            f"g (float[1,1,{size},3] x) => (float[1,1,T,3] y) <{operand}> {{ y = Resize <mode = \"nearest\", "
            f'coordinate_transformation_mode = "{rule}", nearest_mode = "{nearest}"> ({given}) }}', opset=18,
        )  # fmt: skip
        got = runtime(model, {"x": x})
        truth = golden(model, {"x": x})
        (answer,) = answers(model, {"x": x}, got, truth).values()
        assert answer is not None
        np.testing.assert_array_equal(answer.data, got["y"], err_msg=f"{size} to {target}")
        ties += answer.ties
        assert answer.ties <= max(2, target // 2) * 3

        rolled = np.roll(truth["y"], 1, axis=2).astype(np.float32)
        (other,) = answers(model, {"x": x}, {"y": rolled}, truth).values()
        assert other is not None
        assert target == 1 or (other.data != rolled).any()


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
def test_a_sample_between_two_pixels_is_either_of_them(padding: str, align: int) -> None:
    model = graph(
        f"g (float[2,2,5,7] x, float[2,9,9,2] grid) => (float[2,2,9,9] y) {{ y = GridSample <mode = \"nearest\", "
        f'padding_mode = "{padding}", align_corners = {align}> (x, grid) }}', opset=18,
    )  # fmt: skip
    rng = np.random.default_rng(7)
    sizes = np.array([7, 5])
    at = rng.integers(-2, 8, (2, 9, 9, 2)) + 0.5
    grid = np.where(rng.random(at.shape) < 0.5, at / (sizes - 1) * 2 - 1 if align else (2 * at + 1) / sizes - 1,
                    rng.uniform(-1.4, 1.4, at.shape))  # fmt: skip
    feeds = {"x": rng.standard_normal((2, 2, 5, 7)).astype(np.float32), "grid": grid.astype(np.float32)}
    got = runtime(model, {**feeds, "grid": moved(feeds["grid"], rng)})

    (answer,) = answers(model, feeds, got).values()
    (other,) = answers(model, feeds, {"y": got["y"][:, :, ::-1].copy()}).values()

    assert answer is not None
    assert answer.ties > 5
    np.testing.assert_array_equal(answer.data, got["y"])
    assert other is not None
    assert (other.data != got["y"][:, :, ::-1]).mean() > 0.3


SUPPRESSION = (
    "g (float[1,30,4] b, float[1,2,30] s) => (int64[N,3] y) <int64 most = {6}, float overlap = {0.5}, "
    "float least = {0.3}> { y = NonMaxSuppression(b, s, most, overlap, least) }"
)


def suppressed(seed: int) -> tuple[onnx.ModelProto, Feeds, np.random.Generator]:
    rng = np.random.default_rng(seed)
    corners = rng.random((1, 30, 2)) * 3
    boxes = np.concatenate([corners, corners + 0.5 + rng.random((1, 30, 2))], axis=2).astype(np.float32)
    boxes[:, 20:, :] = boxes[:, :10] + np.float32([0, 1 / 3, 0, 1 / 3]) * (boxes[:, :10, 3:] - boxes[:, :10, 1:2])
    scores = np.repeat(rng.random((1, 2, 15)), 2, axis=2).astype(np.float32)
    scores[0, 0, :5] = 0.3
    return graph(SUPPRESSION, opset=17), {"b": boxes, "s": moved(scores, rng)}, rng


@pytest.mark.parametrize("seed", range(6))
def test_a_list_of_boxes_that_greedy_suppression_may_give_is_right(seed: int) -> None:
    model, feeds, rng = suppressed(seed)
    got = runtime(model, {"b": moved(feeds["b"], rng), "s": moved(feeds["s"], rng)})

    (answer,) = answers(model, feeds, got).values()

    assert answer is not None
    np.testing.assert_array_equal(answer.data, got["y"])


@pytest.mark.parametrize("wrong", ["one is missing", "one too many", "another order", "twice"])
def test_a_list_of_boxes_that_it_can_t_give_is_wrong(wrong: str) -> None:
    model, feeds, _ = suppressed(1)
    truth = golden(model, feeds)["y"]
    changed = {
        "one is missing": truth[1:],
        "one too many": np.insert(truth, 1, [0, 0, np.setdiff1d(np.arange(30), truth[truth[:, 1] == 0, 2])[-1]], 0),
        "another order": truth[::-1],
        "twice": np.concatenate([truth[:1], truth[:-1]]),
    }[wrong]

    (answer,) = answers(model, feeds, {"y": np.ascontiguousarray(changed)}).values()

    assert answer is not None
    assert answer.ties == 0
    np.testing.assert_array_equal(answer.data, truth)


def test_numbers_that_a_runtime_flushes_to_zero_may_count_as_zeros() -> None:
    model = graph("g (float[5] x) => (int64[1,N] y) { y = NonZero(x) }")
    feeds = {"x": np.float32([0, 1, 1e-40, 2, 0])}

    (flushed,) = answers(model, feeds, {"y": np.int64([[1, 3]])}).values()
    (wrong,) = answers(model, feeds, {"y": np.int64([[1]])}).values()

    assert flushed is not None
    assert (flushed.ties, flushed.data.tolist()) == (1, [[1, 3]])
    assert wrong is not None
    assert (wrong.ties, wrong.data.tolist()) == (0, [[1, 2, 3]])


def test_dynamic_quantisation_is_judged_by_the_scale_that_was_chosen() -> None:
    model = graph("g (float[5,50] x) => (uint8[5,50] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear(x) }")
    rng = np.random.default_rng(8)
    feeds = {"x": rng.standard_normal((5, 50)).astype(np.float32)}
    got = runtime(model, feeds)
    scale = np.float32(got["s"] * (1 + 2.0**-22))
    step = np.clip(np.rint(feeds["x"] / scale) + got["z"], 0, 255).astype(np.uint8)

    found = answers(model, feeds, {"y": step, "s": scale, "z": got["z"]})
    off = answers(model, feeds, {"y": step + np.uint8(1), "s": scale, "z": got["z"]})["y"]

    assert found["s"] is None
    assert found["y"] is not None
    np.testing.assert_array_equal(found["y"].data, step)
    assert off is not None
    assert (off.data != step + 1).mean() > 0.9


def test_nan_and_nothing_are_no_ties() -> None:
    model = graph("g (float[N] x) => (float[N] y) { y = Round(x) }")
    odd = {"x": np.float32([np.nan, np.inf, 0.1234567, 3.4e38])}
    (answer,) = answers(model, odd, {"y": np.float32([0, np.inf, 1, 0])}, {"y": np.array([np.nan, np.inf, 0, 3.4e38])})\
        .values()
    assert answer is not None
    assert answer.ties == 0

    nothing = np.zeros(0, np.float32)
    (answer,) = answers(model, {"x": nothing}, {"y": nothing}).values()
    assert answer is not None
    assert answer.data.size == 0


@pytest.mark.filterwarnings("error")
def test_an_infinity_among_values_that_were_never_rounded_warns_nobody() -> None:
    model = graph("g (float[4] x) => (float[4] y) { y = Round(x) }")
    odd = {"x": np.float32([np.inf, -np.inf, 0.5, 2])}

    (answer,) = answers(
        model, odd, {"y": np.float32([np.inf, -np.inf, 1, 2])}, {"y": np.array([np.inf, -np.inf, 0, 2])}
    ).values()

    assert answer is not None
    assert answer.ties == 0


def test_operators_that_compute_are_left_alone() -> None:
    model = graph("g (float[3] x) => (float[3] y) { y = Exp(x) }")

    assert answers(model, {"x": np.ones(3, np.float32)}, {"y": np.ones(3, np.float32)}) == {"y": None}
