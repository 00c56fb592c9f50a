from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden_oracle import Array, assert_agrees, run

from sysnoise_conform.errors import BadModel, UnsupportedOperator

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}


def layer(op: str, seed: int) -> tuple[dict[str, Array | None], dict[str, Any]]:
    rng = np.random.default_rng(seed)
    steps, batch, inputs, hidden = (int(v) for v in rng.integers(1, 6, 4))
    direction = ("forward", "reverse", "bidirectional")[seed % 3]
    count = 2 if direction == "bidirectional" else 1

    def floats(*shape: int) -> Array:
        return (0.7 * rng.standard_normal(shape)).astype(np.float32)

    feeds: dict[str, Array | None] = {
        "x": floats(steps, batch, inputs),
        "w": floats(count, GATES[op] * hidden, inputs),
        "r": floats(count, GATES[op] * hidden, hidden),
        "b": floats(count, 2 * GATES[op] * hidden) if seed % 4 else None,
        "l": rng.integers(1, steps + 1, batch).astype(np.int32) if seed % 2 else None,
        "h": floats(count, batch, hidden),
    }
    node: dict[str, Any] = {"hidden_size": hidden, "direction": direction, "opset": (7, 14)[seed % 2], "outputs": 2}
    if op == "LSTM":
        feeds |= {"c": floats(count, batch, hidden), "p": floats(count, 3 * hidden)}
        node |= {"outputs": 3, "input_forget": int(seed % 5 == 0)}
    if op == "GRU":
        node |= {"linear_before_reset": seed % 2}
    if seed % 3 == 1:
        kinds = ("Sigmoid", "HardSigmoid", "LeakyRelu", "Elu", "Softsign", "Tanh")
        node["activations"] = [kinds[int(v)] for v in rng.integers(0, len(kinds), FUNCTIONS[op] * count)]
    if seed % 7 == 3 and op != "LSTM":
        node["clip"] = 0.5
    return feeds, node


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("seed", range(16))
def test_recurrent_layers_agree_with_onnxruntime(op: str, seed: int) -> None:
    feeds, node = layer(op, seed)
    assert_agrees(op, feeds, **node)


def test_the_layout_batch_first_only_moves_axes() -> None:
    feeds, node = layer("GRU", 2)
    time_first = run("GRU", feeds, **{**node, "opset": 14})
    moved = {
        name: None if a is None else np.ascontiguousarray(a.swapaxes(0, 1)) for name, a in feeds.items() if name in "xh"
    }
    y, last = run("GRU", {**feeds, **moved}, layout=1, **{**node, "opset": 14})
    np.testing.assert_array_equal(y, time_first[0].transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(last, time_first[1].swapaxes(0, 1))


def test_an_lstm_is_torchs_with_its_gates_in_another_order() -> None:
    rng = np.random.default_rng(0)
    steps, batch, inputs, hidden = 5, 2, 3, 4
    torch.manual_seed(0)
    module = torch.nn.LSTM(inputs, hidden, bidirectional=True).double()
    x = rng.standard_normal((steps, batch, inputs)).astype(np.float32)

    def gates(names: tuple[str, ...]) -> Array:
        rows = []
        for suffix in ("", "_reverse"):
            parts = [
                getattr(module, name + suffix).detach().numpy().reshape(4, hidden, -1)[[0, 3, 1, 2]] for name in names
            ]
            rows.append(np.concatenate([part.reshape(4 * hidden, -1) for part in parts]))
        return np.stack(rows).astype(np.float32)

    w, r, b = gates(("weight_ih_l0",)), gates(("weight_hh_l0",)), gates(("bias_ih_l0", "bias_hh_l0"))[..., 0]
    y, _, _ = run(
        "LSTM", {"x": x, "w": w, "r": r, "b": b}, hidden_size=hidden, direction="bidirectional", outputs=3, opset=14
    )
    expected, _ = module(torch.from_numpy(x).double())
    got = y.transpose(0, 2, 1, 3).reshape(steps, batch, -1)
    np.testing.assert_allclose(got, expected.detach().numpy(), atol=1e-6)


def test_clipping_the_cell_is_refused_because_text_and_runtimes_differ() -> None:
    feeds, node = layer("LSTM", 2)
    with pytest.raises(UnsupportedOperator, match="clip"):
        run("LSTM", feeds, clip=0.05, **node)


def test_an_unknown_activation_is_bad() -> None:
    feeds, node = layer("RNN", 0)
    with pytest.raises(BadModel, match="Swish"):
        run("RNN", feeds, **{**node, "activations": ["Swish"]})
