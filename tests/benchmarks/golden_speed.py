"""How long the golden takes for a ResNet-18 at 224 compared with the same module in eager torch.

Run: python tests/benchmarks/golden_speed.py [PAIRS]. Prints medians of interleaved pairs, so that a
machine that is busy for a while slows both sides.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import networks

from sysnoise_conform.golden.executor import Executor, Mode


def seconds(run: Callable[[], object]) -> float:
    """The wall-clock time of one call."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main() -> None:
    """Measure both modes and print one line for each."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    module = networks.resnet18()
    example = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        model = networks.exported(module, example, Path(folder) / "resnet18.onnx")
    name = model.graph.input[0].name
    feeds = {name: example.numpy()}
    for mode in Mode:
        eager = module.to(mode.dtype)
        given = example.to(mode.dtype)
        executor = Executor(model, mode)
        with torch.inference_mode():
            sides = (lambda: executor.run(feeds), lambda: eager(given))  # noqa: B023
            for side in sides * 2:
                side()
            times = [[seconds(side) for side in sides] for _ in range(pairs)]
        golden, torch_eager = (statistics.median(each[side] for each in times) for side in (0, 1))
        ratio = statistics.median(each[0] / each[1] for each in times)
        sys.stdout.write(
            f"{mode.value}: golden {golden * 1e3:.1f} ms, eager {torch_eager * 1e3:.1f} ms, ratio {ratio:.3f} "
            f"(median of {pairs} pairs, {torch.get_num_threads()} threads)\n"
        )


if __name__ == "__main__":
    main()
