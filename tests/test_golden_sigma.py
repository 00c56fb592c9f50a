"""The derived sigma: float32 arithmetic is off by about one of it, and ten times the error is ten times the z."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor

from sysnoise_conform.golden.sigma import FORMULAS, Sigmas
from sysnoise_conform.golden.values import Value

F = torch.nn.functional
FLOAT = onnx.TensorProto.FLOAT
Run = Callable[..., Tensor]


def sigma_sq(op: str, inputs: list[Tensor], output: Tensor, *, opset: int = 21, **attributes: Any) -> float | None:
    node = helper.make_node(op, [f"i{k}" for k in range(len(inputs))], ["y"], **attributes)
    model = helper.make_model(
        helper.make_graph([node], "g", [], []), opset_imports=[helper.make_opsetid("", opset)]
    )
    values = [Value(each.double(), FLOAT) for each in inputs]
    return Sigmas(model).sum_of_squares(node, values, "y", Value(output, FLOAT))


def z_of(op: str, run: Run, inputs: list[Tensor], *, factor: float = 1.0, **attributes: Any) -> float:
    """rms(float32 run - float64 run) * factor / rms(sigma)."""
    exact = run(*(each.double() for each in inputs))
    variance = sigma_sq(op, inputs, exact, **attributes)
    assert variance is not None
    error = run(*inputs).double() - exact
    return factor * math.sqrt(float(error.square().sum()) / variance)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def positive(*shape: int) -> Tensor:
    return normal(*shape).relu()


def shifted(*shape: int) -> Tensor:
    return normal(*shape) + 5


def recurrent(kind: type[torch.nn.RNNBase]) -> Run:
    """A layer with the same weights in both precisions."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        single = kind(12, 24)
    double = copy.deepcopy(single).double()
    return lambda x: (double if x.dtype is torch.float64 else single)(x)[0].detach()


DISTRIBUTIONS = [normal, positive, shifted]
W = normal(32, 16, 3, 3)

