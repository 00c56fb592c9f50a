"""Which nodes of a quantised graph are one integer kernel, and which tensors no kernel makes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from diagnose.quantised import quantised_network
from graphs import graph
from test_explode import all_islands, every_tensor, run

from sysnoise_conform.graph.explode import Explosion
from sysnoise_conform.graph.quantised import inside, integer_blocks

CONSTANTS = "<float s = {0.05}, uint8 z = {128}, float t = {0.04}, uint8 o = {0}, float three = {3}, float six = {6}>"


def quantised(body: str, outputs: str = "uint8[2,8] y") -> onnx.ModelProto:
    return graph(f"g (uint8[2,8] x) => ({outputs}) {CONSTANTS} {{ {body} }}")


def told(proto: onnx.ModelProto) -> list[tuple[str, str]]:
    """The operator of each block, and all of its nodes, by what they make."""
    nodes = proto.graph.node
    return [
        (nodes[each.operator].output[0], " ".join(nodes[at].output[0] for at in each.nodes))
        for each in integer_blocks(proto)
    ]


@pytest.mark.parametrize(
    ("activation", "inner"),
    [
        ("Relu(m)", ""),
        ("Mul(m, three)", ""),
        ("Mul(m, f)", "f = Sigmoid(m)"),
        ("Mul(m, f)", "g = Add(m, three) h = Relu(g) f = Div(h, six)"),
    ],
)
def test_an_activation_belongs_to_its_operator(activation: str, inner: str) -> None:
    proto = quantised(f"a = DequantizeLinear(x, s, z) m = Softsign(a) {inner} r = {activation} "
                      "y = QuantizeLinear(r, t, o)")
    names = [each.output[0] for each in proto.graph.node]

    assert told(proto) == [("m", " ".join(names))]
    assert inside(proto, integer_blocks(proto)) == set(names) - {"y"}


def test_what_another_reads_is_shown_and_ends_the_block_at_the_operator() -> None:
    proto = quantised(
        "a = DequantizeLinear(x, s, z) m = Softsign(a) y = QuantizeLinear(m, t, o) v = Exp(m)",
        "uint8[2,8] y, float[2,8] v",
    )

    assert told(proto) == [("m", "a m")]
    assert inside(proto, integer_blocks(proto)) == {"a"}


def test_a_dequantised_tensor_that_floats_read_too_is_shown_and_made_again_inside() -> None:
    proto = graph(f"""g (uint8[2,8] x, float[2,8] v) => (uint8[2,8] y, float[2,8] c) {CONSTANTS} {{
        a = DequantizeLinear(x, s, z)
        m = Softsign(a)
        y = QuantizeLinear(m, t, o)
        c = Add(a, v)
    }}""")
    codes = np.arange(16, dtype=np.uint8).reshape(2, 8) + 120
    known = every_tensor(proto, {"x": codes, "v": np.ones((2, 8), np.float32)})
    blocks = integer_blocks(proto)

    (islands,) = all_islands(Explosion(proto, known, blocks))
    found = run(islands, known)

    assert inside(proto, blocks) == {"m"}
    assert [node.op_type for node in islands.model.graph.node] == [
        "DequantizeLinear", "DequantizeLinear", "Softsign", "QuantizeLinear", "Add"
    ]  # fmt: skip
    assert set(found) == {"a", "y", "c"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, known[name], err_msg=name)


def test_one_float_among_the_data_makes_no_block() -> None:
    proto = graph(f"""g (uint8[2,8] x, float[2,8] v) => (uint8[2,8] y) {CONSTANTS} {{
        a = DequantizeLinear(x, s, z)
        m = Add(a, v)
        y = QuantizeLinear(m, t, o)
    }}""")

    assert told(proto) == []


def test_all_ends_of_one_operator_are_one_island() -> None:
    proto = quantised(
        "a = DequantizeLinear(x, s, z) m = Softsign(a) y = QuantizeLinear(m, t, o) v = QuantizeLinear(m, s, z)",
        "uint8[2,8] y, uint8[2,8] v",
    )
    known = every_tensor(proto, {"x": np.arange(16, dtype=np.uint8).reshape(2, 8) + 120})
    explosion = Explosion(proto, known, integer_blocks(proto))

    (islands,) = all_islands(explosion)

    assert islands.nodes == (3,)
    assert explosion.maker("y") == explosion.maker("v") == 3
    assert set(run(islands, known)) == {"y", "v"}


@pytest.mark.parametrize("per_channel", [False, True])
def test_each_block_gives_alone_what_it_gives_in_the_graph(per_channel: bool) -> None:
    proto = quantised_network(per_channel=per_channel)
    known = every_tensor(proto, {"x": np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)})
    blocks = integer_blocks(proto)
    explosion = Explosion(proto, known, blocks)

    (islands,) = all_islands(explosion)
    found = run(islands, known)

    operators = [proto.graph.node[each.operator].op_type for each in blocks]
    assert operators == ["Conv", "Conv", "Add", "GlobalAveragePool", "Flatten", "Gemm"]
    assert set(found) == {"x_codes", "relu0_codes", "relu1_codes", "add1_codes", "mean_codes", "flat_codes", "y"}
    assert explosion.archipelago().left_out == {}
    for name, array in found.items():
        np.testing.assert_array_equal(array, known[name], err_msg=name)


def test_graphs_without_dequantisation_have_no_blocks() -> None:
    proto = graph("""g (float[2,8] x) => (float[2,8] y) { r = Relu(x) y = Exp(r) }""")

    assert integer_blocks(proto) == ()


def test_operators_on_codes_are_one_kernel_already() -> None:
    proto = graph(f"""g (uint8[2,8] x, uint8[8,4] w) => (float[2,4] y) {CONSTANTS} {{
        m = MatMulInteger(x, w, z, z)
        f = Cast <to = 1> (m)
        y = Mul(f, s)
    }}""")

    assert integer_blocks(proto) == ()
