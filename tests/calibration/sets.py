"""Disjoint sets of networks: other seeds, other hyper-parameters, and families that the first of them has not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from calibration import sequences, vision
from calibration.draft import Draft, Network

Family = Callable[..., list[str]]
Recipe = tuple[Family, tuple[Mapping[str, Any], ...]]

SAMPLES = 4


def _each(**choices: Any) -> dict[str, Any]:
    return choices


# The defaults of the policy follow from these.
CALIBRATION: tuple[Recipe, ...] = (
    (vision.plain_cnn, (
        _each(size=32, widths=(16, 32), kernel=3, activation="Relu", pool="MaxPool", norm=True, head="linear"),
        _each(size=48, widths=(12, 20, 40), kernel=5, activation="LeakyRelu", pool="AveragePool", norm=True,
              head="softmax"),
        _each(size=32, widths=(24, 24), kernel=7, activation="Elu", pool="MaxPool", norm=False, head="flatten"),
        _each(size=64, widths=(8, 16, 32, 64), kernel=3, activation="Clip", pool="MaxPool", norm=True, head="linear"),
        _each(size=24, widths=(64, 64), kernel=3, activation="PRelu", pool="AveragePool", norm=False, head="softmax"),
    )),
    (vision.residual_cnn, (
        _each(size=64, width=18, blocks=4, bottleneck=False, activation="Relu"),
        _each(size=64, width=24, blocks=6, bottleneck=True, activation="Relu"),
        _each(size=48, width=32, blocks=4, bottleneck=False, activation="SiLU"),
        _each(size=96, width=14, blocks=8, bottleneck=True, activation="LeakyRelu"),
        _each(size=32, width=64, blocks=2, bottleneck=False, activation="Relu"),
    )),
    (vision.mobile, (
        _each(size=64, width=16, blocks=4, expand=3, activation="HardSwish", gate="HardSigmoid"),
        _each(size=48, width=12, blocks=6, expand=4, activation="SiLU", gate="Sigmoid"),
        _each(size=56, width=8, blocks=5, expand=2, activation="Clip", gate="Sigmoid"),
        _each(size=80, width=16, blocks=3, expand=6, activation="HardSwish", gate="HardSigmoid"),
    )),
    (vision.unet, (
        _each(size=40, width=8, depth=2, up="nearest", activation="Relu", head="Sigmoid"),
        _each(size=56, width=12, depth=2, up="ConvTranspose", activation="LeakyRelu", head="Softmax"),
        _each(size=56, width=8, depth=3, up="half_pixel", activation="Relu", head="Tanh"),
        _each(size=32, width=16, depth=2, up="DepthToSpace", activation="SiLU", head="Sigmoid"),
        _each(size=64, width=6, depth=3, up="align_corners", activation="Relu", head="Softmax"),
    )),
    (vision.detector, (
        _each(size=64, width=18, activation="Relu", classes=3, decode="exp"),
        _each(size=96, width=22, activation="SiLU", classes=8, decode="relu"),
        _each(size=64, width=32, activation="LeakyRelu", classes=5, decode="best"),
        _each(size=64, width=12, activation="HardSwish", classes=2, decode="top"),
    )),
    (vision.generator, (
        _each(latent=32, width=64, steps=3, up="ConvTranspose", norm=True, activation="Relu"),
        _each(latent=64, width=32, steps=2, up="nearest", norm=True, activation="LeakyRelu"),
        _each(latent=16, width=48, steps=3, up="DepthToSpace", norm=False, activation="LeakyRelu"),
        _each(latent=48, width=64, steps=3, up="half_pixel", norm=True, activation="PRelu"),
    )),
    (vision.snapped, (
        _each(size=24, width=16, levels=15, blocks=2),
        _each(size=32, width=12, levels=7, blocks=3),
    )),
    (sequences.encoder, (
        _each(length=24, width=32, heads=4, layers=2, activation="Gelu", decomposed=False),
        _each(length=16, width=48, heads=4, layers=3, activation="GeluTanh", decomposed=True),
        _each(length=40, width=64, heads=8, layers=1, activation="Relu", decomposed=True),
        _each(length=12, width=96, heads=6, layers=2, activation="Gelu", decomposed=False),
        _each(length=32, width=48, heads=2, layers=4, activation="SiLU", decomposed=False),
    )),
    (sequences.causal_lm, (
        _each(length=24, width=48, heads=4, layers=2, rotary=False, masked="Where", head="LogSoftmax"),
        _each(length=32, width=32, heads=4, layers=3, rotary=True, masked="finite", head=""),
        _each(length=16, width=64, heads=8, layers=2, rotary=True, masked="inf", head="Softmax"),
        _each(length=20, width=40, heads=2, layers=4, rotary=False, masked="finite", head=""),
    )),
    (sequences.recurrent, (
        _each(length=20, features=12, hidden=24, kind="LSTM", both=False, layers=1),
        _each(length=16, features=8, hidden=32, kind="GRU", both=True, layers=1),
        _each(length=30, features=6, hidden=16, kind="RNN", both=False, layers=2),
        _each(length=24, features=16, hidden=20, kind="LSTM", both=True, layers=2),
        _each(length=40, features=10, hidden=48, kind="GRU", both=False, layers=1),
    )),
    (sequences.tabular, (
        _each(columns=20, hidden=64, layers=3, activation="Relu", prepare="log", head="Softmax"),
        _each(columns=12, hidden=32, layers=4, activation="Selu", prepare="scale", head="Sigmoid"),
        _each(columns=40, hidden=128, layers=2, activation="Tanh", prepare="log", head="LogSoftmax"),
        _each(columns=30, hidden=48, layers=5, activation="Softplus", prepare="scale", head="Softmax"),
    )),
    (sequences.spectral, (
        _each(window=64, frames=30, mels=16, hidden=24, tail="mean"),
        _each(window=128, frames=20, mels=24, hidden=32, tail="wave"),
        _each(window=96, frames=24, mels=20, hidden=16, tail="recurrent"),
        _each(window=256, frames=16, mels=40, hidden=32, tail="mean"),
    )),
    (sequences.mixer, (
        _each(tokens=16, width=32, layers=2, activation="Gelu", gated=False),
        _each(tokens=25, width=48, layers=3, activation="Relu", gated=True),
    )),
    (sequences.long_sums, (
        _each(terms=2048, width=32, offset=0.0),
        _each(terms=8192, width=16, offset=1.0),
    )),
    (vision.deep_channels, (
        _each(size=8, channels=384, kernel=3, activation="Relu"),
        _each(size=10, channels=512, kernel=1, activation="SiLU"),
    )),
)  # fmt: skip

# Tried when the limits stood. It gave one alarm, from which a rule for layers followed (see the page).
SECOND: tuple[Recipe, ...] = (
    (vision.plain_cnn, (
        _each(size=40, widths=(20, 40), kernel=5, activation="HardSwish", pool="AveragePool", norm=True,
              head="flatten"),
        _each(size=56, widths=(10, 20, 30), kernel=7, activation="Softsign", pool="MaxPool", norm=False, head="linear"),
        _each(size=32, widths=(48, 96), kernel=3, activation="Mish", pool="AveragePool", norm=True, head="softmax"),
    )),
    (vision.residual_cnn, (
        _each(size=72, width=20, blocks=6, bottleneck=False, activation="PRelu"),
        _each(size=56, width=40, blocks=4, bottleneck=True, activation="HardSwish"),
        _each(size=88, width=16, blocks=8, bottleneck=False, activation="Relu"),
    )),
    (vision.mobile, (
        _each(size=64, width=12, blocks=7, expand=3, activation="Relu", gate="HardSigmoid"),
        _each(size=56, width=20, blocks=4, expand=2, activation="SiLU", gate="HardSigmoid"),
        _each(size=64, width=10, blocks=6, expand=5, activation="HardSwish", gate="Sigmoid"),
    )),
    (vision.unet, (
        _each(size=48, width=10, depth=3, up="ConvTranspose", activation="SiLU", head="Sigmoid"),
        _each(size=56, width=12, depth=2, up="align_corners", activation="PRelu", head="Tanh"),
        _each(size=48, width=14, depth=2, up="pytorch_half_pixel", activation="LeakyRelu", head="Softmax"),
    )),
    (vision.detector, (
        _each(size=96, width=20, activation="SiLU", classes=4, decode="exp"),
        _each(size=128, width=18, activation="LeakyRelu", classes=6, decode="best"),
        _each(size=64, width=28, activation="Mish", classes=10, decode="relu"),
    )),
    (vision.generator, (
        _each(latent=24, width=48, steps=3, up="pytorch_half_pixel", norm=True, activation="LeakyRelu"),
        _each(latent=100, width=32, steps=3, up="ConvTranspose", norm=False, activation="PRelu"),
        _each(latent=40, width=56, steps=2, up="DepthToSpace", norm=True, activation="SiLU"),
    )),
    (vision.super_resolution, (
        _each(size=24, width=24, blocks=2, activation="Relu"),
        _each(size=32, width=16, blocks=4, activation="PRelu"),
        _each(size=40, width=32, blocks=1, activation="LeakyRelu"),
    )),
    (vision.dense_cnn, (
        _each(size=44, growth=12, layers=3, stages=2),
        _each(size=56, growth=8, layers=4, stages=3),
        _each(size=36, growth=16, layers=5, stages=1),
    )),
    (vision.snapped, (
        _each(size=28, width=10, levels=31, blocks=2),
        _each(size=40, width=8, levels=3, blocks=4),
    )),
    (vision.shuffling, (
        _each(size=32, width=24, blocks=2, groups=3),
        _each(size=48, width=32, blocks=3, groups=4),
        _each(size=40, width=16, blocks=4, groups=2),
    )),
    (sequences.encoder, (
        _each(length=20, width=40, heads=5, layers=3, activation="Gelu", decomposed=True),
        _each(length=48, width=32, heads=2, layers=2, activation="GeluTanh", decomposed=False),
        _each(length=28, width=80, heads=4, layers=2, activation="Mish", decomposed=True),
    )),
    (sequences.causal_lm, (
        _each(length=28, width=56, heads=4, layers=3, rotary=True, masked="Where", head="LogSoftmax"),
        _each(length=18, width=72, heads=6, layers=2, rotary=False, masked="inf", head=""),
        _each(length=36, width=24, heads=3, layers=5, rotary=True, masked="finite", head="Softmax"),
    )),
    (sequences.patches, (
        _each(size=32, patch=8, width=48, heads=4, layers=2, activation="Gelu"),
        _each(size=48, patch=8, width=32, heads=2, layers=4, activation="GeluTanh"),
        _each(size=40, patch=5, width=40, heads=5, layers=3, activation="SiLU"),
    )),
    (sequences.recurrent, (
        _each(length=25, features=9, hidden=40, kind="LSTM", both=True, layers=1),
        _each(length=18, features=14, hidden=28, kind="GRU", both=True, layers=2),
        _each(length=22, features=20, hidden=36, kind="RNN", both=True, layers=1),
        _each(length=35, features=5, hidden=30, kind="LSTM", both=False, layers=3),
    )),
    (sequences.tabular, (
        _each(columns=16, hidden=96, layers=4, activation="Elu", prepare="scale", head="LogSoftmax"),
        _each(columns=24, hidden=40, layers=3, activation="Mish", prepare="log", head="Sigmoid"),
        _each(columns=50, hidden=64, layers=6, activation="Gelu", prepare="scale", head="Softmax"),
    )),
    (sequences.spectral, (
        _each(window=80, frames=32, mels=18, hidden=20, tail="wave"),
        _each(window=160, frames=18, mels=32, hidden=40, tail="recurrent"),
        _each(window=192, frames=22, mels=28, hidden=24, tail="mean"),
    )),
    (sequences.mixer, (
        _each(tokens=20, width=40, layers=4, activation="GeluTanh", gated=True),
        _each(tokens=36, width=24, layers=2, activation="SiLU", gated=False),
    )),
    (sequences.towers, (
        _each(width=32, hidden=64, items=48, activation="Relu"),
        _each(width=50, hidden=96, items=32, activation="Tanh"),
        _each(width=24, hidden=40, items=64, activation="Gelu"),
    )),
    (sequences.autoencoder, (
        _each(width=60, hidden=64, latent=12, activation="Relu"),
        _each(width=40, hidden=48, latent=20, activation="Softplus"),
        _each(width=90, hidden=100, latent=30, activation="Elu"),
    )),
    (sequences.long_sums, (
        _each(terms=4096, width=48, offset=0.5),
        _each(terms=16384, width=8, offset=-2.0),
    )),
    (vision.deep_channels, (
        _each(size=7, channels=640, kernel=3, activation="LeakyRelu"),
        _each(size=12, channels=256, kernel=5, activation="Relu"),
    )),
)  # fmt: skip

# A few more, for the ordinary tests.
SLICE: tuple[Recipe, ...] = (
    (vision.mobile, (_each(size=40, width=10, blocks=2, expand=3, activation="HardSwish", gate="HardSigmoid"),)),
    (vision.unet, (_each(size=24, width=10, depth=1, up="half_pixel", activation="Relu", head="Sigmoid"),)),
    (sequences.encoder, (_each(length=14, width=36, heads=3, layers=1, activation="Gelu", decomposed=True),)),
    (sequences.spectral, (_each(window=48, frames=20, mels=12, hidden=16, tail="recurrent"),)),
)  # fmt: skip

def _changed(recipes: tuple[Recipe, ...], by: Mapping[str, int]) -> tuple[Recipe, ...]:
    """The same families with other sizes."""

    def one(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: value + by.get(name, 0) if name in by else value for name, value in parameters.items()}

    return tuple((family, tuple(one(each) for each in several)) for family, several in recipes)


# Tried when the rule that the second set taught stood as well; it taught how means of few different values are summed.
THIRD = _changed(
    SECOND, {"size": 32, "length": 5, "hidden": 6, "latent": 7, "columns": 3, "frames": 4, "tokens": 3, "terms": 512}
)

# Tried once, when that stood as well.
HELD_OUT = _changed(
    SECOND, {"size": 16, "length": 11, "hidden": 14, "latent": 3, "columns": 8, "frames": 9, "tokens": 7, "terms": 1280}
)

SETS: Mapping[str, tuple[tuple[Recipe, ...], int]] = {
    "calibration": (CALIBRATION, 1_000),
    "second": (SECOND, 500_000),
    "third": (THIRD, 700_000),
    "held-out": (HELD_OUT, 1_100_000),
    "slice": (SLICE, 900_000),
}
TABLES = ("calibration", "second", "third", "held-out")  # what the page tells of


def networks(name: str, *, samples: int = SAMPLES) -> Iterator[Network]:
    """The networks of a set, in order; the seed of each is the set's and its number's alone."""
    recipes, first = SETS[name]
    number = 0
    for family, variants in recipes:
        for choice, parameters in enumerate(variants, start=1):
            g = Draft(first + number)
            outputs = family(g, **parameters)
            yield g.network(f"{family.__name__}_{choice}", family.__name__, outputs, samples)
            number += 1