OPERATORS: list[tuple[str, Run, Callable[[Callable[..., Tensor]], list[Tensor]], dict[str, Any]]] = [
    ("Conv", lambda x, w, b: F.conv2d(x, w, b, padding=1), lambda g: [g(2, 16, 14, 14), W, normal(32)],
     {"pads": [1] * 4}),
    ("Conv", lambda x, w: F.conv2d(x, w, stride=2, groups=16), lambda g: [g(2, 16, 14, 14), normal(16, 1, 5, 5)],
     {"strides": [2, 2], "group": 16}),
    ("Conv", lambda x, w: F.conv2d(x, w), lambda g: [g(1, 512, 7, 7), normal(16, 512, 3, 3)], {}),
    ("Conv", lambda x, w: F.conv1d(x, w, dilation=2), lambda g: [g(2, 8, 40), normal(4, 8, 5)], {"dilations": [2]}),
    ("ConvTranspose", lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1),
     lambda g: [g(2, 16, 9, 9), normal(16, 8, 4, 4)], {"strides": [2, 2], "pads": [1] * 4}),
    ("MatMul", lambda a, b: a @ b, lambda g: [g(4, 32, 64), normal(4, 64, 48)], {}),
    ("MatMul", lambda a, b: a @ b, lambda g: [g(1, 4096), normal(4096, 64)], {}),
    ("Gemm", lambda a, b, c: a @ b.T + c, lambda g: [g(32, 256), normal(100, 256), normal(100)], {"transB": 1}),
    ("AveragePool", lambda x: F.avg_pool2d(x, 3, 2), lambda g: [g(2, 16, 15, 15)],
     {"kernel_shape": [3, 3], "strides": [2, 2]}),
    ("GlobalAveragePool", lambda x: x.mean((2, 3), keepdim=True), lambda g: [g(8, 64, 7, 7)], {}),
    ("ReduceMean", lambda x: x.mean(-1, keepdim=True), lambda g: [g(512, 768)], {"axes": [-1]}),
    ("ReduceSum", lambda x: x.sum(-1, keepdim=True), lambda g: [g(512, 768)], {"axes": [-1]}),
    ("Add", lambda a, b: a + b, lambda g: [g(2, 16, 14, 14), normal(16, 1, 1)], {}),
    ("Sum", lambda a, b, c: a + b + c, lambda g: [g(4, 500), normal(4, 500), normal(1, 500)], {}),
    ("Mul", lambda a, b: a * b, lambda g: [g(2, 16, 14, 14), normal(16, 1, 1)], {}),
    ("Div", lambda a, b: a / b, lambda g: [normal(4, 500), g(4, 500).abs() + 0.1], {}),
    ("Sqrt", torch.sqrt, lambda g: [g(4, 500).abs()], {}),
    ("Exp", torch.exp, lambda g: [g(4, 500)], {}),
    ("Log", torch.log, lambda g: [g(4, 500).abs() + 0.1], {}),
    ("Sigmoid", torch.sigmoid, lambda g: [g(4, 500)], {}),
    ("Tanh", torch.tanh, lambda g: [g(4, 500)], {}),
    ("Erf", torch.erf, lambda g: [g(4, 500)], {}),
    ("Gelu", F.gelu, lambda g: [g(4, 500)], {}),
    ("HardSwish", F.hardswish, lambda g: [g(4, 500)], {}),
    ("Swish", F.silu, lambda g: [g(4, 500)], {}),
    ("Softmax", lambda x: x.softmax(-1), lambda g: [g(64, 100)], {}),
    ("LogSoftmax", lambda x: x.log_softmax(-1), lambda g: [g(64, 100)], {}),
    ("BatchNormalization", lambda x, s, b, m, v: F.batch_norm(x, m, v, s, b, False, 0, 1e-5),
     lambda g: [g(2, 16, 9, 9), normal(16), normal(16), g(1, 16)[0], normal(16).abs() + 0.1], {}),
    ("LayerNormalization", lambda x, s, b: F.layer_norm(x, (64,), s, b),
     lambda g: [g(99, 64), normal(64), normal(64)], {}),
    ("InstanceNormalization", lambda x, s, b: F.instance_norm(x, weight=s, bias=b),
     lambda g: [g(2, 16, 9, 9), normal(16), normal(16)], {}),
    ("GroupNormalization", lambda x, s, b: F.group_norm(x, 4, s, b),
     lambda g: [g(2, 16, 9, 9), normal(16), normal(16)], {"num_groups": 4}),
    ("CumSum", lambda x: x.cumsum(-1), lambda g: [g(64, 100)], {}),
    ("LRN", lambda x: F.local_response_norm(x, 5, 1e-3, 0.75, 1.0), lambda g: [g(2, 16, 9, 9)], {}),
    ("LeakyRelu", lambda x: F.leaky_relu(x, 0.1), lambda _: [normal(4, 500)], {}),
    ("PRelu", lambda x, w: F.prelu(x, w[0]), lambda _: [normal(4, 500), normal(1) / 4], {}),
    ("Elu", F.elu, lambda _: [normal(4, 500)], {}),
    ("Celu", F.celu, lambda _: [normal(4, 500)], {}),
    ("Selu", F.selu, lambda g: [g(4, 500)], {}),
    ("Softsign", F.softsign, lambda g: [g(4, 500)], {}),
    ("Sin", torch.sin, lambda g: [g(4, 500)], {}),
    ("Cos", torch.cos, lambda g: [g(4, 500)], {}),
    ("LSTM", recurrent(torch.nn.LSTM), lambda g: [g(20, 4, 12)], {}),
    ("GRU", recurrent(torch.nn.GRU), lambda g: [g(20, 4, 12)], {}),
    ("RNN", recurrent(torch.nn.RNN), lambda g: [g(20, 4, 12)], {}),
    ("RMSNormalization", lambda x, s: F.rms_norm(x, (64,), s, 1e-5), lambda g: [g(99, 64), normal(64)], {}),
]  # fmt: skip


