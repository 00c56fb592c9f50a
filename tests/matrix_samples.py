"""Matrices that were never run: each says something that a report must say, too."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from sysnoise_conform.card import ImageInput
from sysnoise_conform.datasets import Problem
from sysnoise_conform.matrix.facts import (
    AxisFacts,
    CellFacts,
    Figures,
    Flip,
    Matrix,
    PlanCounts,
    Share,
    Status,
    Step,
)
from sysnoise_conform.matrix.gallery import Gallery
from sysnoise_conform.matrix.judged import adjusted, by_axis
from sysnoise_conform.noise import AXES
from sysnoise_conform.statistics.gate import Word, non_inferior

PLAN = PlanCounts(
    decodes=5_000, resizes=9_000, inferences=40_000, naive_decodes=62_000, naive_resizes=62_000, naive_inferences=62_000
)
HOSTILE = {
    "markup": "<script>alert(1)</script>",
    "markdown": "|a`b*c|@team #1 [x](https://example.org)",
    "control": "a\x1b[31mred\nnext line\x00",
    "surrogate": "\udcff.jpg",
    "rich": "[bold red]x[/]",
    "long": "n" * 10_000,
}


def figures(delta: float, width: float = 0.004, *, value: float = 0.888, pictures: int = 5000, margin: float = 0.01,
            p: float | None = None, others: dict[str, float] | None = None) -> Figures:  # fmt: skip
    low, high = delta - width, delta + width
    lost = round(max(delta, 0) * pictures) + 3
    word: Word = non_inferior((low, high), margin)
    return Figures(
        value=value - delta, others=others or {"top5": 0.97}, delta=delta, interval=(low, high),
        p=p if p is not None else 0.4 if low < 0 else 1e-6, p_holm=None, lost=lost, won=3, changed=lost + 5,
        verdict=word, pictures=pictures, images_to_decide=8_000 if word == "INCONCLUSIVE" else None,
    )  # fmt: skip


def cell(axis: str, level: str, backend: str = "ort", delta: float = 0.0, **more: float) -> CellFacts:
    return CellFacts(axis=axis, level=level, backend=backend, status="measured", figures=figures(delta, **more))


def without(axis: str, level: str, status: Status, why: str, backend: str = "ort") -> CellFacts:
    return CellFacts(axis=axis, level=level, backend=backend, status=status, reason=why)


def matrix(*cells: CellFacts, **more: object) -> Matrix:
    again = cell("control", "again", "torch", p=1.0)
    assert again.figures is not None
    again = replace(again, figures=replace(again.figures, lost=0, won=0, changed=0))
    told = adjusted((again, *cells))
    facts: dict[str, object] = {
        "model": "nets/resnet.onnx", "task": "classify", "metric": "top1", "layout": "labels.csv", "pictures": 5000,
        "baseline_backend": "torch", "baseline": {"top1": 0.888, "top5": 0.97}, "margin": 0.01, "seed": 0,
        "cells": told, "axes": by_axis(told), "steps": (), "shares": (), "plan": PLAN, "seconds": 61.5,
        "runtimes": {"ort": "onnxruntime 1.31.1"}, "environment": {"python": "3.11.7", "cores": 2},
    }  # fmt: skip
    return Matrix(**(facts | more))  # type: ignore[arg-type]


def passing() -> Matrix:
    return matrix(cell("decoder", "opencv", delta=0.001), cell("decoder", "ffmpeg", delta=-0.002))


def failing() -> Matrix:
    """One noise surely above the margin, one surely other and below it, one that is neither, one that can't be told."""
    return matrix(
        cell("decoder", "ffmpeg", delta=0.061), cell("decoder", "opencv", delta=0.0051),
        cell("resize", "pillow-box", delta=0.0), cell("resize", "opencv-nearest", delta=0.009),
    )  # fmt: skip


def open_ones() -> Matrix:
    """Sixty cells that so few pictures can't tell."""
    return matrix(*(cell("colour", f"level-{at}", width=0.02) for at in range(60)))


def nothing() -> Matrix:
    """Every cell is without effect: nothing was compared."""
    return matrix(without("exif", "ignore", "noop", "it changes no value of any of these pictures"))


