"""Networks on tokens, sounds and tables: each family as a function of its hyper-parameters."""

from __future__ import annotations

import numpy as np
from calibration.draft import Draft, ids, measurements, normals, sounds


def attention(
    g: Draft, x: str, width: int, heads: int, length: int, mask: str | None = None, *, rotary: bool = False
) -> str:
    """Softmax(q k' / sqrt(d) + mask) v over (batch, length, width)."""
    deep = width // heads
    parts = []
    for kind in "qkv":
        y = g.op("Reshape", g.linear(x, width, width), g.shape(0, length, heads, deep))
        y = g.op("Transpose", y, perm=[0, 2, 1, 3])
        parts.append(_rotated(g, y, length, deep) if rotary and kind != "v" else y)
    q, k, v = parts
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
    scores = g.op("Div", scores, g.constant(deep**0.5))
    if mask is not None:
        scores = g.op("Add", scores, mask)
    y = g.op("MatMul", g.op("Softmax", scores, axis=-1), v)
    y = g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), g.shape(0, length, width))
    return g.linear(y, width, width)


def _rotated(g: Draft, x: str, length: int, deep: int) -> str:
    """Rotary positions, over the two halves of each head."""
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, deep, 2) / deep)
    cosine, sine = (g.constant(np.concatenate([each, each], 1)) for each in (np.cos(angles), np.sin(angles)))
    first = g.op("Slice", x, g.shape(0), g.shape(deep // 2), g.shape(3))
    second = g.op("Slice", x, g.shape(deep // 2), g.shape(deep), g.shape(3))
    turned = g.op("Concat", g.op("Neg", second), first, axis=3)
    return g.op("Add", g.op("Mul", x, cosine), g.op("Mul", turned, sine))


def encoder(
    g: Draft, *, length: int, width: int, heads: int, layers: int, activation: str, decomposed: bool
) -> list[str]:
    """A transformer encoder with a padding mask and a mean over tokens, in the manner of BERT."""
    vocabulary = 500
    tokens = g.input("tokens", (length,), ids(vocabulary))
    x = g.op("Gather", g.normal(vocabulary, width), tokens)
    x = g.layer_norm(g.op("Add", x, g.normal(length, width, scale=0.3)), width, decomposed=decomposed)
    padding = g.op("Cast", g.op("Equal", tokens, g.constant(0, np.int64)), to=1)
    mask = g.op("Unsqueeze", g.op("Mul", padding, g.constant(-1e4)), g.shape(1, 2))
    for _ in range(layers):
        x = g.layer_norm(g.op("Add", x, attention(g, x, width, heads, length, mask)), width, decomposed=decomposed)
        y = g.activation(g.linear(x, width, 4 * width), activation)
        x = g.layer_norm(g.op("Add", x, g.linear(y, 4 * width, width)), width, decomposed=decomposed)
    kept = g.op("Unsqueeze", g.op("Sub", g.constant(1.0), padding), g.shape(2))
    total = g.op("ReduceSum", g.op("Mul", x, kept), g.shape(1), keepdims=0)
    count = g.op("Max", g.op("ReduceSum", kept, g.shape(1), keepdims=0), g.constant(1.0))
    pooled = g.op("Div", total, count)
    norm = g.op("ReduceL2", pooled, axes=[1], keepdims=1)
    return [x, g.op("Div", pooled, norm)]


def causal_lm(
    g: Draft, *, length: int, width: int, heads: int, layers: int, rotary: bool, masked: str, head: str
) -> list[str]:
    """A decoder with RMS normalisation and gated feed-forward layers."""
    vocabulary = 300
    tokens = g.input("tokens", (length,), ids(vocabulary))
    table = g.normal(vocabulary, width)
    x = g.op("Gather", table, tokens)
    later = np.triu(np.ones((length, length), bool), 1)
    if masked == "Where":
        mask = g.op("Where", g.constant(later, bool), g.constant(np.finfo(np.float32).min), g.constant(0.0))
    else:
        mask = g.constant(np.where(later, -np.inf if masked == "inf" else -1e9, 0))
    for _ in range(layers):
        x = g.op("Add", x, attention(g, _rms_norm(g, x, width), width, heads, length, mask, rotary=rotary))
        y = _rms_norm(g, x, width)
        gated = g.op(
            "Mul",
            g.activation(g.linear(y, width, 2 * width, bias=False), "SiLU"),
            g.linear(y, width, 2 * width, bias=False),
        )
        x = g.op("Add", x, g.linear(gated, 2 * width, width, bias=False))
    x = g.op("MatMul", _rms_norm(g, x, width), g.op("Transpose", table, perm=[1, 0]))
    return [g.op(head, x, axis=-1)] if head else [x]


def _rms_norm(g: Draft, x: str, width: int) -> str:
    square = g.op("ReduceMean", g.op("Mul", x, x), axes=[-1])
    inverse = g.op("Reciprocal", g.op("Sqrt", g.op("Add", square, g.constant(1e-6))))
    return g.op("Mul", g.op("Mul", x, inverse), g.uniform(0.7, 1.3, width))


def recurrent(g: Draft, *, length: int, features: int, hidden: int, kind: str, both: bool, layers: int) -> list[str]:
    """LSTM, GRU or RNN layers, one or both directions, and a layer on the last step."""
    x = g.op("Transpose", g.input("series", (length, features), normals), perm=[1, 0, 2])
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    ways, inputs = (2 if both else 1), features
    for _ in range(layers):
        weights = (
            g.normal(ways, gates * hidden, inputs, scale=(1 / inputs) ** 0.5),
            g.normal(ways, gates * hidden, hidden, scale=(1 / hidden) ** 0.5),
            g.normal(ways, 2 * gates * hidden, scale=0.1),
        )
        more = {"linear_before_reset": 1} if kind == "GRU" else {}
        y = g.op(kind, x, *weights, hidden_size=hidden, direction="bidirectional" if both else "forward", **more)
        inputs = ways * hidden
        x = (
            g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), g.shape(0, -1, inputs))
            if both
            else g.op("Squeeze", y, g.shape(1))
        )
    last = g.op("Squeeze", g.op("Slice", x, g.shape(-1), g.shape(length), g.shape(0)), g.shape(0))
    return [g.op("Transpose", x, perm=[1, 0, 2]), g.op("Tanh", g.gemm(last, inputs, 16))]


def tabular(g: Draft, *, columns: int, hidden: int, layers: int, activation: str, prepare: str, head: str) -> list[str]:
    """Columns of a table, brought to one scale, and fully connected layers."""
    x = g.input("columns", (columns,), measurements)
    if prepare == "log":
        x = g.op("Log", g.op("Add", x, g.constant(1.0)))
    else:
        means = np.exp(np.linspace(-1, 4, columns))
        x = g.op(
            "Clip",
            g.op("Div", g.op("Sub", x, g.constant(means)), g.constant(means / 2)),
            g.constant(-4.0),
            g.constant(4.0),
        )
    inputs = columns
    for _ in range(layers):
        y = g.batch_norm(g.gemm(x, inputs, hidden, gain=2.0), hidden)
        y = g.activation(y, activation)
        x, inputs = (g.op("Add", x, y) if inputs == hidden else y), hidden
    y = g.gemm(x, hidden, 1 if head == "Sigmoid" else 12)
    return [g.op(head, y)] if head == "Sigmoid" else [g.op(head, y, axis=-1), x]


def spectral(g: Draft, *, window: int, frames: int, mels: int, hidden: int, tail: str) -> list[str]:
    """A Fourier transform as a convolution, mel bands, their logarithm, and layers over time."""
    hop, bins = window // 2, window // 2 + 1
    sound = g.op("Unsqueeze", g.input("sound", (window + hop * (frames - 1),), sounds), g.shape(1))
    angles = 2 * np.pi * np.outer(np.arange(bins), np.arange(window)) / window
    basis = np.concatenate([np.cos(angles), -np.sin(angles)]) * np.hanning(window)
    x = g.op("Conv", sound, g.constant(basis[:, None]), kernel_shape=[window], strides=[hop])
    parts = g.op("Split", x, outputs=2, axis=1)
    power = g.op("Add", g.op("Pow", parts, g.constant(2.0)), g.op("Pow", f"{parts}_1", g.constant(2.0)))
    magnitude = g.op("Sqrt", g.op("Add", power, g.constant(1e-6)))
    centres = np.linspace(0, bins - 1, mels)[:, None]
    bands = np.maximum(0, 1 - np.abs(np.arange(bins) - centres) / (bins / mels))
    x = g.op("Log", g.op("Max", g.op("MatMul", g.constant(bands), magnitude), g.constant(1e-3)))
    x = g.op("Relu", g.conv(x, mels, hidden, 3, rank=1))
    if tail == "wave":
        for number in range(4):
            gate = g.op("Sigmoid", g.conv(x, hidden, hidden, 3, rank=1, dilation=2**number, gain=1.0))
            value = g.op("Tanh", g.conv(x, hidden, hidden, 3, rank=1, dilation=2**number, gain=1.0))
            x = g.op("Add", x, g.conv(g.op("Mul", gate, value), hidden, hidden, 1, rank=1, gain=1.0))
        return [g.conv(x, hidden, 8, 1, rank=1, gain=1.0)]
    if tail == "recurrent":
        series = g.op("Transpose", x, perm=[2, 0, 1])
        weights = (
            g.normal(1, 3 * 24, hidden, scale=hidden**-0.5),
            g.normal(1, 3 * 24, 24, scale=0.2),
            g.normal(1, 6 * 24, scale=0.1),
        )
        y = g.op("Squeeze", g.op("GRU", series, *weights, hidden_size=24, linear_before_reset=1), g.shape(1))
        return [g.op("Sigmoid", g.linear(g.op("Transpose", y, perm=[1, 0, 2]), 24, 2))]
    pooled = g.op("ReduceMean", x, axes=[2], keepdims=0)
    return [g.op("LogSoftmax", g.gemm(pooled, hidden, 12), axis=-1)]


def mixer(g: Draft, *, tokens: int, width: int, layers: int, activation: str, gated: bool) -> list[str]:
    """Fully connected layers over tokens and over channels in turn."""
    x = g.input("patches", (tokens, width), normals)
    for _ in range(layers):
        y = g.op("Transpose", g.layer_norm(x, width), perm=[0, 2, 1])
        y = g.linear(g.activation(g.linear(y, tokens, 2 * tokens, gain=2.0), activation), 2 * tokens, tokens)
        x = g.op("Add", x, g.op("Transpose", y, perm=[0, 2, 1]))
        y = g.activation(g.linear(g.layer_norm(x, width), width, 2 * width, gain=2.0), activation)
        if gated:
            y = g.op("Mul", y, g.op("HardSigmoid", g.linear(x, width, 2 * width)))
        x = g.op("Add", x, g.linear(y, 2 * width, width))
    return [g.gemm(g.op("ReduceMax", x, axes=[1], keepdims=0), width, 25)]


def towers(g: Draft, *, width: int, hidden: int, items: int, activation: str) -> list[str]:
    """Two towers whose normalised vectors are compared: cosines, distances, and how they are spread."""
    sides = []
    for name in ("query", "item"):
        x = g.activation(g.gemm(g.input(name, (width,), normals), width, hidden, gain=2.0), activation)
        x = g.gemm(x, hidden, items)
        sides.append(g.op("Div", x, g.op("Max", g.op("ReduceL2", x, axes=[1], keepdims=1), g.constant(1e-6))))
    products = g.op("Mul", sides[0], sides[1])
    cosine = g.op("ReduceSum", products, g.shape(1), keepdims=1)
    distance = g.op("Sqrt", g.op("ReduceSum", g.op("Abs", g.op("Sub", sides[0], sides[1])), g.shape(1), keepdims=1))
    running = g.op("CumSum", products, g.constant(1, np.int64))
    near = g.op("Where", g.op("Greater", products, g.constant(0.0)), products, g.op("Exp", products))
    return [g.op("Concat", cosine, distance, axis=1), running, g.op("Softplus", near)]


def autoencoder(g: Draft, *, width: int, hidden: int, latent: int, activation: str) -> list[str]:
    """A variational autoencoder whose noise is an input."""
    x, noise = g.input("values", (width,), normals), g.input("noise", (latent,), normals)
    h = g.activation(
        g.gemm(g.activation(g.gemm(x, width, hidden, gain=2.0), activation), hidden, hidden, gain=2.0), activation
    )
    mean, spread = g.gemm(h, hidden, latent), g.gemm(h, hidden, latent, gain=0.3)
    z = g.op("Add", mean, g.op("Mul", g.op("Exp", g.op("Mul", spread, g.constant(0.5))), noise))
    y = g.activation(g.gemm(z, latent, hidden, gain=2.0), activation)
    y = g.op("Sigmoid", g.gemm(y, hidden, width))
    terms = g.op("Sub", g.op("Add", g.op("Mul", mean, mean), g.op("Exp", spread)), g.op("Add", spread, g.constant(1.0)))
    return [y, g.op("ReduceSum", terms, g.shape(1), keepdims=1)]


def patches(g: Draft, *, size: int, patch: int, width: int, heads: int, layers: int, activation: str) -> list[str]:
    """A vision transformer: a strided convolution cuts patches, a learnt token gathers them."""
    from calibration.draft import pictures

    count = (size // patch) ** 2
    x = g.conv(g.input("image", (3, size, size), pictures), 3, width, patch, stride=patch, pad=0, gain=1.0)
    x = g.op("Transpose", g.op("Reshape", x, g.shape(0, width, count)), perm=[0, 2, 1])
    x = g.op("Add", x, g.normal(count, width, scale=0.3))
    for _ in range(layers):
        x = g.op("Add", x, attention(g, g.layer_norm(x, width), width, heads, count))
        x = g.op(
            "Add",
            x,
            g.linear(g.activation(g.linear(g.layer_norm(x, width), width, 2 * width), activation), 2 * width, width),
        )
    first = g.op("Gather", g.layer_norm(x, width), g.constant(0, np.int64), axis=1)
    return [g.gemm(first, width, 60)]


def long_sums(g: Draft, *, terms: int, width: int, offset: float) -> list[str]:
    """Sums of thousands of terms: where orders of summation differ most. `offset` gives the terms a mean."""
    x = g.op("Add", g.input("values", (terms,), normals), g.constant(offset))
    y = g.op("Tanh", g.gemm(x, terms, width))
    mean, norm = g.op("ReduceMean", x, axes=[1]), g.op("ReduceL2", x, axes=[1], keepdims=1)
    scaled = g.layer_norm(x, terms)
    pieces = g.op("Reshape", scaled, g.shape(0, 16, terms // 16))
    sums = g.op("ReduceSum", g.op("Mul", pieces, pieces), g.shape(2), keepdims=0)
    logits = g.op("Softmax", g.op("MatMul", scaled, g.normal(terms, width, scale=terms**-0.5)), axis=-1)
    return [y, g.op("Concat", mean, norm, sums, axis=1), logits, g.op("Softmax", x, axis=-1)]