@pytest.mark.parametrize("draw", DISTRIBUTIONS, ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    ("op", "run", "inputs", "attributes"), OPERATORS, ids=[f"{number}-{row[0]}" for number, row in enumerate(OPERATORS)]
)
def test_float32_is_about_one_sigma_off(
    op: str, run: Run, inputs: Callable[..., list[Tensor]], attributes: dict[str, Any], draw: Callable[..., Tensor]
) -> None:
    given = inputs(draw)
    z = z_of(op, run, given, **attributes)
    assert 0.1 < z < 2  # PyTorch adds in blocks, sigma one after the other
    assert z_of(op, run, given, factor=10, **attributes) == pytest.approx(10 * z)


def test_every_formula_that_stands_alone_is_measured_here() -> None:
    measured = {row[0] for row in OPERATORS}
    relatives = {
        "Sub", "Pow", "Reciprocal", "Softplus", "HardSigmoid", "Mish", "ReduceL2", "SimplifiedLayerNormalization",
    }  # fmt: skip
    assert set(FORMULAS) == measured | relatives


CONVOLUTIONS: list[dict[str, Any]] = [
    {"pads": [0, 0, 0, 0]},
    {"pads": [1, 1, 1, 1]},
    {"pads": [2, 2, 2, 2], "strides": [2, 2]},
    {"pads": [2, 2, 2, 2], "dilations": [2, 2]},
    {"pads": [3, 0, 0, 3], "strides": [3, 2]},
    {"pads": [1, 1, 1, 1], "group": 4},
]