def every_status() -> Matrix:
    """All that a matrix can hold, on two backends, with every axis and level that there is."""
    rng = random.Random(4)
    cells = []
    for backend in ("ort", "openvino:auto"):
        cells.append(cell("backend", backend, backend, delta=0.0004))
        cells += [
            cell(axis.name, level.name, backend, delta=round(rng.gauss(0.002, 0.006), 4))
            for axis in AXES.values() for level in axis.levels[1:]
        ]  # fmt: skip
        cells += [
            cell("normalisation", "forgotten", backend, delta=0.77),
            without("decoder", "float-again", "unavailable", "jpeglib is not installed: pip install jpeglib", backend),
            without("exif", "turned", "noop", "it changes no value of any of these pictures", backend),
            without("ceil_mode", "on", "not_applicable", "node Reshape_12 has a fixed size", backend),
            without("precision", "int8", "crashed", "the session died by SIGSEGV", backend),
            without("precision", "fp16", "unsupported", "no kernel for Resize", backend),
        ]
    order = ("decoder", "ffmpeg"), ("colour", "opencv-i420"), ("resize", "opencv-nearest"), ("nms", "iou_65")
    steps = []
    for backend in ("ort", "openvino:auto"):
        for name in ("pipeline", "greedy"):
            total = 0.0
            for at, (axis, level) in enumerate(order):
                total += (0.004, 0.013, -0.003, 0.02)[at]
                steps.append(Step(
                    backend=backend, order=name, added=axis, level=level, value=0.888 - total,  # type: ignore[arg-type]
                    delta=total, interval=(total - 0.007, total + 0.008),
                ))  # fmt: skip
    shares = [
        Share(backend=backend, axis=axis, level=level, recovered=0.002 * at, shapley=0.011 - 0.003 * at)
        for backend in ("ort", "openvino:auto") for at, (axis, level) in enumerate(order)
    ]  # fmt: skip
    flips = [
        Flip(
            picture=f"n01440764_{at % 7}.jpg", axis="decoder", level=("ffmpeg", "opencv")[at % 2], backend="ort",
            before="tench (62 %)", after="goldfish (41 %)", right_before=True, right_after=at % 3 == 0,
        )
        for at in range(20)
    ]  # fmt: skip
    problems = (Problem(name="broken.jpg", why="it ends early"), Problem(name="cmyk.jpg", why="CMYK"))
    return matrix(*cells, steps=tuple(steps), shares=tuple(shares), flips=tuple(flips), problems=problems, resumed=12)


def hostile() -> Matrix:
    """Names and reasons that would do something if anybody let them."""
    return matrix(
        *(without("precision", "int8", "unsupported", each, backend=each) for each in HOSTILE.values()),
        flips=tuple(
            Flip(picture=each, axis="decoder", level="ffmpeg", backend=each, before=each, after=each, right_before=None,
                 right_after=None)
            for each in HOSTILE.values()
        ),
        problems=tuple(Problem(name=each, why=each) for each in HOSTILE.values()),
        model=f"dir/{HOSTILE['markup']}.onnx", layout=HOSTILE["markdown"], runtimes=HOSTILE,
    )  # fmt: skip


def without_numbers() -> Matrix:
    """Figures that are not finite, and some in units of their own."""
    odd = figures(0.0, others={"kl": 0.25, "smallest_lead": 0.001, "agreement": math.nan})
    told = CellFacts(axis="decoder", level="ffmpeg", backend="ort", status="measured", figures=odd)
    none = replace(figures(0.0, width=0.02), value=math.nan, delta=math.nan, interval=(math.nan, math.nan), p=math.nan)
    lost = CellFacts(axis="decoder", level="opencv", backend="ort", status="measured", figures=none)
    step = Step(
        backend="ort", order="pipeline", added="decoder", level="ffmpeg", value=math.nan, delta=math.nan,
        interval=(math.nan, math.nan),
    )  # fmt: skip
    return matrix(
        told, lost, task="agree", metric="agreement", baseline={"agreement": 1.0, "kl": 0.0, "smallest_lead": 0.001},
        steps=(step,), shares=(Share(backend="ort", axis="decoder", level="ffmpeg"),),
        axes=(AxisFacts(axis="decoder", backend="ort", mean_delta=0.0, max_delta=0.0, worst="ffmpeg",
                        deltas={"ffmpeg": 0.0}),),
    )  # fmt: skip


def with_pictures(folder: Path) -> Matrix:
    """Two real JPEGs, of which one's answer changed, and noises that can be seen, are not seen, or change the size."""
    rng = np.random.default_rng(3)
    paths = {}
    for name in ("changed.jpg", "same.jpg", "broken.jpg"):
        ramp = np.linspace(0, 200, 90)[None, :, None] + rng.normal(0, 25, (70, 90, 3))
        Image.fromarray(np.clip(ramp, 0, 255).astype(np.uint8)).save(folder / name, quality=80)
        paths[name] = folder / name
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    spec = ImageInput(resize="shorter+crop", shorter=64, size=(48, 48), filter="pillow-bilinear", decoder="pillow")
    flips = [
        Flip(picture=name, axis="resize", level=level, backend="ort", before="tench (62 %)", after="goldfish (41 %)",
             right_before=True, right_after=False)
        for name, level in (("broken.jpg", "pillow-nearest"), ("changed.jpg", "pillow-nearest"),
                            ("broken.jpg", "pillow-box"), ("changed.jpg", "pillow-box"),
                            ("broken.jpg", "pillow-lanczos"))
    ]  # fmt: skip
    cells = (
        cell("resize", "pillow-nearest", delta=0.02), cell("resize", "pillow-box", delta=0.01),
        cell("colour", "range-full-as-narrow", delta=0.01), cell("channels", "swapped", delta=0.3),
    )  # fmt: skip
    gallery = Gallery(most=2, paths=paths, spec=spec, fixed=(48, 48))
    return matrix(*cells, flips=tuple(flips), gallery=gallery)
