"""Recurrent layers, one step at a time: RNN, GRU, LSTM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.op import Call, op

Activation = Callable[[Tensor], Tensor]

# Name -> (takes alpha, takes beta, default alpha, default beta); defaults are those of the ONNX
# operators of the same name. Affine and ScaledTanh have none: there the attributes are required.
_PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0, None),
}
_TWO_WITHOUT_DEFAULT = ("affine", "scaledtanh")


def _activation(name: str, alpha: float, beta: float) -> Activation | None:
    match name:
        case "relu":
            return torch.relu
        case "tanh":
            return torch.tanh
        case "sigmoid":
            return torch.sigmoid
        case "softsign":
            return F.softsign
        case "softplus":
            # F.softplus turns linear above a threshold; this is log(1 + e^x) everywhere.
            return lambda x: torch.logaddexp(x, torch.zeros_like(x))
        case "affine":
            return lambda x: alpha * x + beta
        case "leakyrelu":
            return lambda x: torch.where(x >= 0, x, alpha * x)
        case "thresholdedrelu":
            return lambda x: torch.where(x >= alpha, x, torch.zeros_like(x))
        case "scaledtanh":
            return lambda x: alpha * torch.tanh(beta * x)
        case "hardsigmoid":
            return lambda x: torch.clamp(alpha * x + beta, 0, 1)
        case "elu":
            return lambda x: torch.where(x >= 0, x, alpha * torch.expm1(x))
    return None


def _activations(call: Call, defaults: tuple[str, ...], directions: int) -> list[list[Activation]]:
    """The activation functions of each direction; alpha and beta are used up by those that take one."""
    names = [str(each) for each in call.get("activations") or defaults * directions]
    if names == list(defaults) * 2:
        names = names[: len(defaults) * directions]  # RNN's default has two names whatever the direction
    if len(names) != len(defaults) * directions:
        call.bad(f"{len(names)} activations for {directions} direction(s) of {len(defaults)}")
    alphas, betas = list(call.get("activation_alpha") or ()), list(call.get("activation_beta") or ())
    found = []
    for name in names:
        plain = name.lower()
        alpha, beta = _PARAMETERS.get(plain, (None, None))
        needs = plain in _TWO_WITHOUT_DEFAULT
        if needs and not (alphas and betas):
            call.unsupported(f"activation {name} without alpha and beta, for which the text has no default")
        if (alpha is not None or needs) and alphas:
            alpha = float(alphas.pop(0))
        if (beta is not None or needs) and betas:
            beta = float(betas.pop(0))
        run = _activation(plain, alpha or 0.0, beta or 0.0)
        if run is None:
            call.bad(f"activation {name!r} is none that the text knows")
        found.append(run)
    return [found[start : start + len(defaults)] for start in range(0, len(found), len(defaults))]


@dataclass(frozen=True, slots=True)
class Layer:
    """The inputs that RNN, GRU and LSTM share, sequence first: `x` (T, B, I), weights per direction."""

    x: Tensor
    w: Tensor
    r: Tensor
    bias: Tensor  # (directions, 2 * gates * hidden)
    lengths: Tensor | None
    initial: Tensor  # (directions, B, hidden)
    hidden: int
    reverse: tuple[bool, ...]
    batch_first: bool
    clip: float | None

    def pre(self, values: Tensor) -> Tensor:
        """What goes into an activation: clipped where the node says so."""
        return values if self.clip is None else values.clamp(-self.clip, self.clip)

    def state(self, call: Call, given: Tensor | None, name: str) -> Tensor:
        """An initial state (directions, B, hidden), zero where it is absent."""
        shape = (len(self.reverse), self.x.shape[1], self.hidden)
        if given is None:
            return self.x.new_zeros(shape)
        given = given.transpose(0, 1) if self.batch_first else given
        if tuple(given.shape) != shape:
            call.bad(f"{name} has shape {list(given.shape)}, not {list(shape)}")
        return given


def _layer(
    call: Call, gates: int, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None, lens: Tensor | None, h: Tensor | None
) -> Layer:
    direction = str(call.get("direction", "forward"))
    reverse = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(direction)
    if reverse is None:
        call.bad(f"direction is {direction!r}")
    batch_first = bool(call.get("layout", 0))
    if x.dim() != 3 or w.dim() != 3 or r.dim() != 3:
        call.bad(f"X {list(x.shape)}, W {list(w.shape)} and R {list(r.shape)} must have three axes")
    x = x.transpose(0, 1) if batch_first else x
    hidden = r.shape[2]
    shapes = ((len(reverse), gates * hidden, x.shape[2]), (len(reverse), gates * hidden, hidden))
    if (tuple(w.shape), tuple(r.shape)) != shapes or int(call.get("hidden_size", hidden)) != hidden:
        call.bad(f"W {list(w.shape)} and R {list(r.shape)} don't fit {direction} X {list(x.shape)}")
    bias = x.new_zeros((len(reverse), 2 * gates * hidden)) if b is None else b
    if tuple(bias.shape) != (len(reverse), 2 * gates * hidden):
        call.bad(f"B has shape {list(bias.shape)}, not {[len(reverse), 2 * gates * hidden]}")
    if lens is not None:
        if tuple(lens.shape) != (x.shape[1],) or bool(((lens < 0) | (lens > x.shape[0])).any()):
            call.bad(f"sequence_lens {lens.tolist()} for {x.shape[1]} sequences of length {x.shape[0]}")
        if bool((lens == x.shape[0]).all()):
            lens = None
    clip = call.get("clip")
    layer = Layer(
        x=x, w=w, r=r, bias=bias, lengths=lens, initial=x, hidden=hidden, reverse=reverse, batch_first=batch_first,
        clip=None if clip is None or clip == 0 else float(clip),
    )  # fmt: skip
    return Layer(
        **{**{name: getattr(layer, name) for name in Layer.__slots__}, "initial": layer.state(call, h, "initial_h")}
    )


Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


def _run(layer: Layer, steps: list[Step], states: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """(Y, last state, ...) of all directions; a sequence that has ended keeps its state and outputs zero."""
    outputs, ends = [], []
    for direction, (step, state) in enumerate(zip(steps, states, strict=True)):
        projected = layer.x @ layer.w[direction].T
        order = range(layer.x.shape[0])
        seen: list[Tensor] = [state[0]] * len(order)
        for time in reversed(order) if layer.reverse[direction] else order:
            after = step(projected[time], state)
            if layer.lengths is None:
                state = after
                seen[time] = after[0]
            else:
                alive = (time < layer.lengths)[:, None]
                state = tuple(torch.where(alive, new, old) for new, old in zip(after, state, strict=True))
                seen[time] = torch.where(alive, after[0], torch.zeros_like(after[0]))
        outputs.append(torch.stack(seen) if seen else layer.x.new_zeros((0, *state[0].shape)))
        ends.append(state)
    y = torch.stack(outputs, dim=1)
    last = [torch.stack(each) for each in zip(*ends, strict=True)]
    if layer.batch_first:
        return (y.permute(2, 0, 1, 3), *(each.transpose(0, 1) for each in last))
    return (y, *last)


@op("RNN", since=7)
def rnn(
    call: Call, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lens: Tensor | None = None,
    h: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Ht = f(Xt W' + Ht-1 R' + Wb + Rb): Y (T, directions, B, hidden) and the last H."""
    layer = _layer(call, 1, x, w, r, b, lens, h)

    def step(direction: int, f: Activation) -> Step:
        recurrence = layer.r[direction].T
        bias = layer.bias[direction].reshape(2, -1).sum(dim=0)
        return lambda now, state: (f(layer.pre(now + state[0] @ recurrence + bias)),)

    functions = _activations(call, ("Tanh",), len(layer.reverse))
    steps = [step(direction, *each) for direction, each in enumerate(functions)]
    return _run(layer, steps, [(each,) for each in layer.initial])