@pytest.mark.parametrize("attributes", CONVOLUTIONS, ids=str)
def test_second_moments_stand_in_for_a_second_convolution(attributes: dict[str, Any]) -> None:
    """u**2/6 * (y**2 + n * (conv(x**2, w**2)/6 + y**2/3)), the convolution really done, against the moments."""
    x = normal(2, 8, 20, 24).double() * torch.linspace(0.1, 9, 8)[None, :, None, None]
    group = attributes.get("group", 1)
    w = normal(12, 8 // group, 3, 3).double()
    top, left, bottom, right = attributes["pads"]

    def conv(a: Tensor, b: Tensor) -> Tensor:
        padded = F.pad(a, (left, right, top, bottom))
        strides, dilations = attributes.get("strides", 1), attributes.get("dilations", 1)
        return F.conv2d(padded, b, stride=strides, dilation=dilations, groups=group)

    x, w = x.float().double(), w.float().double()
    y = conv(x, w)
    n, q = w[0].numel(), float(conv(x.square(), w.square()).sum())
    y2 = float(y.square().sum())
    exact = 2.0**-48 / 6 * (y2 + n * (q / 6 + y2 / 3))
    assert sigma_sq("Conv", [x, w], y, **attributes) == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize(("mode", "begin"), [("SAME_UPPER", 0), ("SAME_LOWER", 1)])
def test_automatic_padding_is_the_padding_it_means(mode: str, begin: int) -> None:
    x, w = normal(1, 4, 12, 12), normal(6, 4, 4, 4)
    end = 3 - (1 + begin)
    pads = [1 + begin, 1 + begin, end, end]
    y = F.conv2d(F.pad(x.double(), (pads[1], pads[3], pads[0], pads[2])), w.double())
    assert y.shape == (1, 6, 12, 12)
    assert sigma_sq("Conv", [x, w], y, auto_pad=mode) == sigma_sq("Conv", [x, w], y, pads=pads)


def test_data_movement_has_no_sigma() -> None:
    x = normal(4, 4)
    for op in ("Relu", "MaxPool", "Transpose", "Reshape", "Concat", "Gather", "Clip"):
        assert sigma_sq(op, [x], x.double()) is None


def test_integers_and_doubles_have_no_sigma() -> None:
    node = helper.make_node("Add", ["a", "b"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    for elem_type, data in ((onnx.TensorProto.INT64, torch.ones(3, dtype=torch.int64)),
                            (onnx.TensorProto.DOUBLE, torch.ones(3, dtype=torch.float64))):
        value = Value(data, elem_type)
        assert Sigmas(model).sum_of_squares(node, [value, value], "y", value) is None


def test_a_declared_half_is_rounded_to_half() -> None:
    node = helper.make_node("Mul", ["a", "b"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    a, b = normal(2000).half(), normal(2000, 1)[:, 0].half()
    exact = a.double() * b.double()
    values = [Value(each, onnx.TensorProto.FLOAT16) for each in (a, b)]
    variance = Sigmas(model).sum_of_squares(node, values, "y", Value(exact, onnx.TensorProto.FLOAT16))
    assert variance is not None
    error = exact.half().double() - exact
    assert 0.8 < math.sqrt(float(error.square().sum()) / variance) < 1.25


def test_a_mask_of_minus_infinity_leaves_sigma_finite() -> None:
    scores = normal(4, 8)
    mask = torch.zeros(4, 8)
    mask[:, 5:] = -math.inf
    added = sigma_sq("Add", [scores, mask], scores.double() + mask)
    softened = sigma_sq("Softmax", [scores + mask], (scores.double() + mask).softmax(-1))
    assert added is not None
    assert softened is not None
    assert 0 < added < 1e-10
    assert 0 < softened < 1e-10


def in_turn(rows: Tensor) -> Tensor:
    """The sum in float32, one element after the other."""
    total = torch.zeros(rows.shape[:-1], dtype=torch.float32)
    for place in range(rows.shape[-1]):
        total = total + rows[..., place]
    return total


ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "divided last": lambda rows: in_turn(rows) / rows.shape[-1],  # LiteRT's builtin kernels
    "divided first": lambda rows: in_turn(rows * (1 / torch.tensor(float(rows.shape[-1])))),  # MNN 3.6, to the bit
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("op", ["GlobalAveragePool", "ReduceMean"])
def test_a_mean_of_few_different_values_is_within_its_sigma_however_it_is_summed(op: str, order: str) -> None:
    levels = torch.arange(1, 9).reshape(1, 8, 1, 1) / 7  # a channel of equal values: its roundings are equal, too
    x = levels.expand(2, 8, 18, 18).contiguous()
    exact = x.double().mean((2, 3), keepdim=True)
    attributes = {"axes": [2, 3]} if op == "ReduceMean" else {}
    variance = sigma_sq(op, [x], exact, opset=13, **attributes)
    assert variance is not None

    error = ORDERS[order](x.flatten(2)).double() - exact.flatten(2).squeeze(-1)

    assert float(error.square().sum()) < 2 * variance


def test_independent_roundings_do_not_explain_a_sum_of_equal_terms() -> None:
    x = (torch.arange(1, 9).reshape(1, 8, 1, 1) / 7).expand(2, 8, 18, 18).contiguous()
    exact = x.double().mean((2, 3), keepdim=True)
    n, unit = 324, 2.0**-24
    squares, sums = float(x.double().square().sum()), float((n * exact).square().sum())
    independent = unit**2 / 6 * n * (squares / 6 + sums / 3) / n**2
    error = ORDERS["divided first"](x.flatten(2)).double() - exact.flatten(2).squeeze(-1)

    assert float(error.square().sum()) > 2 * independent
    assert sigma_sq("GlobalAveragePool", [x], exact) > 2 * independent


@pytest.mark.parametrize("axes", [[0], [-1], [0, 2], None])
def test_reductions_over_any_axes_have_a_sigma(axes: list[int] | None) -> None:
    x = normal(3, 4, 5)
    attributes = {} if axes is None else {"axes": axes}
    exact = x.double().mean(tuple(axes or (0, 1, 2)), keepdim=True)

    by_attribute = sigma_sq("ReduceMean", [x], exact, opset=13, **attributes)
    by_input = sigma_sq("ReduceMean", [x, torch.tensor(axes or [0, 1, 2])], exact)

    assert by_attribute == pytest.approx(by_input)
    assert by_attribute > 0


def test_a_sum_over_nothing_is_not_off() -> None:
    x = normal(3, 0, 5)

    assert sigma_sq("ReduceSum", [x], x.double().sum(1, keepdim=True), opset=11, axes=[1]) == 0
    assert sigma_sq("ReduceSum", [normal(3)], normal(3).double(), opset=13, noop_with_empty_axes=1) < 1e-13
