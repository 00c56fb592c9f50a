"""Recurrent layers: the order of the gates, and where a GRU's reset gate acts."""

from __future__ import annotations

import numpy as np

from sysnoise_conform.probe.arrays import Array
from sysnoise_conform.probe.case import Kind, ProbeCase, Trigger, case
from sysnoise_conform.probe.rounding import rounded

_LENGTH, _BATCH, _INPUT, _HIDDEN = 5, 2, 4, 3
_WHY = "sums of 7 products through gates, five steps long"


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _gru(x: Array, w: Array, r: Array, b: Array, *, before_reset: bool) -> Array:
    """One direction. Gates: update, reset, hidden."""
    n = _HIDDEN
    h, steps = np.zeros((_BATCH, n)), []
    (wz, wr, wh), (rz, rr, rh) = np.split(w, 3), np.split(r, 3)
    bz, br, bh, cz, cr, ch = np.split(b, 6)
    for each in x:
        z = _sigmoid(each @ wz.T + h @ rz.T + bz + cz)
        reset = _sigmoid(each @ wr.T + h @ rr.T + br + cr)
        inner = reset * (h @ rh.T + ch) if before_reset else (reset * h) @ rh.T + ch
        h = (1 - z) * np.tanh(each @ wh.T + inner + bh) + z * h
        steps.append(h)
    return np.stack(steps)


def _lstm(x: Array, w: Array, r: Array, b: Array) -> Array:
    """One direction. Gates: input, output, forget, cell."""
    h, c, steps = np.zeros((_BATCH, _HIDDEN)), np.zeros((_BATCH, _HIDDEN)), []
    first, second = np.split(b, 2)
    for each in x:
        i, o, f, g = np.split(each @ w.T + h @ r.T + first + second, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        steps.append(h)
    return np.stack(steps)


def cases() -> tuple[ProbeCase, ...]:
    """All of them."""
    rng = np.random.default_rng(29)
    x = rng.standard_normal((_LENGTH, _BATCH, _INPUT)).astype(np.float32)

    def weights(gates: int, directions: int = 1) -> dict[str, Array]:
        shapes = {
            "w": (directions, gates * _HIDDEN, _INPUT), "r": (directions, gates * _HIDDEN, _HIDDEN),
            "b": (directions, 2 * gates * _HIDDEN),
        }  # fmt: skip
        return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    def wide(given: dict[str, Array], direction: int = 0) -> tuple[Array, Array, Array]:
        w, r, b = (given[name][direction].astype(np.float64) for name in ("w", "r", "b"))
        return w, r, b

    stored, found = ("w", "r", "b"), []
    for flag in (0, 1):
        given = weights(3)
        y = _gru(x.astype(np.float64), *wide(given), before_reset=bool(flag))
        found.append(
            case(
                f"gru-linear-before-reset-{flag}", "GRU", f"linear_before_reset={flag}", Kind.CONTROL,
                "the reset gate acts after the product" if flag else "the reset gate acts before the product",
                {"x": x, **given}, rounded(y[:, None], 256, _WHY, scale=1.0), constants=stored,
                attributes={"hidden_size": _HIDDEN, "linear_before_reset": flag}, opset=14,
                trigger=Trigger(attributes=("linear_before_reset", "direction")),
            )
        )  # fmt: skip
    given = weights(4)
    both = weights(4, 2)
    y = _lstm(x.astype(np.float64), *wide(given))
    forward = _lstm(x.astype(np.float64), *wide(both))
    backward = _lstm(x[::-1].astype(np.float64), *wide(both, 1))[::-1]
    for name, about, values, numbers in (
        ("lstm", "forward", given, y[:, None]),
        ("lstm-bidirectional", "bidirectional", both, np.stack([forward, backward], 1)),
    ):
        found.append(
            case(
                name, "LSTM", f"direction={about}", Kind.CONTROL, "gates in the order input, output, forget, cell",
                {"x": x, **values}, rounded(numbers, 256, _WHY, scale=1.0), constants=stored,
                attributes={"hidden_size": _HIDDEN, "direction": about}, opset=14,
                trigger=Trigger(attributes=("direction",)),
            )
        )  # fmt: skip
    return tuple(found)
