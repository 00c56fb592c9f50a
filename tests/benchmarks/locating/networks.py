"""The networks that faults are planted in: of the calibration's families, one with many pools, and real ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.draft import Draft, Network
from calibration.sets import networks
from diagnose.deep import pooled

import sysnoise_conform.models
from sysnoise_conform.case import Case
from sysnoise_conform.errors import ConformError
from sysnoise_conform.models.fetch import fetch
from sysnoise_conform.models.photographs import photographs
from sysnoise_conform.runner.opening import open_case
from sysnoise_conform.variant import parse_variants

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / ".demo"
CARDS = Path(sysnoise_conform.models.__file__).parent / "cards"
FAMILIES = ("residual_cnn", "unet", "mobile", "detector", "encoder", "dense_cnn")
POOLED = "pooled"
SEED = 1_700_000  # of no set of the calibration


@dataclass(frozen=True, kw_only=True, slots=True)
class Real:
    """A pretrained model: where its file and its one sample come from."""

    model: Callable[[], Path]
    card: Path | None = None
    inputs: Callable[[], Path] | None = None  # None: synthetic
    shape: tuple[str, tuple[int, ...]] | None = None


def _test_data() -> Path:
    named = os.environ.get("CONFORM_TEST_DATA")
    if not named:
        raise FileNotFoundError("CONFORM_TEST_DATA is not set")
    return Path(named)


def _fetched(name: str) -> Callable[[], Path]:
    return lambda: fetch(name, DEMO)


def _photographs() -> Path:
    return photographs(DEMO / "photographs")


REAL: dict[str, Real] = {
    "ppocr-v4-det": Real(model=_fetched("ppocr-v4-det"), inputs=_photographs, shape=("x", (1, 3, 160, 160))),
    "efficientnet-lite0": Real(model=_fetched("efficientnet-lite0"), inputs=_photographs),
    "fastestdet": Real(
        model=lambda: _test_data() / "models" / "FastestDet.onnx", card=CARDS / "fastestdet.toml",
        inputs=lambda: _test_data() / "coco128-val" / "images",
    ),
    "all-minilm-l6-v2": Real(model=_fetched("all-minilm-l6-v2")),
}  # fmt: skip
NAMES = (*FAMILIES, POOLED, *REAL)


def real(name: str) -> Network:
    """A real model with one sample. Raises FileNotFoundError, ConformError where it is not to be had."""
    known = REAL[name]
    case = Case(
        model=known.model(), variants=parse_variants("ort"), card=known.card, samples=1,
        inputs=None if known.inputs is None else known.inputs(),
        shapes={} if known.shape is None else dict([known.shape]),
    )  # fmt: skip
    opened = open_case(case)
    return Network(name=name, family="real", model=opened.model.proto, feeds=(dict(opened.samples.feed(0)),))


def chosen(names: Sequence[str]) -> Iterator[Network | tuple[str, str]]:
    """The networks of these names, one sample each; of one that is not here its name and why."""
    generated: dict[str, Network] = {}
    for each in networks("held-out", samples=1):
        generated.setdefault(each.family, each)
    for name in names:
        if name in generated:
            yield generated[name]
        elif name == POOLED:
            g = Draft(SEED)
            yield g.network(POOLED, POOLED, pooled(g, size=95, width=12), 1)
        else:
            try:
                yield real(name)
            except (ConformError, OSError) as err:
                yield name, str(err)