@op("GRU", since=7)
def gru(
    call: Call, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lens: Tensor | None = None,
    h: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gates in the order z, r, h: Y (T, directions, B, hidden) and the last H."""
    layer = _layer(call, 3, x, w, r, b, lens, h)
    size, before_reset = layer.hidden, bool(call.get("linear_before_reset", 0))

    def step(direction: int, f: Activation, g: Activation) -> Step:
        recurrence = layer.r[direction].T
        input_bias, state_bias = layer.bias[direction].reshape(2, -1)
        gate_bias = (input_bias + state_bias)[: 2 * size]

        def advance(now: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            (old,) = state
            gates = f(layer.pre(now[:, : 2 * size] + old @ recurrence[:, : 2 * size] + gate_bias))
            update, reset = gates[:, :size], gates[:, size:]
            if before_reset:
                recurrent = reset * (old @ recurrence[:, 2 * size :] + state_bias[2 * size :])
            else:
                recurrent = (reset * old) @ recurrence[:, 2 * size :] + state_bias[2 * size :]
            new = g(layer.pre(now[:, 2 * size :] + recurrent + input_bias[2 * size :]))
            return ((1 - update) * new + update * old,)

        return advance

    functions = _activations(call, ("Sigmoid", "Tanh"), len(layer.reverse))
    steps = [step(direction, *each) for direction, each in enumerate(functions)]
    return _run(layer, steps, [(each,) for each in layer.initial])


@op("LSTM", since=7)
def lstm(
    call: Call, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lens: Tensor | None = None,
    h: Tensor | None = None, c: Tensor | None = None, p: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gates in the order i, o, f, c, peepholes i, o, f: Y (T, directions, B, hidden), last H and C."""
    layer = _layer(call, 4, x, w, r, b, lens, h)
    size, coupled = layer.hidden, bool(call.get("input_forget", 0))
    cells = layer.state(call, c, "initial_c")
    if p is not None and tuple(p.shape) != (len(layer.reverse), 3 * size):
        call.bad(f"P has shape {list(p.shape)}, not {[len(layer.reverse), 3 * size]}")

    def step(direction: int, f: Activation, g: Activation, out: Activation) -> Step:
        recurrence = layer.r[direction].T
        bias = layer.bias[direction].reshape(2, -1).sum(dim=0)
        peep = (0.0, 0.0, 0.0) if p is None else p[direction].reshape(3, size).unbind()

        def advance(now: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            old, cell = state
            i, o, forget, new = torch.split(now + old @ recurrence + bias, size, dim=1)
            take = f(layer.pre(i + peep[0] * cell))
            keep = 1 - take if coupled else f(layer.pre(forget + peep[2] * cell))
            cell = keep * cell + take * g(layer.pre(new))
            if layer.clip is not None and bool((cell.abs() > layer.clip).any()):
                call.unsupported("a cell beyond `clip`, which the text clips before h and runtimes don't")
            return f(layer.pre(o + peep[1] * cell)) * out(cell), cell

        return advance

    functions = _activations(call, ("Sigmoid", "Tanh", "Tanh"), len(layer.reverse))
    steps = [step(direction, *each) for direction, each in enumerate(functions)]
    return _run(layer, steps, list(zip(layer.initial, cells, strict=True)))
