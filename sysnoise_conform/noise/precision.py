"""The type that a graph computes in: the graph itself is converted, the same one for every backend."""

from __future__ import annotations

from sysnoise_conform.noise.axis import Axis, Level, identity

AXIS = Axis(
    name="precision",
    stage="graph",
    about="the type of the arithmetic in the graph; inputs and outputs stay what they are",
    paper=True,
    rare=("bf16",),
    levels=(
        identity("as the graph says"),
        Level(name="fp16", about="float16, where an operator takes it", imitates="mobile and desktop GPUs, TensorRT",
              source="IEEE 754 binary16; docs/precision.md"),
        Level(name="bf16", about="bfloat16, where an operator takes it; opset 22; measured where it is named",
              imitates="recent processors, TPUs",
              source="the upper half of binary32; docs/precision.md"),
    ),
)  # fmt: skip
