"""The derived sigma of float16, bfloat16 and TF32 against what hardware really computes: a GPU's units, or the CPU's.

Run: python tests/benchmarks/fewer_bits.py. PyTorch computes on the CUDA device where there is one (and TF32 is there
only then), else with the CPU's kernels. A line per arithmetic, operator and size: rms(error) / sigma against the
float64 operator on whole operands, and on operands rounded alike.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from onnx import helper

from sysnoise_conform.compare.arithmetic import ARITHMETICS
from sysnoise_conform.golden.sigma import Sigmas
from sysnoise_conform.golden.values import Value

TYPES = {"tf32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
DRAWS = ("normal", "positive", "shifted")


def drawn(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Operands of one distribution, float32."""
    x = rng.standard_normal(shape)
    match kind:
        case "positive":
            x = np.maximum(x, 0)
        case "shifted":
            x = x + 5
    return x.astype(np.float32)


def sigma(op: str, inputs: list[torch.Tensor], exact: torch.Tensor, arithmetic: str, *, whole: bool) -> float:
    """rms of the derived sigma."""
    pads = {"pads": [1, 1, 1, 1]} if op == "Conv" else {}
    node = helper.make_node(op, ["a", "b"], ["y"], **pads)
    model = helper.make_model(helper.make_graph([node], "g", [], []), opset_imports=[helper.make_opsetid("", 21)])
    values = [Value(each, onnx.TensorProto.FLOAT) for each in inputs]
    total = Sigmas(model, ARITHMETICS[arithmetic]).sum_of_squares(
        node, values, "y", Value(exact, onnx.TensorProto.FLOAT), stored=arithmetic != "tf32", represented=whole
    )
    assert total is not None
    return math.sqrt(total / exact.numel())


def cases() -> Iterator[tuple[str, str, int, np.ndarray, np.ndarray]]:
    """Operator, distribution, terms, operands."""
    rng = np.random.default_rng(0)
    for kind in DRAWS:
        for n in (64, 576, 4608):
            b = (rng.standard_normal((n, 256)) / math.sqrt(n)).astype(np.float32)
            yield "MatMul", kind, n, drawn(kind, (256, n), rng), b
        for channels in (16, 64, 512):
            w = (rng.standard_normal((64, channels, 3, 3)) / math.sqrt(9 * channels)).astype(np.float32)
            yield "Conv", kind, 9 * channels, drawn(kind, (4, channels, 28, 28), rng), w


def main() -> None:
    """Measure, and print."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    sys.stdout.write(f"{name}, torch {torch.__version__}\n")
    for op, kind, n, a, b in cases():
        def run(x: torch.Tensor, w: torch.Tensor, op: str = op) -> torch.Tensor:
            return x @ w if op == "MatMul" else torch.nn.functional.conv2d(x, w, padding=1)

        for name, dtype in TYPES.items():
            if name == "tf32" and device == "cpu":
                continue
            given = [torch.from_numpy(each).to(device).to(dtype) for each in (a, b)]
            got = run(*given).double().cpu()
            said = []
            for whole in (True, False):
                operands = [a, b] if whole else [ARITHMETICS[name].rounded(each) for each in (a, b)]
                inputs = [torch.from_numpy(each).double() for each in operands]
                exact = run(*inputs)
                error = float((got - exact).square().mean().sqrt())
                said.append(error / sigma(op, inputs, exact, name, whole=whole))
            sys.stdout.write(f"{name:9} {op:7} {kind:9} n={n:<5} whole {said[0]:.2f}  rounded {said[1]:.2f}\n")


if __name__ == "__main__":
    main()
