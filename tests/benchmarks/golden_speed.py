"""How long the golden takes for a ResNet-18 at 224 compared with the same module in eager torch.

Run: python tests/benchmarks/golden_speed.py. Medians of interleaved pairs, so that a machine that is busy for a while
slows both sides.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import onnx
import torch
from prepared import prepared
from section import Figure, Section, table

from sysnoise_conform.golden.executor import Executor, Mode

TITLE = "The golden against eager torch"

PAIRS = 15

TEXT = f"""
The ResNet-18 of the other benchmarks through the golden's executor and as the same module in eager torch, in one
process, the median of {PAIRS} pairs in turns after two that are discarded. What float64 mode adds to the operators
themselves is one pass over each result, which finds whether it left the range of FLOAT.
"""


def seconds(run: Callable[[], object]) -> float:
    """The wall-clock time of one call."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def measure() -> Section:
    """Both modes."""
    import resnet

    example = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with prepared(0) as made:
        model = onnx.load(made.model)
    rows, figures = [], []
    for mode in Mode:
        executor, eager, given = Executor(model, mode), resnet.seeded().to(mode.dtype), example.to(mode.dtype)
        with torch.inference_mode():
            sides = (lambda: executor.run({resnet.INPUT: example.numpy()}), lambda: eager(given))  # noqa: B023
            for side in sides * 2:
                side()
            times = [[seconds(side) for side in sides] for _ in range(PAIRS)]
        golden, torch_eager = (statistics.median(each[side] for each in times) for side in (0, 1))
        rows.append((mode.value, f"{golden * 1e3:.1f} ms", f"{torch_eager * 1e3:.1f} ms"))
        figures.append(
            Figure(what=f"golden against eager torch, {mode.value}", value=statistics.median(a / b for a, b in times))
        )
    return Section(
        title=TITLE,
        figures=tuple(figures),
        text=f"{TEXT}\n{table(('mode', 'golden', 'eager torch'), rows)}",
    )


if __name__ == "__main__":
    sys.stdout.write(measure().markdown() + "\n")
