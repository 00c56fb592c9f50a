"""Every operator alone, fed with what it got in the whole graph, gives what it gave there."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from calibration.sets import networks
from graphs import graph

from sysnoise_conform.graph.alike import by_kind
from sysnoise_conform.graph.explode import Archipelago, Explosion, Islands
from sysnoise_conform.graph.tap import tap

SLICE = {each.family: each for each in networks("slice", samples=1)}
Feeds = dict[str, np.ndarray]


def session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def every_tensor(proto: onnx.ModelProto, feeds: Feeds) -> Feeds:
    names = [name for node in proto.graph.node for name in node.output if name]
    return dict(zip(names, session(tap(proto, names)).run(names, feeds), strict=True)) | feeds


def run(islands: Islands, known: Feeds) -> Feeds:
    onnx.checker.check_model(islands.model)
    given = {ours: known[name] for ours, name in islands.inputs.items()}
    made = session(islands.model)
    names = [each.name for each in made.get_outputs()]
    return {islands.outputs[ours]: array for ours, array in zip(names, made.run(names, given), strict=True)}


def all_islands(explosion: Explosion, **more: int) -> list[Islands]:
    return list(explosion.islands(explosion.archipelago().nodes, **more))


@pytest.mark.parametrize("network", SLICE.values(), ids=SLICE)
def test_each_operator_gives_alone_what_it_gives_in_the_graph(network) -> None:
    known = every_tensor(network.model, network.feeds[0])
    explosion = Explosion(network.model, known)

    (islands,) = all_islands(explosion)
    found = run(islands, known)

    assert explosion.archipelago().left_out == {}
    assert len(found) > 10
    for name, array in found.items():
        np.testing.assert_array_equal(array, known[name], err_msg=name)


def test_no_island_reads_another() -> None:
    network = SLICE["unet"]
    (islands,) = all_islands(Explosion(network.model, every_tensor(network.model, network.feeds[0])))

    made = {name for node in islands.model.graph.node for name in node.output}
    assert all(not made.intersection(node.input) for node in islands.model.graph.node)
    assert all(name.isidentifier() for name in (*islands.inputs, *islands.outputs))


def test_a_budget_makes_several_models_of_all_operators() -> None:
    network = SLICE["unet"]
    known = every_tensor(network.model, network.feeds[0])
    explosion = Explosion(network.model, known)

    several = all_islands(explosion, budget=1 << 14)

    assert len(several) > 3
    assert [at for each in several for at in each.nodes] == list(explosion.archipelago().nodes)
    assert {name for each in several for name in each.outputs.values()} == set(
        all_islands(explosion)[0].outputs.values()
    )


def test_what_makes_an_unknown_tensor_comes_along() -> None:
    proto = graph("""g (float[2,3] x) => (float[2,3] z) {
        y = Neg(x)
        hidden = Exp(y)
        w = Add(hidden, y)
        z = Mul(w, hidden)
    }""")
    known = every_tensor(proto, {"x": np.float32([[1, 2, 3], [-1, 0, 1]])})
    hidden = known.pop("hidden")
    explosion = Explosion(proto, known)

    (islands,) = all_islands(explosion)
    found = run(islands, known)

    assert explosion.archipelago() == Archipelago(nodes=(0, 2, 3), left_out={})
    assert explosion.block(2) == (1, 2)
    assert set(found) == {"y", "w", "z"}
    np.testing.assert_array_equal(found["z"], known["w"] * hidden)


def test_shapes_stay_constants() -> None:
    proto = graph("""g (float[2,3] x) => (float[6] z) {
        size = Shape(x)
        count = ReduceProd <keepdims=1> (size)
        y = Neg(x)
        z = Reshape(y, count)
    }""")
    known = every_tensor(proto, {"x": np.ones((2, 3), np.float32)})

    (islands,) = all_islands(Explosion(proto, known))

    assert set(islands.inputs.values()) == {"x", "y"}
    assert [each.name for each in islands.model.graph.initializer] == ["count"]
    np.testing.assert_array_equal(run(islands, known)["z"], known["z"])


def test_a_body_reads_what_it_captures_from_an_input() -> None:
    proto = graph("""g (float[2] x, bool c) => (float[2] z) {
        y = Neg(x)
        z = If (c) <
            then_branch = a () => (float[2] t) { t = Abs(y) },
            else_branch = b () => (float[2] e) { e = Mul(y, y) }
        >
    }""")
    known = every_tensor(proto, {"x": np.float32([1, -3]), "c": np.array(False)})

    (islands,) = all_islands(Explosion(proto, known))

    np.testing.assert_array_equal(run(islands, known)["z"], known["z"])


def test_weights_are_shared_and_what_is_computed_from_them_comes_along() -> None:
    proto = graph("""g (float[2] x) => (float[2] a, float[2] b)
        <float[2] w = {1.0, 2.0}> {
        v = Neg(w)
        a = Add(x, v)
        b = Mul(a, v)
    }""")
    known = every_tensor(proto, {"x": np.float32([1, -3])})

    (islands,) = all_islands(Explosion(proto, known))

    assert [each.name for each in islands.model.graph.initializer] == ["w"]
    assert [node.op_type for node in islands.model.graph.node] == ["Neg", "Add", "Mul"]
    assert set(run(islands, known)) == {"a", "b"}


def test_a_tensor_that_pytorch_does_not_keep_leaves_its_readers_out() -> None:
    proto = graph("""g (float[2] x, float[2] y) => (float[2] z) { z = Add(x, y) }""")

    found = Explosion(proto, {"x": np.zeros(2, np.float32), "z": np.zeros(2, np.float32)}).archipelago()

    assert found.nodes == ()
    assert found.left_out == {0: "PyTorch keeps no tensor 'y'"}


def repeated(count: int, *, weights: str = "w", other: str = "w") -> onnx.ModelProto:
    """`count` times the same three operators, on tensors of their own; every second one with `other` weights."""
    steps = [
        f"m{at} = MatMul({f'a{at - 1}' if at else 'x'}, {other if at % 2 else weights}) r{at} = Relu(m{at}) "
        f"a{at} = Add(r{at}, {f'a{at - 1}' if at else 'x'})"
        for at in range(count)
    ]
    proto = graph(f"g (float[2,3] x) => (float[2,3] a{count - 1}) {{ {' '.join(steps)} }}")
    rng = np.random.default_rng(0)
    square = rng.standard_normal((3, 3)).astype(np.float32)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name)
        for name, array in {"w": square, "same": square.copy(), "v": square + 1}.items()
    )
    return proto


def everything(models: list[Islands], known: Feeds) -> Feeds:
    """What all rounds of all models give, by the tensors that it stands for."""
    found: Feeds = {}
    for islands in models:
        onnx.checker.check_model(islands.model)
        made = session(islands.model)
        names = [each.name for each in made.get_outputs()]
        for each in islands.rounds:
            got = dict(zip(names, made.run(names, {ours: known[n] for ours, n in each.inputs.items()}), strict=True))
            for ours, name in each.outputs.items():
                assert name not in found
                found[name] = got[ours]
    return found


@pytest.mark.parametrize(
    ("other", "kinds"),
    [("w", [8, 8, 8]), ("same", [8, 8, 8]), ("v", [4, 4, 8, 8])],
    ids=["one tensor", "equal tensors", "other weights"],
)
def test_operators_that_are_alike_are_compiled_once_and_run_each(other: str, kinds: list[int]) -> None:
    proto = repeated(8, other=other)
    known = every_tensor(proto, {"x": np.float32([[1, 2, 3], [-1, 0, 1]])})
    explosion = Explosion(proto, known)

    models = all_islands(explosion)

    assert sorted(len(kind) for each in models for kind in each.kinds) == kinds
    assert sum(len(each.model.graph.node) for each in models) == len(kinds)
    assert sorted(at for each in models for at in each.nodes) == list(range(24))
    found = everything(models, known)
    assert set(found) == {name for node in proto.graph.node for name in node.output}
    for name, array in found.items():
        np.testing.assert_array_equal(array, known[name], err_msg=name)


def test_operators_of_other_shapes_attributes_or_operands_are_not_alike() -> None:
    proto = graph("""g (float[2,2] x, float[2] u) => (float[2,2] a7) {
        a0 = Softmax <axis = 0> (x)
        a1 = Softmax <axis = 1> (a0)
        a2 = Softmax <axis = 0> (a1)
        a3 = Add(a2, u)
        a4 = Add(u, a3)
        a5 = Mul(a4, a4)
        a6 = Mul(a5, a4)
        a7 = Mul(a6, a6)
    }""")
    known = every_tensor(proto, {"x": np.ones((2, 2), np.float32), "u": np.float32([1, 2])})
    explosion = Explosion(proto, known)

    alike = by_kind(range(8), lambda at, contents: explosion.told(at, contents=contents))

    assert alike == [(0, 2), (1,), (3,), (4,), (5, 7), (6,)]


def test_few_that_are_alike_stay_in_one_model() -> None:
    network = SLICE["unet"]

    (islands,) = all_islands(Explosion(network.model, every_tensor(network.model, network.feeds[0])))

    assert len(islands.rounds) == 1
