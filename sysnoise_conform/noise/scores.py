"""How an answer is made of scores: the arithmetic of exp and softmax, and which of equal scores wins."""

from __future__ import annotations

from dataclasses import replace

from sysnoise_conform.noise.axis import Axis, Level, identity
from sysnoise_conform.tasks.decoding import Decoding

ARITHMETIC = Axis(
    name="output_arithmetic",
    stage="output",
    about="the arithmetic of what follows the graph: exp, sigmoid, tanh, softmax before the answer is looked for",
    tasks=("classify", "detect"),  # of maps the largest raw score is the answer, and nothing is computed
    levels=(
        identity("the largest raw score; exp and sigmoid in float32"),
        Level(name="softmax-fp32", about="softmax in float32 first", imitates="post-processing on the host"),
        Level(name="fp16", about="in float16: operands and results rounded", imitates="accelerators",
              source="IEEE 754 binary16, to even"),
        Level(name="bf16", about="in bfloat16: operands and results rounded", imitates="accelerators",
              source="the upper half of binary32, to even"),
    ),
)  # fmt: skip
TIE = Axis(
    name="argmax_tie",
    stage="output",
    about="which of equal scores is the answer",
    levels=(
        identity("the first"),
        Level(name="last", about="the last", imitates="loops that compare with >="),
    ),
)
AXES = (ARITHMETIC, TIE)


def change(how: Decoding, axis: str, level: str) -> Decoding:
    """The decoding at a level of an axis."""
    if axis == TIE.name:
        return replace(how, argmax="last" if level == "last" else how.argmax)
    match level:
        case "softmax-fp32":
            return replace(how, softmax_first=True)
        case "fp16" | "bf16":
            return replace(how, softmax_first=True, arithmetic=level)
        case _:
            return how
